"""A prompt's tokens, counted by the engine itself: asked where the bound alone would refuse a call.

Only what /tokenize renders as the call itself would be: text, with the chat template that the engine has. The
answer is exact, so that with it nothing more can be used than is reserved.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import orjson

from gateway.asked import Call
from gateway.client import UpstreamFailed
from gateway.live import Live
from gateway.policy.balancer import Backend

AT_ONCE: Final = 8
"""Counts under way in one worker: a tenant at its limit must not keep the engines busy with them."""
ANSWER_BYTES: Final = 32 * 1024 * 1024
"""The engine lists each token: about seven bytes of text for one."""
COUNT_S: Final = 2.0

_PATH: Final = b"/tokenize"
_CHAT: Final = (
    "messages",
    "tools",
    "add_generation_prompt",
    "continue_final_message",
    "add_special_tokens",
    "chat_template",
    "chat_template_kwargs",
)
"""Fields that say how a conversation becomes a prompt, the same for both."""
_ELSE: Final = frozenset(("documents", "reasoning_effort", "mm_processor_kwargs", "prompt_embeds", "suffix"))
"""... and those that only the call itself knows."""
_PROMPTS: Final = {b"/v1/completions": "prompt", b"/v1/embeddings": "input"}


class Counting:
    """Of one worker."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._running = 0

    async def prompt_tokens(self, call: Call, deadline: float) -> int | None:
        """None: it cannot be counted, or not now."""
        question = asked(call)
        backend = self._backend(call.model.name)
        if question is None or backend is None or self._running >= AT_ONCE:
            return None
        self._running += 1
        try:
            async with asyncio.timeout_at(min(deadline, asyncio.get_running_loop().time() + COUNT_S)):
                reply = await self._live.client.post(backend, _PATH, question)
                try:
                    body = await reply.read_all(ANSWER_BYTES)
                finally:
                    reply.close()
        except (TimeoutError, UpstreamFailed):
            return None
        finally:
            self._running -= 1
        return _count(body) if reply.status == 200 else None

    def _backend(self, model: str) -> Backend | None:
        ready = [each for each in self._live.balancer.of(model) if each.takes_requests]
        return min(ready, key=lambda each: each.in_flight, default=None)


def asked(call: Call) -> bytes | None:
    """The body for /tokenize; None: its answer would not be that call's prompt."""
    document = orjson.loads(call.body)
    if not _ELSE.isdisjoint(document):
        return None
    question: dict[str, Any] = {"model": call.model.served_name}
    if call.path == b"/v1/chat/completions":
        if not all(map(_is_text, document["messages"])):
            return None
        return orjson.dumps(question | {name: document[name] for name in _CHAT if name in document})
    text = document.get(_PROMPTS.get(call.path, ""))
    if not isinstance(text, str):
        return None
    return orjson.dumps(question | {"prompt": text})


def _is_text(message: Any) -> bool:
    content = message.get("content")
    if isinstance(content, list):
        return all(isinstance(part, dict) and part.get("type") == "text" for part in content)
    return content is None or isinstance(content, str)


def _count(body: bytes) -> int | None:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    count = found.get("count") if isinstance(found, dict) else None
    return count if type(count) is int and count >= 0 else None
