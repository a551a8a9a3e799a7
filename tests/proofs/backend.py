"""A backend for proofs: a process of its own, fast, honest, and misbehaving only where a call asks it to.

    python -m tests.proofs.backend      prints its port, and serves until SIGTERM

A call says by its field `do` what becomes of it:

    {"tokens": 8, "token_ms": 2}        the length of the answer, and the pace of a stream
    {"wait_ms": 50}                     before a plain answer
    {"fail": "500" | "503" | "429" | "400"}     that status, as vLLM says it
    {"fail": "reset" | "reset mid" | "hang" | "hang mid" | "error mid"}

A body that Python's own parser, which vLLM uses, cannot read is answered with UNREADABLE: no gateway that
checks what it passes on lets that happen.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from typing import Any, cast

import uvloop

UNREADABLE = 599
HANG_S = 3600.0
CUT_S = 0.02
_CUT = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"id": "1", '
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_EVENTS = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
_MESSAGES = {
    "500": "EngineCore encountered an issue.",
    "503": "The engine is dead.",
    "429": "Too many.",
    "400": "The prompt is too long.",
}


def usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 5, "total_tokens": 5 + tokens, "completion_tokens": tokens}


def answer_of(path: bytes, model: Any, body: dict[str, Any], tokens: int) -> dict[str, Any]:
    """A plain one."""
    inputs = body.get("input")
    count = len(inputs) if isinstance(inputs, list) else 1
    match path:
        case b"/v1/embeddings":
            data = [{"object": "embedding", "index": n, "embedding": [0.25, 0.5]} for n in range(count)]
            return {"id": "e", "object": "list", "model": model, "data": data, "usage": usage(0)}
        case b"/v1/rerank":
            documents = body.get("documents")
            several = len(documents) if isinstance(documents, list) else 1
            results = [{"index": n, "relevance_score": 0.5} for n in range(several)]
            return {"id": "r", "model": model, "results": results, "usage": {"total_tokens": 3}}
        case b"/v1/score":
            data = [{"index": 0, "object": "score", "score": 0.5}]
            return {"id": "s", "object": "list", "model": model, "data": data, "usage": usage(0)}
        case b"/tokenize":
            return {"count": 5, "max_model_len": 2048, "tokens": [1, 2, 3, 4, 5]}
        case b"/detokenize":
            return {"prompt": "a b c"}
        case b"/v1/responses":
            text = {"type": "output_text", "text": "x " * tokens, "annotations": []}
            output = [{"type": "message", "role": "assistant", "content": [text]}]
            used = {"input_tokens": 5, "output_tokens": tokens, "total_tokens": 5 + tokens}
            return {"id": "resp", "object": "response", "model": model, "output": output, "usage": used}
    words = "x " * tokens
    choice = {"index": 0, "text": words, "message": {"role": "assistant", "content": words}}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [choice | {"finish_reason": "stop"}],
        "usage": usage(tokens),
    }


def events_of(path: bytes, body: dict[str, Any], tokens: int) -> list[bytes]:
    """A stream, event by event, as vLLM writes it for this body."""
    if path == b"/v1/responses":
        pieces = [{"type": "response.output_text.delta", "delta": "x "}] * tokens
        used = {"input_tokens": 5, "output_tokens": tokens, "total_tokens": 5 + tokens}
        pieces.append({"type": "response.completed", "response": {"id": "resp", "usage": used}})
        return [b"event: %b\ndata: %b\n\n" % (each["type"].encode(), _json(each)) for each in pieces]
    options = body.get("stream_options") or {}
    running = bool(options.get("include_usage") and options.get("continuous_usage_stats"))
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body.get("model")}
    found = []
    for n in range(1, tokens + 1):
        finish = "stop" if n == tokens else None
        choice = {"index": 0, "delta": {"content": "x "}, "text": "x ", "finish_reason": finish}
        found.append(head | {"choices": [choice]} | ({"usage": usage(n)} if running else {}))
    if options.get("include_usage"):
        found.append(head | {"choices": [], "usage": usage(tokens)})
    return [*(b"data: %b\n\n" % _json(each) for each in found), b"data: [DONE]\n\n"]


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Backend(asyncio.Protocol):
    """One connection of the gateway."""

    def __init__(self) -> None:
        self._buffer = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer = data = self._buffer + data if self._buffer else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(data, 0, end + 2)
        size = end + 4 + (int(length[1]) if length else 0)
        if len(data) >= size:
            self._buffer = data[size:]
            self._request(data[: data.find(b"\r\n")].split(b" ")[1], data[end + 4 : size])

    def _request(self, path: bytes, raw: bytes) -> None:
        if path == b"/health":
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            return
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError) as error:
            self._error(UNREADABLE, f"the gateway passed on what no JSON parser reads: {error}")
            return
        do = body.get("do") if isinstance(body, dict) else None
        asked: dict[str, Any] = do if isinstance(do, dict) else {}
        stream = body.get("stream") is True
        if stream or asked:
            self._task = asyncio.get_running_loop().create_task(
                self._slowly(path, body, asked, stream=stream)
            )
            return
        self._answer(200, answer_of(path, body.get("model"), body, 4))

    async def _slowly(self, path: bytes, body: dict[str, Any], do: dict[str, Any], *, stream: bool) -> None:
        fail, tokens = str(do.get("fail", "")), min(_number(do.get("tokens"), 4), 4096)
        if fail in _MESSAGES:
            self._error(int(fail), _MESSAGES[fail])
        elif fail == "reset":
            self._transport.abort()
        elif fail == "hang":
            await asyncio.sleep(HANG_S)
        elif stream:
            await self._stream(path, body, do, fail, tokens)
        elif fail == "reset mid":
            self._transport.write(_CUT)
            await asyncio.sleep(CUT_S)  # a reset at once would overtake what was written
            self._transport.abort()
        else:
            await asyncio.sleep(_number(do.get("wait_ms"), 0) / 1000)
            self._answer(200, answer_of(path, body.get("model"), body, tokens))

    async def _stream(
        self, path: bytes, body: dict[str, Any], do: dict[str, Any], fail: str, tokens: int
    ) -> None:
        write, pause_s = self._transport.write, _number(do.get("token_ms"), 0) / 1000
        events = events_of(path, body, tokens)
        write(_EVENTS)
        for number, event in enumerate(events):
            if number == 2 and fail == "reset mid":
                self._transport.abort()
                return
            if number == 2 and fail == "hang mid":
                await asyncio.sleep(HANG_S)
            if number == 2 and fail == "error mid":
                event = b'data: {"error": {"message": "out of blocks", "type": "x", "code": 500}}\n\n'  # noqa: PLW2901
            write(b"%x\r\n%b\r\n" % (len(event), event))
            if number == 2 and fail == "error mid":
                break
            if pause_s:
                await asyncio.sleep(pause_s)
        write(b"0\r\n\r\n")

    def _answer(self, status: int, value: Any) -> None:
        body = _json(value)
        self._transport.write(
            b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (status, len(body), body)
        )

    def _error(self, status: int, message: str) -> None:
        self._answer(status, {"error": {"message": message, "type": "x", "param": None, "code": status}})


def _number(value: Any, default: int) -> int:
    return value if isinstance(value, int) and 0 <= value <= 100_000 else default


async def main() -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(Backend, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await stop.wait()


if __name__ == "__main__":
    uvloop.run(main())
