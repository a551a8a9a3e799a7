"""A real call of one token: does an engine still compute? /health of one that hangs may well say 200.

answered        any answer that is no 5xx: it works
busy            429, 503, or silence while it answered others: not known
failed          a 5xx, a broken answer, silence
"""

from __future__ import annotations

import asyncio
from typing import Final, Literal

import orjson

from gateway.client import UpstreamFailed
from gateway.config import Model
from gateway.live import Live
from gateway.policy.balancer import Backend

Verdict = Literal["answered", "busy", "failed"]

ANSWER_BYTES: Final = 1024 * 1024


async def run(live: Live, backend: Backend, timeout_s: float) -> tuple[Verdict, str]:
    """The verdict, and why. Raises UpstreamFailed when what failed is ours, so that nothing is known."""
    model = live.settings.catalog.get(backend.model)
    if model is None:
        return "busy", "the model is gone from the configuration"
    path, body = question(model)
    before = backend.answered
    try:
        async with asyncio.timeout(timeout_s):
            reply = await live.client.post(backend, path, body)
            try:
                await reply.read_all(ANSWER_BYTES)
            finally:
                reply.close()
    except TimeoutError:
        if backend.answered > before:
            return "busy", ""
        return "failed", f"{path.decode()} gave no answer within {timeout_s:g} s"
    except UpstreamFailed as failure:
        if failure.ours:
            raise
        return "failed", f"{path.decode()}: {failure.reason}"
    if reply.status in {429, 503}:
        return "busy", f"{path.decode()} answered {reply.status}"
    if reply.status >= 500:
        return "failed", f"{path.decode()} answered {reply.status}"
    return "answered", ""


def question(model: Model) -> tuple[bytes, bytes]:
    """The cheapest call that the model's first task computes."""
    name = {"model": model.served_name}
    match model.tasks[0]:
        case "chat" | "text2sql":
            return b"/v1/completions", orjson.dumps(name | {"prompt": "1", "max_tokens": 1, "temperature": 0})
        case "embed":
            return b"/v1/embeddings", orjson.dumps(name | {"input": "1"})
        case "rerank":
            return b"/v1/rerank", orjson.dumps(name | {"query": "1", "documents": ["1"]})
