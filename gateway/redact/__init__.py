"""Personal data and keys, taken out of what is written down.

patterns.py   what each kind looks like, and the check that a likeness has to pass
checks.py     Luhn, mod 97, check letters: pure
machine.py    sans-I/O: bytes in, redacted bytes out, the same however they are cut
engine.py     `Redactor`: texts and JSON values, whole or hidden; what it hid is counted by kind
lines.py      blocks of JSON lines, as the log and the audit trail write them

    Redactor(KINDS).text("write to bob@example.org")    'write to [redacted:email]'
"""

from gateway.redact.engine import Redactor, Stream
from gateway.redact.patterns import KINDS, Kind

__all__ = ["KINDS", "Kind", "Redactor", "Stream"]
