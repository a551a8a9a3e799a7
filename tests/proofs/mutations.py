"""Valid requests, and what becomes of them by random changes. Pure: a seed and a number give the same bytes.

    a request of REQUESTS -> changes of its JSON -> changes of its head and framing -> changes of its bytes

Each step may be left out, so that every depth of the gateway is met by requests that are fine up to there.
"""

from __future__ import annotations

import copy
import json
import random
from dataclasses import dataclass, field
from typing import Any, Final

from tests.gateway.process import ADMIN, KEY

BLOCK: Final = 16
"""Requests that are sent one after the other on a connection while it lasts."""
_MESSAGES: Final = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "capital of France?"},
]
_CHAT: Final = {"model": "chat", "messages": _MESSAGES}
_TOOL: Final = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}

REQUESTS: Final[tuple[tuple[bytes, bytes, Any], ...]] = (
    (b"POST", b"/v1/chat/completions", _CHAT),
    (b"POST", b"/v1/chat/completions", _CHAT | {"stream": True}),
    (
        b"POST",
        b"/v1/chat/completions",
        _CHAT | {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    ),
    (
        b"POST",
        b"/v1/chat/completions",
        _CHAT
        | {
            "temperature": 0,
            "top_p": 0.9,
            "n": 1,
            "max_tokens": 16,
            "stop": ["\n"],
            "seed": 7,
            "tools": [_TOOL],
        }
        | {"logit_bias": {"50": -1.5}, "user": "é\u2028😀", "response_format": {"type": "json_object"}},
    ),
    (b"POST", b"/v1/completions", {"model": "qwen", "prompt": "Once", "max_tokens": 5, "logprobs": 2}),
    (b"POST", b"/v1/completions", {"model": "chat", "prompt": [1, 2, 3], "stream": True, "best_of": 1}),
    (b"POST", b"/v1/responses", {"model": "chat", "input": "Hello", "max_output_tokens": 9}),
    (
        b"POST",
        b"/v1/responses",
        {"model": "chat", "input": [{"role": "user", "content": "x"}], "stream": True},
    ),
    (b"POST", b"/v1/text2sql", {"messages": [{"role": "user", "content": "all users"}]}),
    (b"POST", b"/v1/embeddings", {"model": "embed", "input": ["a", "b"], "encoding_format": "float"}),
    (b"POST", b"/v1/embeddings", {"model": "embed", "input": "one and the same"}),
    (b"POST", b"/v1/rerank", {"model": "embed", "query": "q", "documents": ["a", "b"], "top_n": 1}),
    (b"POST", b"/v1/score", {"model": "embed", "text_1": "a", "text_2": ["b", "c"]}),
    (b"POST", b"/tokenize", {"model": "chat", "prompt": "a b"}),
    (b"POST", b"/detokenize", {"model": "chat", "tokens": [1, 2]}),
    (b"GET", b"/v1/models", None),
    (b"GET", b"/v1/models/qwen", None),
    (b"GET", b"/health", None),
    (b"GET", b"/health/live", None),
    (b"GET", b"/health/ready?x=1", None),
    (b"GET", b"/health/detailed", None),
    (b"GET", b"/metrics", None),
    (b"GET", b"/docs", None),
    (b"GET", b"/admin/backends", None),
    (b"POST", b"/admin/backends/spare/drain", None),
    (b"POST", b"/admin/backends/spare/undrain", None),
)
RARE: Final = frozenset((b"/metrics", b"/docs", b"/admin/backends/spare/undrain"))
"""What costs the gateway more than the rest: asked for less often."""

_VALUES: Final = (
    None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, 1e-320, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, "",
    " ", "\0", "\ud83d\ude00", "x" * 300, "x" * 5000, "é" * 50, "../..", "%00", "chat", "embed", "auto", [],
    {}, [[]], [None], [{}], {"": ""}, {"model": "chat"}, [1] * 100, {"role": "user", "content": None},
    {"role": "none"},
)  # fmt: skip
_KEYS: Final = (
    "model", "messages", "stream", "stream_options", "include_usage", "max_tokens", "max_completion_tokens",
    "n", "cache_salt", "priority", "temperature", "seed", "prompt", "input", "query", "documents",
    "background", "tools", "role", "content", "logit_bias", "", "__proto__", "x" * 200, "\u0000", "é",
)  # fmt: skip
_RAW: Final = (
    b"NaN", b"-Infinity", b"1e999", b"01", b"+1", b".5", b"1.", b"0x10", b"'a'", b"\xef\xbb\xbf",
    b"\xff\xfe", b"\xed\xa0\x80", b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"\\x"', b'"\\',
    b'"model":"chat",', b"/*x*/", b"//", b"\x0c", b",", b"{", b"}", b"[", b"]", b":", b'"', b"\\",
    b"[" * 70, b'{"a":' * 70, b"9" * 5000, b" " * 2000, b"\0", b"\r\n", b"\n", b"\x85", b"\xe2\x80\xa8",
    b"true", b"null", b"\xf0\x9f\x98\x80", b"1E400", b"-0", b"1e-400",
)  # fmt: skip
_METHODS: Final = (
    b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"HEAD", b"TRACE", b"CONNECT", b"PRI", b"get",
    b"P OST", b"", b"X" * 40, b"G\0T",
)  # fmt: skip
_VERSIONS: Final = (
    b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2", b"http/1.1", b"HTTP/1.1 ",
    b"", b"X",
)  # fmt: skip
_TARGETS: Final = (
    b"/", b"*", b"", b"//", b"/v1", b"/v1/", b"/v1//models", b"/v1/models/", b"/v1/models/%2e%2e", b"/%00",
    b"/%", b"/\xff", b"/docs/assets/../../etc/passwd", b"/docs/assets/none.js", b"/docs/%2e%2e/%2e%2e/x",
    b"/openapi.json?a=%ff", b"http://a/v1/models", b"http://a:99999/", b"a:443", b"/health#x",
    b"/v1/models/" + b"a" * 3000, b"/" + b"a/" * 9000, b"/v1/chat/completions?" + b"q" * 500,
    b"/V1/CHAT/COMPLETIONS", b"/v1/chat/completions/", b"/admin", b"/admin/keys",
    b"/admin/backends/none/drain", b"/admin/backends/a%2Fb/drain", b"/admin/backends//drain", b"/\\", b"/?",
    b"/health/\xc3\xa9",
)  # fmt: skip
_LINES: Final = (
    (b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"gzip, chunked"),
    (b"Transfer-Encoding", b"identity"), (b"Content-Length", b"0"), (b"Content-Length", b"5"),
    (b"Content-Length", b"-1"), (b"Content-Length", b"1e3"), (b"Content-Length", b"99999999999999999999"),
    (b"Content-Length", b"8388609"), (b"Content-Encoding", b"gzip"), (b"Content-Type", b"text/plain"),
    (b"Content-Type", b"application/json; charset=utf-16"), (b"Expect", b"100-continue"),
    (b"Expect", b"nonsense"), (b"Connection", b"close"), (b"Connection", b"keep-alive, Upgrade"),
    (b"Upgrade", b"websocket"), (b"Upgrade", b"h2c"), (b"Host", b""), (b"Host", b"a b"),
    (b"Host", b"evil\0"), (b"Accept-Encoding", b"gzip, br;q=0"),
    (b"Accept-Encoding", b"gzip;q=nonsense, *;q=0"),
    (b"Accept", b"application/openmetrics-text; version=1.0.0"), (b"Cache-Control", b"no-store"),
    (b"Cache-Control", b"no-cache"), (b"X-Request-Id", b"a" * 200), (b"X-Request-Id", b"a b\x7f"),
    (b"X-Forwarded-For", b"1.2.3.4"), (b"X-Forwarded-For", b", ,::1, nonsense"),
    (b"X-Request-Timeout", b"nonsense"), (b"X-Request-Timeout", b"-1"), (b"X-Request-Timeout", b"1e999"),
    (b"X-Request-Timeout", b"20"), (b"X-Session-Id", b"s1"), (b"Range", b"bytes=0-"), (b"Trailer", b"x"),
    (b"TE", b"trailers"), (b"Cookie", b"a=b"), (b"", b"x"), (b"a b", b"x"), (b"x\0", b"x"), (b"x", b"\0"),
    (b"x", b"\r"), (b"x", b"a\n b"), (b"x", b"\xff\xfe"), (b"X" * 300, b"x"), (b"x", b"y" * 3000),
    (b"x", b"y" * 70_000), (b"Authorization", b"Basic YTpi"), (b"Authorization", b"Bearer"),
    (b"Authorization", b"Bearer \xff"), (b"Proxy-Authorization", b"x"), (b"Content-Length ", b"3"),
    (b" folded", b"x"), (b"Http2-Settings", b"AAMAAABkAAQAAP__"),
)  # fmt: skip
_TOKENS: Final = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b":", b" ", b"\t", b"\xff", b"0\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"HTTP/1.1", b"chunked", b"ffffffffffffffff\r\n", b";ext=1",
    b"%n%s", b"\x1b[0m", b"'", b'"', b"\x16\x03\x01",
)  # fmt: skip
_CHUNK_SIZES: Final = (
    b"g",
    b"-1",
    b"0x5",
    b"5 ",
    b"",
    b"ffffffffffffffff",
    b"00000005",
    b"5;a=b",
    b"5;" + b"x" * 5000,
)


@dataclass
class Draft:
    """A request, before it is bytes."""

    method: bytes
    target: bytes
    body: bytes
    lines: list[tuple[bytes, bytes]] = field(default_factory=list)
    version: bytes = b"HTTP/1.1"
    ending: bytes = b"\r\n"
    chunks: list[tuple[bytes, bytes]] | None = None
    """Size as written, and the bytes."""

    def render(self) -> bytes:
        body = self.body
        if self.chunks is not None:
            body = b"".join(b"%b\r\n%b\r\n" % chunk for chunk in self.chunks) + b"0\r\n\r\n"
        end = self.ending
        head = b"%b %b %b%b" % (self.method, self.target, self.version, end)
        return head + b"".join(b"%b: %b%b" % (*line, end) for line in self.lines) + end + body


def cases(seed: int, block: int) -> list[bytes]:
    """BLOCK of them, for one connection."""
    chance = random.Random(seed << 40 | block)
    return [case(chance) for _ in range(BLOCK)]


def case(chance: random.Random) -> bytes:
    roll = chance.random()
    if roll < 0.05:
        return b"".join(_one(chance) for _ in range(chance.randrange(2, 5)))
    if roll < 0.07:
        whole = _one(chance)
        return whole[: chance.randrange(len(whole) + 1)]
    return _one(chance)


def _one(chance: random.Random) -> bytes:
    draft = _draft(chance)
    if chance.random() < 0.35:
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            _change_head(draft, chance)
    data = draft.render()
    if chance.random() < 0.2:
        for _ in range(chance.choice((1, 1, 2, 4))):
            data = _change_bytes(data, chance, _TOKENS)
    return data


def _draft(chance: random.Random) -> Draft:
    method, target, value = chance.choice(REQUESTS)
    if target in RARE and chance.random() < 0.9:
        method, target, value = chance.choice(REQUESTS[:15])
    body = b""
    if value is not None:
        if chance.random() < 0.4:
            value = json.loads(json.dumps(value))
            for _ in range(chance.choice((1, 1, 2, 3))):
                value = _change_value(value, chance)
        body = json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
        if chance.random() < 0.2:
            for _ in range(chance.choice((1, 1, 2, 5))):
                body = _change_bytes(body, chance, _RAW)
    key = ADMIN if target.startswith(b"/admin") else KEY
    lines = [(b"Host", b"localhost"), (b"Authorization", b"Bearer " + key.encode())]
    if value is not None:
        lines.append((b"Content-Type", b"application/json"))
    draft = Draft(method, target, body, lines)
    if body and chance.random() < 0.2:
        _in_chunks(draft, chance)
    elif value is not None:
        lines.append((b"Content-Length", b"%d" % len(body)))
    return draft


def _change_value(value: Any, chance: random.Random) -> Any:
    """One place of a JSON value, anywhere in it."""
    if isinstance(value, dict) and value and chance.random() < 0.7:
        key = chance.choice(list(value))
        roll = chance.random()
        if roll < 0.5:
            value[key] = _change_value(value[key], chance)
        elif roll < 0.65:
            del value[key]
        elif roll < 0.8:
            value[chance.choice(_KEYS)] = value.pop(key)
        else:
            value[chance.choice(_KEYS)] = copy.deepcopy(chance.choice(_VALUES))
        return value
    if isinstance(value, list) and value and chance.random() < 0.7:
        place = chance.randrange(len(value))
        roll = chance.random()
        if roll < 0.5:
            value[place] = _change_value(value[place], chance)
        elif roll < 0.7:
            del value[place]
        else:
            value *= chance.randrange(2, 5)
        return value
    roll = chance.random()
    if roll < 0.1:
        return [value]
    if roll < 0.2:
        return {chance.choice(_KEYS): value}
    return copy.deepcopy(chance.choice(_VALUES))  # it may be changed itself


def _in_chunks(draft: Draft, chance: random.Random) -> None:
    body, draft.chunks = draft.body, []
    draft.lines.append((b"Transfer-Encoding", b"chunked"))
    while body:
        size = chance.randrange(1, len(body) + 1)
        draft.chunks.append((b"%x" % size, body[:size]))
        body = body[size:]


def _change_head(draft: Draft, chance: random.Random) -> None:
    match chance.randrange(12):
        case 0:
            draft.method = chance.choice(_METHODS)
        case 1:
            draft.target = chance.choice(_TARGETS)
        case 2:
            draft.version = chance.choice(_VERSIONS)
        case 3:
            draft.target = _change_bytes(draft.target, chance, _TOKENS)
        case 4 | 5 | 6:
            draft.lines.insert(chance.randrange(len(draft.lines) + 1), chance.choice(_LINES))
        case 7 if draft.lines:
            del draft.lines[chance.randrange(len(draft.lines))]
        case 8 if draft.lines:
            place = chance.randrange(len(draft.lines))
            name, value = draft.lines[place]
            part = chance.random() < 0.3
            draft.lines[place] = (
                (_change_bytes(name, chance, _TOKENS), value)
                if part
                else (name, _change_bytes(value, chance, _TOKENS))
            )
        case 9:
            draft.lines.extend([chance.choice(_LINES)] * chance.choice((2, 3, 120)))
        case 10 if draft.chunks:
            place = chance.randrange(len(draft.chunks))
            draft.chunks[place] = chance.choice(_CHUNK_SIZES), draft.chunks[place][1]
        case _:
            draft.ending = chance.choice((b"\n", b"\r", b"\r\n\t", b" \r\n", b"\r\r\n"))


def _change_bytes(data: bytes, chance: random.Random, tokens: tuple[bytes, ...]) -> bytes:
    at = chance.randrange(len(data) + 1)
    upto = min(len(data), at + chance.choice((1, 1, 2, 8, 64)))
    match chance.randrange(5):
        case 0:
            return data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]
        case 1:
            return data[:at] + data[upto:]
        case 2:
            return data[:upto] + data[at:]
        case 3:
            return data[:at] + chance.choice(tokens) + data[at:]
        case _:
            return data[:at] + chance.choice(tokens) + data[upto:]
