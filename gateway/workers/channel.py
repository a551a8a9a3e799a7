"""Questions and answers between the parent and a worker: lines of JSON over a pair of connected sockets.

    {"op": "drain", "id": 7, ...}      a question; without an id it is a remark
    {"re": 7, "value": ...}            its answer; "failed" instead of "value": what went wrong

The sockets have no name and no file: nothing to protect, nothing left behind, and the end of one process is
the end of the channel for the other.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import orjson

LINE_BYTES: Final = 64 * 1024 * 1024
"""Of one message; a longer one ends the channel."""

Facts = dict[str, Any]
Hear = Callable[[str, Facts], Any]
"""Called with what is said and its facts. What it returns, or what that gives when awaited, is the answer."""


class FailedError(Exception):
    """The other side could not do it; its words."""


class GoneError(FailedError):
    """The other side has ended."""


class Channel(asyncio.Protocol):
    def __init__(self, hear: Hear, lost: Callable[[], None]) -> None:
        self._hear = hear
        self._lost = lost
        self._buffer = bytearray()
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._transport: asyncio.WriteTransport | None = None
        self._early: list[bytes] = []
        """Said before the loop has connected it."""
        self._lost_it = False

    def tell(self, op: str, **facts: Any) -> None:
        """A remark. Nobody there any more: it is lost, as it would be a moment later."""
        self._send({"op": op, **facts})

    async def ask(self, op: str, limit_s: float, **facts: Any) -> Any:
        """Raises TimeoutError, FailedError, GoneError."""
        if self._lost_it:
            raise GoneError("it has ended")
        number = next(self._ids)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        self._send({"op": op, "id": number, **facts})
        try:
            async with asyncio.timeout(limit_s):
                return await future
        finally:
            del self._asked[number]

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.writelines(self._early)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._take(orjson.loads(line))
        if len(self._buffer) > LINE_BYTES:
            self.close()

    def connection_lost(self, _: Exception | None) -> None:
        self._transport, self._lost_it = None, True
        for future in self._asked.values():
            if not future.done():
                future.set_exception(GoneError("it has ended"))
        self._lost()

    def _send(self, message: Facts) -> None:
        line = orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)
        if self._transport is not None:
            self._transport.write(line)
        elif not self._lost_it:
            self._early.append(line)

    def _take(self, message: Facts) -> None:
        answered = message.pop("re", None)
        if answered is not None:
            future = self._asked.get(answered)
            if future is None or future.done():  # it was not waited for any longer
                return
            if "failed" in message:
                future.set_exception(FailedError(message["failed"]))
            else:
                future.set_result(message["value"])
            return
        op, number = message.pop("op"), message.pop("id", None)
        value = self._hear(op, message)
        if number is None:
            return
        if isinstance(value, Awaitable):
            task = asyncio.ensure_future(self._answer(number, value))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        else:
            self._send({"re": number, "value": value})

    async def _answer(self, number: int, value: Awaitable[Any]) -> None:
        try:
            self._send({"re": number, "value": await value})
        except (FailedError, TimeoutError) as error:
            self._send({"re": number, "failed": str(error) or "no answer in time"})
