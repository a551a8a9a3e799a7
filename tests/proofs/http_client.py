"""A small HTTP/1.1 client that takes nothing on trust, and that may leave at any time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from tests.gateway.process import KEY

HEAD_BYTES = 64 * 1024


class WrongError(Exception):
    """An answer that is none, or not the one there should be."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> object:
        """Of an error."""
        return json.loads(self.body)["error"]["code"]


def request(
    path: str,
    body: Any = None,
    *,
    method: str | None = None,
    key: str = KEY,
    headers: dict[str, str] | None = None,
) -> bytes:
    """`body`: bytes as they are, or a value as JSON."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [
        f"{method or ('GET' if body is None else 'POST')} {path} HTTP/1.1",
        "host: localhost",
        f"authorization: Bearer {key}",
    ]
    if body is not None:
        lines += ["content-type: application/json", f"content-length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


class Connection:
    """One connection. `usable`: neither side has said that it ends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._keep = True

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=HEAD_BYTES))

    @property
    def usable(self) -> bool:
        return self._keep and not self._reader.at_eof() and not self._writer.is_closing()

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def ask(self, data: bytes) -> Answer:
        self._writer.write(data)
        status, headers = await self.head()
        pieces = [piece async for piece in self.pieces(status, headers, head_only=data.startswith(b"HEAD "))]
        return Answer(status, headers, b"".join(pieces))

    async def head(self) -> tuple[int, dict[str, str]]:
        text = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = text.removesuffix("\r\n\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        if not line.startswith("HTTP/1.1 ") or "" in headers:
            raise WrongError(f"no HTTP: {text[:200]!r}")
        self._keep = headers.get("connection", "").lower() != "close"
        return int(line.split(" ")[1]), headers

    async def pieces(
        self, status: int, headers: dict[str, str], *, head_only: bool = False
    ) -> AsyncIterator[bytes]:
        """Of the body."""
        if head_only or status in {204, 304}:
            return
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                yield (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readuntil(b"\r\n")
        elif "content-length" in headers:
            yield await self._reader.readexactly(int(headers["content-length"]))
        else:
            raise WrongError("a body without a length")

    def close(self) -> None:
        self._writer.transport.abort()
