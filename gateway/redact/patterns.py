"""What each kind of personal data looks like, and which check a likeness has to pass.

Rules that the machine relies on:
  1. A match is a head of at most SPAN bytes, and behind it perhaps one word without a bound.
  2. A word has no BREAKS in it; a head may have some (spaces in a card's number).
  3. Nothing is looked at behind a match but the next byte, and before it the byte before.

Bytes, in Latin-1, so that offsets are bytes and text that is no UTF-8 is searched as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, get_args

from gateway.config import PiiKind
from gateway.redact import checks

Kind = PiiKind
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

SPAN: Final = 256
"""Bytes of the longest head."""
WORD_CHARS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+-@:/=~!#$&'*?^()"
"""All others end a word."""

_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DIGITS: Final = b"0123456789"

Check = Callable[[bytes], int]
"""A likeness -> how many bytes of it are the thing; 0: it is none. Never more than a word's end."""


@dataclass(frozen=True, slots=True)
class Pattern:
    name: str
    kind: Kind
    first: bytes
    """What it may begin with: at others it is not even tried."""
    source: bytes
    """RE2, without groups."""
    check: Check = len


def _digits(found: bytes) -> str:
    return "".join(chr(byte) for byte in found if 48 <= byte <= 57)


def _whole(test: Callable[[str], bool], *, letters: bool = False) -> Check:
    """All of it, told without its separators."""

    def check(found: bytes) -> int:
        text = re.sub(rb"[^0-9A-Za-z]", b"", found).decode("ascii").upper() if letters else _digits(found)
        return len(found) if test(text) else 0

    return check


def _card(found: bytes) -> int:
    """Other digits may follow the number, behind a separator: the longest beginning that is a card."""
    ends = [len(found)]
    ends += [at for at in range(len(found) - 1, 12, -1) if not 48 <= found[at] <= 57 and found[at - 1] >= 48]
    return next((end for end in ends if checks.card(_digits(found[:end]))), 0)


def _iban(found: bytes) -> int:
    """Words may follow it: as many characters as its country's have, and no half word."""
    want = checks.IBAN_CHARS.get(found[:2].decode("ascii").upper(), 0)
    text = ""
    for end, byte in enumerate(found, start=1):
        if chr(byte).isalnum():
            text += chr(byte).upper()
            if len(text) == want:
                ends_there = end == len(found) or not chr(found[end]).isalnum()
                return end if ends_there and checks.iban(text) else 0
    return 0


def _phone(found: bytes) -> int:
    digits = _digits(found)
    return len(found) if 8 <= len(digits) <= 15 and len(set(digits)) > 2 else 0


_FILES = frozenset({b"png", b"jpg", b"jpeg", b"gif", b"svg", b"webp", b"css", b"js", b"py", b"json", b"html"})


def _email(found: bytes) -> int:
    """`icon@2x.png` is a file."""
    return 0 if found.rpartition(b".")[2].lower() in _FILES else len(found)


def _address(found: bytes) -> int:
    """No `::` alone, which is C++, and no 12:30:00."""
    return len(found) if len(found) > 2 and checks.address(found.decode("latin-1")) else 0


_NAME = re.compile(
    rb"[A-Za-z_-]+(?:\\?[\"'])? {0,4}[:=]? {0,2}(?:\\?[\"'])?(?:(?:bearer|basic) {1,4})?", re.IGNORECASE
)


def _assigned(found: bytes) -> int:
    """`password=...`, `Bearer ...`: the value decides."""
    value = _NAME.sub(b"", found, count=1)
    return len(found) if checks.secret(value.decode("latin-1")) else 0


def _random(found: bytes) -> int:
    """`sk-learn-contrib-extensions` is a name: of 16 characters drawn from 62 one is a digit or a capital."""
    return len(found) if any(48 <= byte <= 57 or 65 <= byte <= 90 for byte in found) else 0


_SEP = rb"(?:[ ./-]|\xc2\xa0)"
_GAP = rb"(?:[ -]|\xc2\xa0)"
_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"

PEM_BEGIN: Final = rb"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----"
PEM_END: Final = rb"-----END [A-Z ]{0,32}PRIVATE KEY-----"
PEM_END_BYTES: Final = 64
PEM: Final = Pattern("pem", "key", b"-", PEM_BEGIN)
"""Hides all up to PEM_END, or to the end of the text: that is the machine's."""

PATTERNS: Final[tuple[Pattern, ...]] = (
    PEM,
    Pattern("openai", "key", b"sr", rb"\b[sr]k[-_][A-Za-z0-9_-]{16,}", _random),
    Pattern("github", "key", b"g", rb"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{22,})"),
    Pattern("gitlab", "key", b"g", rb"\bglpat-[A-Za-z0-9_-]{20,}"),
    Pattern("hugging_face", "key", b"h", rb"\bhf_[A-Za-z0-9]{20,}"),
    Pattern("aws", "key", b"A", rb"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b"),
    Pattern("google", "key", b"A", rb"\bAIza[A-Za-z0-9_-]{35}"),
    Pattern("slack", "key", b"x", rb"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    Pattern("nvidia", "key", b"n", rb"\bnvapi-[A-Za-z0-9_-]{20,}"),
    Pattern("npm", "key", b"n", rb"\bnpm_[A-Za-z0-9]{36}"),
    Pattern("pypi", "key", b"p", rb"\bpypi-[A-Za-z0-9_-]{20,}"),
    Pattern("ours", "key", b"i", rb"\bik_[A-Za-z0-9_-]{20,}", _random),
    Pattern("bearer", "key", b"bB", rb"\b(?i:bearer|basic) {1,4}[A-Za-z0-9._~+/-]{16,}=*", _assigned),
    Pattern(
        "assigned",
        "key",
        b"aAsStTpP",
        rb"(?i:api[_-]?key|secret(?:[_-]?(?:access[_-]?)?key)?|token|passw(?:or)?d|authorization)"
        rb"(?:\\?[\"'])? {0,2}[:=] {0,2}(?:\\?[\"'])?(?i:(?:bearer|basic) {1,2})?"
        rb"[A-Za-z0-9._~+/$!@%^*#-]{8,}=*",
        _assigned,
    ),
    Pattern("jwt", "jwt", b"e", rb"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){2,4}"),
    Pattern(
        "email",
        "email",
        _LETTERS + _DIGITS,
        rb"[A-Za-z0-9][A-Za-z0-9._%+-]*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}",
        _email,
    ),
    Pattern(
        "iban",
        "iban",
        _LETTERS,
        rb"\b[A-Za-z]{2}[0-9]{2}(?:" + _GAP + rb"?[A-Za-z0-9]{1,4}){3,8}\b",
        _iban,
    ),
    Pattern("ssn", "national_id", _DIGITS, rb"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b", _whole(checks.ssn)),
    Pattern(
        "nino",
        "national_id",
        _LETTERS,
        rb"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b",
    ),
    Pattern(
        "dni",
        "national_id",
        b"XYZ" + _DIGITS,
        rb"\b(?:[XYZ]-?[0-9]{7}|[0-9]{8})-?[A-Z]\b",
        _whole(checks.dni, letters=True),
    ),
    Pattern(
        "codice",
        "national_id",
        _LETTERS,
        rb"\b[A-Z]{6}[0-9]{2}[ABCDEHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]\b",
    ),
    Pattern(
        "nir",
        "national_id",
        b"12",
        rb"\b[12] ?[0-9]{2} ?(?:0[1-9]|1[0-2]) ?[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}\b",
        _whole(checks.nir),
    ),
    Pattern("cpf", "national_id", _DIGITS, rb"\b[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}\b", _whole(checks.cpf)),
    Pattern("swedish", "national_id", _DIGITS, rb"\b[0-9]{6}[-+][0-9]{4}\b", _whole(checks.swedish)),
    Pattern(
        "china",
        "national_id",
        _DIGITS,
        rb"\b[1-9][0-9]{5}(?:19|20)[0-9]{9}[0-9Xx]\b",
        _whole(checks.china, letters=True),
    ),
    Pattern("card", "card", b"23456", rb"\b[2-6](?:" + _GAP + rb"?[0-9]){12,18}\b", _card),
    Pattern("ipv4", "ip", _DIGITS, rb"\b" + rb"\.".join([_OCTET] * 4) + rb"\b"),
    Pattern(
        "ipv6",
        "ip",
        b":ABCDEFabcdef" + _DIGITS,
        rb"(?:\b[0-9A-Fa-f]{1,4}|\B)(?::[0-9A-Fa-f]{0,4}){1,6}(?::[0-9A-Fa-f]{1,4}(?:(?:\.[0-9]{1,3}){3})?\b|::\B)",
        _address,
    ),
    Pattern("phone", "phone", b"+", rb"\B\+[1-9](?:" + _SEP + rb"?\(?[0-9]{1,4}\)?){2,9}\b", _phone),
    Pattern(
        "phone_us",
        "phone",
        b"(" + _DIGITS,
        rb"(?:\([2-9][0-9]{2}\) ?|\b[2-9][0-9]{2}" + _SEP + rb")[2-9][0-9]{2}" + _SEP + rb"[0-9]{4}\b",
        _phone,
    ),
    Pattern(
        "phone_national",
        "phone",
        b"(0",
        rb"\b00?[1-9][0-9]{0,5}(?:" + _SEP + rb"[0-9]{2,9}){1,6}\b|\b0[1-9][0-9]{8,10}\b"
        rb"|\(0[1-9][0-9]{1,4}\) ?[0-9]{3,8}(?:" + _SEP + rb"[0-9]{2,6}){0,3}\b",
        _phone,
    ),
)
"""Where two begin at one place, the first that passes its check wins."""
