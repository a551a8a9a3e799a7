"""What was done to a platform, by whom, and how it ended: `.infctl/<name>/history/`.

Enough is kept of each stack that was applied to apply it again without its profile (`infctl rollback`), and
to say what a change does to memory and tokens (`infctl diff`). Never a secret's value: its name, and where
it comes from.

    applied    what was applied, whole
    entry      one command, and how it ended
    store      the folder: the edge of this room
"""
