"""Whether a platform that runs is well, looked at from where its clients are. Judgements only: pure.

found     what a look found: where, what, why it matters, what to do next
edge      the certificate that clients are shown: who signed it, for which names, until when
pages     each /metrics, and Prometheus's own view of them
counts    the store of counts, and the audit trail
disks     what is free for store, audit trail and logs
clocks    how far the machines' clocks are apart, as their answers' Date headers tell

`edge.handshake` is the only one that opens a connection; pages are fetched by whoever asks.
"""
