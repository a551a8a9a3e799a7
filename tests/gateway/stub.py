"""A backend that speaks vLLM's dialect and misbehaves on demand: a real server on loopback, in a thread."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

WORDS = ("The", " capital", " of", " France", " is", " Paris", ".")


def chunk(words: int, *, text: str | None = None, usage: bool, finish: str | None = None) -> bytes:
    """One event as vLLM writes it; `usage`: as with continuous_usage_stats."""
    piece: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "served",
        "choices": [
            {"index": 0, "delta": {"content": text or ""}, "logprobs": None, "finish_reason": finish}
        ],
    }
    if usage:
        piece["usage"] = {"prompt_tokens": 5, "total_tokens": 5 + words, "completion_tokens": words}
    return b"data: %b\n\n" % json.dumps(piece, separators=(",", ":")).encode()


def last_chunk(words: int) -> bytes:
    piece = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "served",
        "choices": [],
        "usage": {"prompt_tokens": 5, "total_tokens": 5 + words, "completion_tokens": words},
    }
    return b"data: %b\n\n" % json.dumps(piece, separators=(",", ":")).encode()


def stream_of(body: dict[str, Any]) -> list[bytes]:
    """What vLLM streams for this body, event by event."""
    options = body.get("stream_options") or {}
    running = bool(options.get("include_usage") and options.get("continuous_usage_stats"))
    events = [chunk(n, text=word, usage=running) for n, word in enumerate(WORDS, 1)]
    events.append(chunk(len(WORDS), usage=running, finish="stop"))
    if options.get("include_usage"):
        events.append(last_chunk(len(WORDS)))
    return [*events, b"data: [DONE]\n\n"]


class Stub:
    """`mode` says how the next requests are answered; `seen` is what came in."""

    def __init__(self, name: str = "stub") -> None:
        self.name = name
        self.mode = "plain"
        self.delay_s = 0.0
        """Between two events of a stream, or before a plain answer."""
        self.cached = 0
        """Tokens of a prompt that it says it had computed before."""
        self.health = 200
        """What /health answers; 0: nothing, ever."""
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.closed_at: list[float] = []
        """When a peer went away before its answer was complete (time.monotonic)."""
        self.active = 0
        self.port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(5)

    @property
    def connections(self) -> tuple[asyncio.Task[None], ...]:
        """Those that are open."""
        return tuple(self._tasks)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Everything closed at once, as a killed process would."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(5)

    def start_again(self) -> None:
        self._ready.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(5)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        # No new ones; those that are being accepted become connections first, which asyncio (3.11) cannot do
        # any more once the server is closed: it would leave their sockets open.
        self._loop.remove_reader(server.sockets[0].fileno())
        for _ in range(5):
            await asyncio.sleep(0)
        server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in tuple(self._writers):  # of a task that was ended before it began
            writer.transport.abort()
        for _ in range(3):
            await asyncio.sleep(0)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = self._loop.create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        raw = await reader.readuntil(b"\r\n\r\n")
        line, *lines = raw.decode("latin-1").split("\r\n")
        headers = dict(each.split(": ", 1) for each in lines if each)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = line.split(" ")
        if path == "/health":
            if not self.health:
                await asyncio.sleep(3600)
            await self._send(writer, self.health, {})
            return True
        self.seen.append((f"{method} {path}", headers, body))
        self.active += 1
        answer = asyncio.ensure_future(self._answer(writer, path, json.loads(body)))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            # A peer may also leave while a piece is being written to it.
            if not answer.done() or isinstance(answer.exception(), ConnectionError):
                self.closed_at.append(time.monotonic())
                return False
            return await answer
        finally:
            self.active -= 1
            for each in (answer, gone):
                each.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)

    async def _answer(self, writer: asyncio.StreamWriter, path: str, body: dict[str, Any]) -> bool:
        mode = self.mode
        if mode == "hang":
            await asyncio.sleep(3600)
        if mode == "500":
            await self._send(
                writer, 500, {"error": {"message": "boom", "type": "InternalServerError", "code": 500}}
            )
            return True
        if mode == "401":
            await self._send(writer, 401, {"error": "Unauthorized"})
            return True
        if mode == "422 odd":
            await self._send(writer, 422, {"detail": "odd"})
            return True
        if mode == "reset before":
            return False
        if body.get("stream"):
            return await self._stream(writer, body, mode)
        await asyncio.sleep(self.delay_s)
        if mode == "short":
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
            )
            await writer.drain()
            return False
        details = {"prompt_tokens_details": {"cached_tokens": self.cached}} if self.cached else {}
        usage: dict[str, Any] = {"prompt_tokens": 5, "total_tokens": 12, "completion_tokens": 7, **details}
        message = {"role": "assistant", "content": "".join(WORDS)}
        answer: dict[str, Any] = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage,
        }
        if path == "/v1/embeddings":
            answer = {
                "object": "list",
                "model": body["model"],
                "data": [{"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}],
                "usage": {"prompt_tokens": 3, "total_tokens": 3},
            }
        if path == "/tokenize":
            answer = {"count": 5, "max_model_len": 2048, "tokens": [1, 2, 3, 4, 5]}
        answer["backend"] = self.name
        await self._send(writer, 200, answer)
        return True

    async def _stream(self, writer: asyncio.StreamWriter, body: dict[str, Any], mode: str) -> bool:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        events = stream_of(body)
        for n, right in enumerate(events):
            event = right
            if n:
                await asyncio.sleep(self.delay_s)
            if n == 3 and mode == "hang mid":
                await asyncio.sleep(3600)
            if n == 3 and mode == "reset mid":
                return False
            if n == 3 and mode == "error mid":
                event = b'data: {"error": {"message": "out of blocks", "type": "x", "code": 500}}\n\n'
            if n == 3 and mode == "not json":
                event = b"data: hello\n\n"
            if mode == "no done" and n == len(events) - 1:
                break
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            if n == 3 and mode == "error mid":
                writer.write(b"e\r\ndata: [DONE]\n\n\r\n")
                break
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    @staticmethod
    async def _send(writer: asyncio.StreamWriter, status: int, answer: dict[str, Any]) -> None:
        text = json.dumps(answer).encode()
        writer.write(
            b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (status, len(text), text)
        )
        await writer.drain()
