"""A request's line in the log and in the audit trail, as JSON. Written once for both.

What a client's calls have in common is written, and looked through for what is to be hidden, once: a line is
that and some numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.note import Hedged, Note

if TYPE_CHECKING:
    from gateway.redact import Redactor

PATH_CHARS: Final = 128
KEPT_MAX: Final = 1024
"""Each for calls that are alike."""

_LEVELS: Final = {"ok": "info", "refused": "info", "rejected": "info", "client_gone": "info"}
_NULL: Final = b"null"


class _Common:
    """Of some requests."""

    __slots__ = ("begin", "clean", "middle")

    def __init__(self, begin: bytes, middle: bytes, clean: bool) -> None:
        self.begin = begin
        """Between the time and the id."""
        self.middle = middle
        """Behind the client's own id."""
        self.clean = clean
        """Nothing in it is to be hidden."""


class LogLines:
    """Of one worker."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], _Common] = {}
        self._redactor: Redactor | None = None

    def line(self, note: Note, ts: str, now: float, redactor: Redactor | None) -> tuple[bytes, bool]:
        """With its newline; milliseconds, bytes, tokens. And whether it is known to hold nothing to hide.

        `redactor`: the one in force; None: nobody looks.
        """
        if redactor is not self._redactor:
            self._kept.clear()
            self._redactor = redactor
        exchange = note.exchange
        head, client_id = exchange.head, note.client_id
        key: tuple[object, ...] = (
            note.tenant,
            note.key_id,
            head.method,
            head.path[:PATH_CHARS],
            note.model,
            note.backend,
            note.attempts,
            note.status,
            note.outcome,
            note.reason,
            note.stream,
            note.cache,
        )
        common = self._kept.get(key)
        if common is None:
            common = _made(note, redactor)
            if note.kind == "call":  # of others a client could make as many as it likes, and as long
                if len(self._kept) >= KEPT_MAX:
                    self._kept.clear()
                self._kept[key] = common
        clean, said = common.clean, _NULL
        if client_id is not None:
            clean = clean and redactor is not None and redactor.table.passes(client_id)
            said = orjson.dumps(client_id.decode("ascii"))
        usage, end = note.usage, b""
        if note.hedge is not None:
            end = b',"hedge":%b' % orjson.dumps(_hedge_line(note, note.hedge))
            clean = False
        total_us = int((now - note.began_at) * 1e6)
        line = (
            b'{"ts":"%b%b%b","client_request_id":%b%b%b,"ttft_ms":%b,"total_ms":%d.%03d,"prompt_tokens":%b,'
            b'"completion_tokens":%b,"bytes_in":%d,"bytes_out":%d%b}\n'
        ) % (
            ts.encode(),
            common.begin,
            exchange.id.encode(),
            said,
            common.middle,
            _ms(note.queued_s) if note.queued_s else b"0.0",
            _NULL if note.first_at is None else _ms(note.first_at - note.began_at),
            total_us // 1000,
            total_us % 1000,
            _NULL if usage is None else b"%d" % usage.prompt_tokens,
            _NULL if usage is None or usage.completion_tokens is None else b"%d" % usage.completion_tokens,
            exchange.bytes_received,
            exchange.bytes_sent,
            end,
        )
        return line, clean


def _made(note: Note, redactor: Redactor | None) -> _Common:
    head = note.exchange.head
    said: dict[str, Any] = {
        "tenant": note.tenant,
        "key_id": note.key_id,
        "method": head.method.decode("latin-1"),
        "path": head.path[:PATH_CHARS].decode("latin-1"),
        "model": note.model,
        "backend": note.backend,
        "attempts": note.attempts,
        "status": note.status,
        "outcome": note.outcome,
        "reason": note.reason,
        "stream": note.stream,
        "cache": note.cache,
    }
    level = _LEVELS.get(note.outcome, "warning")
    begin = f'","level":"{level}","event":"request","request_id":"'.encode()
    clean = redactor is not None and _passes(redactor, said)
    return _Common(begin, b',%b,"queue_ms":' % orjson.dumps(said)[1:-1], clean)


def _passes(redactor: Redactor, said: dict[str, Any]) -> bool:
    """As redact/lines.py judges a line: string by string, but for who asked."""
    return all(
        redactor.table.passes(value.encode("utf-8", "surrogatepass"))
        for name, value in said.items()
        if name != "tenant" and isinstance(value, str)
    )


def _hedge_line(note: Note, hedge: Hedged) -> dict[str, Any]:
    """`wasted_prompt_tokens`: at most; the same prompt went to both. Its answer's nobody has counted."""
    wasted = None if note.usage is None or hedge.backend is None else note.usage.prompt_tokens
    return {
        "outcome": hedge.outcome,
        "wasted_at": hedge.backend,
        "wasted_ms": int(hedge.ran_s * 1e6) / 1000,
        "wasted_prompt_tokens": wasted,
    }


def _ms(seconds: float) -> bytes:
    us = int(seconds * 1e6)
    return b"%d.%03d" % (us // 1000, us % 1000)
