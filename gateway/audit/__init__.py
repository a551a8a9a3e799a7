"""The audit trail: who asked what, when, and how it ended; what was added cannot be changed unseen.

chain.py     sans-I/O: records -> lines that hang on each other, and back; seal.py: the seal of very many
files.py     names of a trail's files, one chain a writer, and what lies at a file's end
anchors.py   where each chain stands, kept apart from it: so a cut tail is found
writer.py    the one place that writes: a thread, a bounded queue, fsync in batches, rotation
verify.py    reads a trail and names the first break
record.py    what of a request goes into the trail, and how; who.py: whose it was, hashed

`infctl audit` reads trails with chain, files, anchors and verify, which need nothing but msgspec.
"""
