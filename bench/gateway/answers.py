"""The bytes of the benchmark: what the load asks, what the stub answers, what has to arrive."""

from __future__ import annotations

import json
import re

KEY = "sk-bench-0123456789abcdef0123456789abcdef"
MODEL = "chat"
CHUNKS = 64
PACE_S = 0.020
"""Between two chunks of a stream, unless the stub was told another pace."""

_QUESTION = "Here is a question of some length, as people ask them. " * 14
_TEXT = "The answer to this is forty-two, and nobody knows what was asked. " * 9
_ABOUT = {"id": "chatcmpl-0123456789abcdef", "object": "", "created": 1_750_000_000, "model": MODEL}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _usage(completion: int) -> dict[str, int]:
    return {"prompt_tokens": 211, "total_tokens": 211 + completion, "completion_tokens": completion}


# The load's side


def request(*, stream: bool) -> bytes:
    """One chat call of about 1 KB. A streaming one does not ask for usage: who needs it has to put it in."""
    call: dict[str, object] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": _QUESTION}],
        "max_tokens": CHUNKS,
        "temperature": 0.7,
    }
    if stream:
        call["stream"] = True
    body = _json(call)
    lines = (
        "POST /v1/chat/completions HTTP/1.1",
        "Host: bench.example",
        f"Authorization: Bearer {KEY}",
        "Content-Type: application/json",
        "Accept: application/json",
        "User-Agent: OpenAI/Python 3.54.0",
        "X-Stainless-Lang: python",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + body


# The stub's side


def message(body: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


def _choice(number: int) -> dict[str, object]:
    finish = "stop" if number == CHUNKS - 1 else None
    return {
        "index": 0,
        "delta": {"content": f" word{number:05d}"},
        "logprobs": None,
        "finish_reason": finish,
    }


def _event(data: bytes) -> bytes:
    return b"data: %b\n\n" % data


def _chunk(choices: list[object], usage: int | None) -> bytes:
    piece: dict[str, object] = {**_ABOUT, "object": "chat.completion.chunk", "choices": choices}
    if usage is not None:
        piece["usage"] = _usage(usage)
    return _event(_json(piece))


def _framed(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


PLAIN_BODY = _json(
    {
        **_ABOUT,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": _TEXT},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _usage(CHUNKS),
    }
)
PLAIN = message(PLAIN_BODY)
MODELS = message(
    _json(
        {
            "object": "list",
            "data": [
                {
                    "id": MODEL,
                    "object": "model",
                    "created": 1_750_000_000,
                    "owned_by": "vllm",
                    "root": MODEL,
                    "max_model_len": 32_768,
                }
            ],
        }
    )
)
OK = message(b'{"status":"ok"}')
NOT_FOUND = message(b'{"detail":"Not Found"}', b"404 Not Found")
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
_DONE = _event(b"[DONE]")
_EVENTS = [_chunk([_choice(n)], None) for n in range(CHUNKS)]
_LAST_USAGE = _chunk([], CHUNKS)

STREAM = [_framed(event) for event in _EVENTS]
"""What goes out at each beat, for a client that asked for no usage."""
STREAM_RUNNING = [_framed(_chunk([_choice(n)], n + 1)) for n in range(CHUNKS)]
"""The same with `continuous_usage_stats`, as vLLM writes it."""
END = _framed(_DONE) + b"0\r\n\r\n"
END_USAGE = _framed(_LAST_USAGE) + END

# What has to arrive

STREAM_BODY = b"".join(_EVENTS) + _DONE
"""Every byte of a stream whose client asked for no usage."""
_WORD = re.compile(rb'" word(\d{5})"')


def same_words(body: bytes) -> bool:
    """Of a proxy that writes its answers anew: every word once, in order, and [DONE] behind them."""
    words = [int(word) for word in _WORD.findall(body)]
    return words == list(range(CHUNKS)) and body.rstrip().endswith(b"data: [DONE]")
