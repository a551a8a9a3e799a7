"""`python3 -m vllm.entrypoints.openai.api_server ...` of the stand-in: loads for a while, then answers.

What it does is set by variables of its environment, so that one image plays every part:

    STAND_IN_LOAD_S=0.3     until it listens; as in vLLM nothing answers before that
    STAND_IN_TOKEN_S=0.002  between two tokens
    STAND_IN_FAIL=TEXT      at the end of the load: TEXT as vLLM would log it, then exit code 1
    STAND_IN_HANG=1         the load never ends
    STAND_IN_DEAF=1         SIGTERM is not heard
    STAND_IN_SICK=1         it listens, and /health answers 503
    STAND_IN_WRONG=1        /health is well, and every completion is a 500
    STAND_IN_MARK=FILE      `begin NAME` and `end NAME` of each load are appended to it

Arguments that vLLM does not have are refused in its words. Standard library only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

import vllm

SWITCHES = (
    "enable-expert-parallel",
    "enforce-eager",
    "enable-prefix-caching",
    "enable-chunked-prefill",
    "async-scheduling",
    "trust-remote-code",
    "enable-auto-tool-choice",
)
VALUES = (
    "tokenizer",
    "dtype",
    "quantization",
    "load-format",
    "max-num-seqs",
    "max-num-batched-tokens",
    "gpu-memory-utilization",
    "kv-cache-dtype",
    "cpu-offload-gb",
    "tensor-parallel-size",
    "pipeline-parallel-size",
    "chat-template",
    "tool-call-parser",
    "reasoning-parser",
    "seed",
    "max-logprobs",
    "limit-mm-per-prompt",
    "revision",
    "runner",
    "download-dir",
    "hf-overrides",
)
"""Known, and without any effect here."""
BODY_BYTES_MAX = 16 * 2**20
WORDS = ("The", " capital", " of", " France", " is", " Paris", ".", " Indeed")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="api_server.py")
    parser.add_argument("--model", required=True)
    parser.add_argument("--served-model-name", default="")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--api-key", default="")
    parser.add_argument("--max-model-len", type=int, default=8192)
    parser.add_argument("--block-size", type=int, default=16)
    parser.add_argument("--kv-cache-memory-bytes", type=int, default=2**30)
    parser.add_argument("--shutdown-timeout", type=int, default=0)
    for name in SWITCHES:
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction)
    for name in VALUES:
        parser.add_argument(f"--{name}")
    return parser.parse_args()


def setting(name: str, default: float) -> float:
    return float(os.environ.get(f"STAND_IN_{name}") or default)


def say(what: str, level: str = "INFO", who: str = "APIServer") -> None:
    stamp = time.strftime("%m-%d %H:%M:%S")
    for line in what.splitlines():
        sys.stdout.write(f"({who} pid={os.getpid()}) {level} {stamp} [api_server.py:1] {line}\n")
    sys.stdout.flush()


def mark(what: str, args: argparse.Namespace) -> None:
    if file := os.environ.get("STAND_IN_MARK"):
        with open(file, "a", encoding="utf-8") as marks:  # noqa: PTH123
            marks.write(f"{what} {args.served_model_name}\n")


class Engine:
    """Counts what runs, as vLLM's metrics tell it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.name = args.served_model_name or args.model
        self.key = args.api_key or os.environ.get("VLLM_API_KEY", "")
        self.token_s = setting("TOKEN_S", 0.002)
        self.running: set[asyncio.Task[None]] = set()
        self.stopping = asyncio.Event()
        self.finished = self.prompt_tokens = self.answer_tokens = 0
        # 56 KiB a token: Qwen2.5-7B's.
        self.blocks = max(1, args.kv_cache_memory_bytes // (args.block_size * 57_344))

    def metrics(self) -> str:
        tokens = self.blocks * self.args.block_size
        label = f'engine="0",model_name="{self.name}"'
        info = (
            f'block_size="{self.args.block_size}",engine="0",'
            f'kv_cache_max_concurrency="{tokens / self.args.max_model_len}",'
            f'kv_cache_memory_bytes="{self.args.kv_cache_memory_bytes}",'
            f'kv_cache_size_tokens="{tokens}",num_gpu_blocks="{self.blocks}"'
        )
        used = min(1.0, len(self.running) * 512 / tokens)
        rows = (
            ("vllm:cache_config_info", "gauge", info, 1.0),
            ("vllm:num_requests_running", "gauge", label, float(len(self.running))),
            ("vllm:num_requests_waiting", "gauge", label, 0.0),
            ("vllm:kv_cache_usage_perc", "gauge", label, used),
            ("vllm:prompt_tokens_total", "counter", label, float(self.prompt_tokens)),
            ("vllm:generation_tokens_total", "counter", label, float(self.answer_tokens)),
            (
                "vllm:request_success_total",
                "counter",
                f'{label},finished_reason="stop"',
                float(self.finished),
            ),
        )
        return "".join(f"# TYPE {n} {k}\n{n}{{{ls}}} {v}\n" for n, k, ls, v in rows)


class RefusedError(Exception):
    def __init__(self, status: int, message: str, kind: str = "BadRequestError") -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": None, "code": status}}


class Connection:
    """One client's requests, one after the other."""

    def __init__(self, engine: Engine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.engine = engine
        self.reader = reader
        self.writer = writer
        self.busy = False

    async def serve(self) -> None:
        try:
            while not self.engine.stopping.is_set():
                head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 30)
                line, *lines = head.decode("latin-1").split("\r\n")
                method, target, _ = line.split(" ")
                headers = {
                    k.strip().lower(): v.strip()
                    for k, v in (each.split(":", 1) for each in lines if ":" in each)
                }
                body = await self._body(headers)
                await self._answer(method, target.partition("?")[0], headers, body)
                if headers.get("connection", "").lower() == "close":
                    break
        except (OSError, EOFError, ValueError, TimeoutError, asyncio.CancelledError):
            pass
        finally:
            if self.busy:
                self.writer.transport.abort()  # a stream that is cut, not one that has ended
            else:
                self.writer.close()

    async def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            found = b""
            while size := int((await self.reader.readline()).split(b";")[0], 16):
                found += await self.reader.readexactly(size)
                await self.reader.readline()
            await self.reader.readline()
            return found
        size = int(headers.get("content-length") or 0)
        return await self.reader.readexactly(min(size, BODY_BYTES_MAX))

    async def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        engine = self.engine
        if path == "/health":
            await self._send(503 if os.environ.get("STAND_IN_SICK") else 200, b"")
        elif path == "/metrics":
            await self._send(200, engine.metrics().encode(), "text/plain; version=0.0.4")
        elif path == "/version":
            await self._json(200, {"version": vllm.__version__})
        elif engine.key and path.startswith("/v1") and headers.get("authorization") != f"Bearer {engine.key}":
            await self._json(401, {"error": "Unauthorized"})
        elif path == "/v1/models":
            one = {"id": engine.name, "object": "model", "owned_by": "vllm", "root": engine.args.model}
            await self._json(
                200, {"object": "list", "data": [one | {"max_model_len": engine.args.max_model_len}]}
            )
        elif method == "POST" and path in CALLS:
            task = asyncio.create_task(self._call(path, json.loads(body)))
            engine.running.add(task)
            task.add_done_callback(engine.running.discard)
            self.busy = True
            try:
                await task
            except RefusedError as refused:
                await self._json(refused.status, refused.body)
            self.busy = False
        else:
            await self._json(404, {"detail": "Not Found"})

    async def _call(self, path: str, body: dict[str, Any]) -> None:
        engine = self.engine
        if os.environ.get("STAND_IN_WRONG"):
            raise RefusedError(500, "EngineCore encountered an issue.", "InternalServerError")
        if body.get("model") not in {None, engine.name}:
            raise RefusedError(404, f"The model `{body.get('model')}` does not exist.", "NotFoundError")
        if path not in {"/v1/chat/completions", "/v1/completions"}:
            await asyncio.sleep(engine.token_s)
            await self._json(200, CALLS[path](engine.name, body))
            engine.finished += 1
            return
        text = json.dumps(body.get("messages") or body.get("prompt") or "")
        prompt = len(text.split())
        wanted = int(body.get("max_completion_tokens") or body.get("max_tokens") or len(WORDS))
        if prompt + wanted > engine.args.max_model_len:
            raise RefusedError(
                400, f"This model's maximum context length is {engine.args.max_model_len} tokens."
            )
        engine.prompt_tokens += prompt
        if body.get("stream"):
            await self._stream(body, prompt, wanted)
        else:
            await asyncio.sleep(engine.token_s * wanted)
            words = "".join(WORDS[n % len(WORDS)] for n in range(wanted))
            message = {"role": "assistant", "content": words}
            choice = {"index": 0, "message": message, "text": words, "finish_reason": "stop"}
            await self._json(
                200,
                {
                    "id": "chatcmpl-1",
                    "object": "chat.completion",
                    "created": int(time.time()),
                    "model": engine.name,
                    "choices": [choice],
                    "usage": usage(prompt, wanted),
                },
            )
        engine.answer_tokens += wanted
        engine.finished += 1

    async def _stream(self, body: dict[str, Any], prompt: int, wanted: int) -> None:
        asked = body.get("stream_options") or {}
        running = bool(asked.get("include_usage") and asked.get("continuous_usage_stats"))
        self.writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for number in range(1, wanted + 1):
            await asyncio.sleep(self.engine.token_s)
            last = number == wanted
            delta = {"content": WORDS[(number - 1) % len(WORDS)]}
            choice = {"index": 0, "delta": delta, "finish_reason": "stop" if last else None}
            await self._event([choice], usage(prompt, number) if running else None)
        if asked.get("include_usage"):
            await self._event([], usage(prompt, wanted))
        self.writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        await self.writer.drain()

    async def _event(self, choices: list[dict[str, Any]], used: dict[str, int] | None) -> None:
        piece = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": self.engine.name,
        }
        event = (
            b"data: %b\n\n"
            % json.dumps({**piece, "choices": choices, **({"usage": used} if used else {})}).encode()
        )
        self.writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await self.writer.drain()

    async def _json(self, status: int, value: Any) -> None:
        await self._send(status, json.dumps(value).encode(), "application/json")

    async def _send(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await self.writer.drain()


def usage(prompt: int, answer: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "total_tokens": prompt + answer, "completion_tokens": answer}


def embeddings(name: str, body: dict[str, Any]) -> dict[str, Any]:
    inputs = body.get("input")
    texts = inputs if isinstance(inputs, list) else [inputs]
    data = [{"object": "embedding", "index": n, "embedding": [0.25, 0.5]} for n, _ in enumerate(texts)]
    return {"object": "list", "model": name, "data": data, "usage": usage(3 * len(texts), 0)}


def rerank(name: str, body: dict[str, Any]) -> dict[str, Any]:
    words = set(str(body.get("query", "")).lower().split())
    scored = [
        {"index": n, "document": {"text": text}, "relevance_score": len(words & set(text.lower().split()))}
        for n, text in enumerate(map(str, body.get("documents", ())))
    ]
    scored.sort(key=lambda one: -one["relevance_score"])
    return {"id": "rerank-1", "model": name, "results": scored, "usage": {"total_tokens": 3}}


def score(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "model": name, "data": [{"index": 0, "score": 0.5}], "usage": usage(3, 0)}


CALLS = {
    "/v1/chat/completions": embeddings,  # both completions are answered above
    "/v1/completions": embeddings,
    "/v1/embeddings": embeddings,
    "/v1/rerank": rerank,
    "/v1/score": score,
}


async def main(args: argparse.Namespace) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    if not os.environ.get("STAND_IN_DEAF"):
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
    say(f"vLLM API server version {vllm.__version__}")
    say(f"Initializing a V1 LLM engine (v{vllm.__version__}) with model={args.model!r}", who="EngineCore")
    mark("begin", args)
    load_s = 86_400.0 if os.environ.get("STAND_IN_HANG") else setting("LOAD_S", 0.3)
    try:
        await asyncio.wait_for(stopped.wait(), load_s)
    except TimeoutError:
        pass
    else:
        say("terminated while loading", "WARNING")
        return 143
    if failure := os.environ.get("STAND_IN_FAIL"):
        say(failure, "ERROR", "EngineCore")
        say("RuntimeError: Engine core initialization failed. See root cause above.", "ERROR")
        return 1
    engine = Engine(args)
    tokens = engine.blocks * args.block_size
    say(f"GPU KV cache size: {tokens:,} tokens", who="EngineCore")
    open_now: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        await Connection(engine, reader, writer).serve()
        open_now.discard(task)

    mark("end", args)
    server = await asyncio.start_server(accept, args.host, args.port, limit=2**20)
    say(f"Starting vLLM server on http://{args.host}:{args.port}")
    await stopped.wait()
    say(f"[shutdown] API server: shutdown triggered, {len(engine.running)} requests in flight")
    if engine.running and args.shutdown_timeout:
        await asyncio.wait(engine.running, timeout=args.shutdown_timeout)
    engine.stopping.set()
    server.close()
    for task in tuple(open_now):
        task.cancel()
    await asyncio.gather(*open_now, return_exceptions=True)
    say("Application shutdown complete.")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(options())))
