"""What happened to one request. The log of a run is a line of JSON for each; all figures come from it.

Times are whole microseconds after the run began, of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

OK = "ok"
OUTCOMES = {
    OK: "whole: the stream's end was said and a reason for it; as many tokens as asked, where that was asked",
    "refused": "no connection, or closed without a byte of an answer",
    "timeout": "not whole within the time limit",
    "http": "an answer other than 200",
    "in_band": "an error inside a stream or an answer of 200",
    "truncated": "a stream that ended without its end ([DONE] and a finish_reason), or a cut connection",
    "malformed": "bytes that are not HTTP, events that are not JSON, or other than the API says",
    "wrong_length": "whole, but with another number of tokens than the server was told to generate",
    "aborted": "given up by us, because the run was ended",
}
"""Outcome -> what it means. All but `ok` are failures; `aborted` is nobody's and counts nowhere."""

TEXT, REASONING, EMPTY = "trE"
"""The kinds of a piece: with text of the answer (or a tool's call), with reasoning, or with neither."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request; `None`: it did not come to that."""

    index: int
    due_us: int | None
    """When it should have been sent; None in a closed loop, which has no schedule."""
    began_us: int
    """When the client turned to it: a connection is looked for, or made."""
    sent_us: int | None
    """When its bytes were handed to the open connection."""
    end_us: int
    """When the answer was known to be whole (a stream: at [DONE]), or to be a failure."""
    outcome: str
    first_byte_us: int | None = None
    piece_us: list[int] = msgspec.field(default_factory=list)
    """When each event with `choices` arrived; several in one read have one time."""
    pieces: str = ""
    """A letter for each of them: its kind."""
    piece_tokens: list[int] = msgspec.field(default_factory=list)
    """How many tokens the server had counted with each, where it says so (vLLM: continuous_usage_stats)."""
    status: int | None = None
    detail: str = ""
    """What was wrong, in the server's own words where it had some."""
    finish: str | None = None
    asked_in: int = 0
    asked_out: int = 0
    tokens_in: int | None = None
    """As the server counted them, like tokens_out."""
    tokens_out: int | None = None
    tokens_cached: int | None = None
    """Of tokens_in, those found in the prefix cache, where the server says so."""
    reused: bool = False
    """Sent on a connection that had served another request."""
    request_id: str | None = None
    """x-request-id of the answer: `infctl why` tells its story."""

    @property
    def ok(self) -> bool:
        return self.outcome == OK

    def content_us(self) -> list[int]:
        """When each piece with text or reasoning arrived."""
        if EMPTY not in self.pieces:
            return self.piece_us
        return [at for at, kind in zip(self.piece_us, self.pieces, strict=True) if kind != EMPTY]


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Record)


def written(record: Record) -> bytes:
    """One line, without its end."""
    return _ENCODER.encode(record)


def read(lines: Iterable[bytes]) -> Iterator[Record]:
    """Raises ValueError with the number of the line that is no record."""
    for number, line in enumerate(lines, 1):
        try:
            record = _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"line {number} is no record of a request: {error}") from None
        pieces = len(record.piece_us)
        counted = len(record.piece_tokens) in {0, pieces}
        if record.outcome not in OUTCOMES or len(record.pieces) != pieces or not counted:
            raise ValueError(f"line {number} is no record of a request")
        yield record
