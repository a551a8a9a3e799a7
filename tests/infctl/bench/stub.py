"""A model server whose timings are known, and which misbehaves: the name of the model says how.

A process of its own: `python stub.py` prints its port. `GET /log`: when each request was read and each piece
written, on the monotonic clock that all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

FIRST_S, GAP_S = 0.020, 0.005
SLOWER = 1.05
SLOW_SHARE, SLOW_FIRST_S = 4, 0.060
"""`bimodal`: each fourth request waits so long for its first piece."""
PLACE_S = 0.05
STALL_AFTER, STALL_S = 30, 1.0
"""`stall`: from that request on everything stands still, once, so long."""


def piece(text: str = " word", finish: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": {"content": text, **more}, "finish_reason": finish}
    return json.dumps({"id": "1", "object": "chat.completion.chunk", "choices": [choice]})


def counted(tokens: int) -> list[bytes]:
    """Pieces of 1, 1, 2, 4, 8 ... tokens, each with the count so far, as vLLM's continuous_usage_stats."""
    so_far = [1 << power for power in range(tokens.bit_length()) if 1 << power < tokens] + [tokens]
    told = []
    for number in so_far:
        event = json.loads(piece(finish="length" if number == tokens else None))
        told.append(data(json.dumps(event | {"usage": json.loads(usage(number))["usage"]})))
    return [*told, data(usage(tokens)), DONE]


def usage(tokens: int) -> str:
    counts = {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens}
    return json.dumps({"id": "1", "object": "chat.completion.chunk", "choices": [], "usage": counts})


def data(text: str) -> bytes:
    return f"data: {text}\n\n".encode()


ERROR = json.dumps({"error": {"message": "the engine died", "type": "server_error", "code": 500}})
DONE = data("[DONE]")


def whole(tokens: int) -> list[bytes]:
    pieces = [data(piece()) for _ in range(tokens - 1)] + [data(piece(finish="length"))]
    return [*pieces, data(usage(tokens)), DONE]


def events(mode: str, tokens: int) -> list[bytes]:
    """What is written, piece by piece; each is one write."""
    sent = whole(tokens)
    some = sent[:3]
    table: dict[str, list[bytes]] = {
        "counted": counted(tokens),
        "in_band": [*some, data(ERROR), DONE],
        "in_band_first": [data(ERROR)],
        "no_done": sent[:-1],
        "no_finish": [*(data(piece()) for _ in range(tokens)), data(usage(tokens)), DONE],
        "no_usage": [*sent[:tokens], DONE],
        "ended_early": some,
        "nothing": [],
        "only_done": [DONE],
        "cut": some,
        "reset": some,
        "too_short": [*whole(tokens - 2)],
        "not_json": [*some, b"data: {oops\n\n", *sent[3:]],
        "odd": [*some, data('{"choices": [7]}'), *sent[3:]],
        "long_event": [*some, b"data: " + b"x" * 1_100_000 + b"\n\n", DONE],
        "finish_abort": [*some, data(piece(finish="abort")), data(usage(4)), DONE],
        "hang": some,
        "comment": [b": keep-alive\n\n", *some, b": keep-alive\n\n", *sent[3:]],
        "comment_glued": [
            b": keep-alive\n\n" + sent[0],
            *sent[1:3],
            *(b": k\n" + e for e in sent[3:4]),
            *sent[4:],
        ],
        "crlf": [event.replace(b"\n", b"\r\n") for event in sent],
        "cr": [event.replace(b"\n", b"\r") for event in sent],
        "no_space": [event.replace(b"data: ", b"data:") for event in sent],
        "event_lines": [b"event: message\nid: 1\nretry: 5\n" + event for event in sent],
        "split": [bytes([byte]) for event in sent for byte in event],
        "joined": [b"".join(sent)],
        "role_first": [data(piece(text="", role="assistant")), *sent],
        "reasoning": [data(piece(text="", reasoning="hm")), *sent[1:]],
        "two_a_piece": [data(piece(" two words")) for _ in range(tokens // 2 - 1)]
        + [data(piece(" two words", finish="length")), data(usage(tokens)), DONE],
    }
    return table.get(mode, sent)


class Server:
    def __init__(self) -> None:
        self.log: list[dict[str, Any]] = []
        self.numbers = count()
        self.stalled_until = 0.0
        self.places = [0.0, 0.0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, path, _ = head.split(" ", 2)
        lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        read = await reader.readexactly(int(lines.get("content-length", 0)))
        if method == "GET":
            return self._get(path, lines, writer)
        body = json.loads(read)
        entry: dict[str, Any] = {"model": body["model"], "read": time.perf_counter(), "writes": []}
        self.log.append(entry)
        entry["body"] = read.decode()
        return await self._answer(body, entry, writer)

    def _get(self, path: str, lines: dict[str, str], writer: asyncio.StreamWriter) -> bool:
        if path == "/v1/models" and lines.get("authorization") == "bearer wrong":
            self._plain(writer, 401, {"error": {"message": "no such key"}})
        elif path == "/metrics":
            self._metrics(writer)
        elif path == "/log":
            self._plain(writer, 200, self.log)
        else:
            self._plain(writer, 200, {"data": [{"id": mode} for mode in MODES]})
        return True

    def _metrics(self, writer: asyncio.StreamWriter) -> None:
        """As vLLM counts: `busy` has another client, of whom it counts 100 tokens each time it is asked."""
        asked = [entry for entry in self.log if entry["model"] in {"fast", "busy"}]
        tokens = sum(json.loads(entry["body"])["max_tokens"] for entry in asked)
        if any(entry["model"] == "busy" for entry in asked):
            tokens += 100
        label = '{engine="0",model_name="served"}'
        lines = [
            "# TYPE vllm:generation_tokens_total counter",
            f"vllm:generation_tokens_total{label} {tokens}",
            f"vllm:prompt_tokens_total{label} {7 * len(asked)}",
            f"vllm:request_queue_time_seconds_sum{label} {0.25 * len(asked)}",
            f"vllm:request_queue_time_seconds_count{label} {len(asked)}",
        ]
        text = "\n".join([*lines, ""]).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text))

    @staticmethod
    def _plain(writer: asyncio.StreamWriter, status: int, what: Any) -> None:
        text = json.dumps(what).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n"
        writer.write(head.encode() + text)

    async def _answer(  # noqa: C901 - a branch a misdeed
        self, body: dict[str, Any], entry: dict[str, Any], writer: asyncio.StreamWriter
    ) -> bool:
        mode, tokens = body["model"], body.get("max_tokens", 16)
        number = next(self.numbers)
        if mode.startswith("status_"):
            self._plain(writer, int(mode[7:]), {"error": {"message": f"{mode} it is", "code": 1}})
            return True
        if mode in {"embed", "embed_empty"}:
            row = {"index": 0, "embedding": [0.5]}
            counts = {"prompt_tokens": 9, "total_tokens": 9}
            self._plain(writer, 200, {"data": [row] if mode == "embed" else [], "usage": counts})
            return True
        if mode == "json_error":
            self._plain(writer, 200, json.loads(ERROR))
            return True
        if mode == "two_places":
            await self._place()
        if mode == "silent":
            await asyncio.sleep(3600)
        if mode == "close":
            return False
        if mode == "garbage":
            writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
            return False
        if mode == "exit" and number >= 20:
            os._exit(0)
        if mode == "short_length":
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\n"
            )
            writer.write(b"".join(whole(tokens)[:3]))
            return False
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_%d\r\n"
            b"transfer-encoding: chunked\r\n\r\n" % number
        )
        async for event in self._timed(mode, number, tokens):
            entry["writes"].append(time.perf_counter())
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
        if mode == "cut":
            await asyncio.sleep(0.01)
            return False
        if mode == "reset":
            await asyncio.sleep(0.01)
            writer.transport.abort()
            return False
        if mode == "hang":
            await asyncio.sleep(3600)
        writer.write(b"0\r\n\r\n")
        return True

    async def _place(self) -> None:
        """`two_places`: one answer after the other at each of two, PLACE_S long: 2 / PLACE_S a second."""
        now = time.perf_counter()
        place = self.places.index(min(self.places))
        self.places[place] = max(now, self.places[place]) + PLACE_S
        await asyncio.sleep(self.places[place] - now)

    async def _timed(self, mode: str, number: int, tokens: int) -> AsyncIterator[bytes]:
        """At absolute times, so that no delay adds up."""
        began = time.perf_counter()
        if mode == "stall" and number == STALL_AFTER:
            self.stalled_until = began + STALL_S
        first = SLOW_FIRST_S if mode == "bimodal" and number % SLOW_SHARE == 0 else FIRST_S
        timed = mode in {"steady", "slower", "bimodal", "stall", "exit"}
        pace = SLOWER if mode == "slower" else 1.0
        for at, event in enumerate(events(mode, tokens)):
            if timed and at < tokens:
                due = max(began + (first + at * GAP_S) * pace, self.stalled_until)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            elif mode not in {"fast", "busy", "split"}:
                await asyncio.sleep(0)
            yield event


MODES = (  # noqa: SIM905 - names
    """
    steady slower two_places bimodal stall exit fast busy in_band in_band_first no_done no_finish no_usage
    ended_early nothing only_done cut reset too_short not_json odd long_event finish_abort hang comment
    comment_glued crlf cr no_space event_lines split joined role_first reasoning two_a_piece counted
    status_500 status_429 status_400 embed embed_empty json_error silent close garbage short_length
    """
).split()


async def main() -> None:
    server = await asyncio.start_server(Server().serve, "127.0.0.1", 0, limit=2**20)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # it ends with who started it


if __name__ == "__main__":
    asyncio.run(main())
