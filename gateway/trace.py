"""W3C trace context, and what is put down of one traced request on its way. Sans-I/O.

    traceparent: 00-<trace id, 32 hex>-<parent id, 16 hex>-<flags, 2 hex>

Rule 1: a trace that comes is gone on with, and its sampled flag is obeyed.
Rule 2: what is no traceparent is no trace: another one begins, and its tracestate is dropped.
Rule 3: tracestate is passed on as it came; it is not ours to read.
Rule 4: what is not recorded is still passed on, so that who comes next decides alike.

Source: www.w3.org/TR/trace-context (version 00; of later versions what 00 knows).
"""

from __future__ import annotations

import random
import re
from typing import Final

import msgspec

PARENT: Final = b"traceparent"
STATE: Final = b"tracestate"

LEFT: Final = "left"
"""Of an attempt: nobody waits for its answer any more. That is no fault of its backend."""

_FORM: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_SAMPLED: Final = 1
_SEED: Final = random.SystemRandom().getrandbits(128)
_bits: Final = random.Random(_SEED).getrandbits  # noqa: S311 - ids must differ, not be secret


class Parent(msgspec.Struct, frozen=True):
    """Who has called, as they say. Ids in hex."""

    trace_id: str
    span_id: str
    sampled: bool


def read(value: bytes) -> Parent | None:
    """A `traceparent`; None: it is none."""
    match = _FORM.fullmatch(value)
    if match is None or (match[1] == b"00" and match[5] is not None):
        return None
    return Parent(match[2].decode(), match[3].decode(), bool(int(match[4], 16) & _SAMPLED))


def line(trace_id: str, span_id: str, *, sampled: bool) -> bytes:
    """The `traceparent` for who is called by this span."""
    return f"00-{trace_id}-{span_id}-0{int(sampled)}".encode()


def new_trace_id() -> str:
    return f"{_bits(128) or 1:032x}"


def new_span_id() -> str:
    return f"{_bits(64) or 1:016x}"


class Attempt(msgspec.Struct):
    """One sending to a backend. Times by time.monotonic."""

    span_id: str
    backend: str
    host: str
    port: int
    began_at: float
    ended_at: float = 0.0
    """0: with the request."""
    status: int = 0
    """Of its answer; 0: there was none."""
    why: str = ""
    """It failed, or was given up."""


class Wait(msgspec.Struct):
    """For a place at a backend, or for the retries' turn. Times by time.monotonic."""

    began_at: float
    ended_at: float
    what: str


class Trace:
    """Filled in on the way of a request that is recorded."""

    __slots__ = ("attempts", "parent_id", "span_id", "trace_id", "waits")

    def __init__(self, trace_id: str, parent_id: str | None) -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id
        """The client's span; None: the trace begins here."""
        self.span_id = new_span_id()
        self.attempts: list[Attempt] = []
        self.waits: list[Wait] = []

    @property
    def spans(self) -> int:
        return 1 + len(self.attempts) + len(self.waits)


class Finished(msgspec.Struct, frozen=True):
    """A request that has ended: all that its spans are made of. No text of a prompt or an answer, no key."""

    trace: Trace
    wall_ns: int
    """Now, in nanoseconds since 1970 ..."""
    at: float
    """... and by time.monotonic."""
    began_at: float
    first_at: float | None
    method: str
    path: str
    request_id: str
    status: int
    """As the client got it; 499: it had gone, 0: none."""
    outcome: str
    reason: str
    stream: bool
    tenant: str | None
    """None: it is not to be told."""
    model: str | None
    backend: str | None
    cache: str | None
    tokens: tuple[int, int, int] | None
    """Prompt, of it cached, answer; None: nobody has said."""
