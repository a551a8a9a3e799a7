"""A call's ticket: what it may use is taken from every limit of its tenant before it is sent, and what it has
used is settled at its end.

    admit                 taken at once, in memory                                 policy/ledger.py
      -> lease            the store has to be asked first                          limiter.py
      -> counting         refused by the bound alone: how long is the prompt?      /tokenize, once
    end                   settled, or given back as if it had never come           metering.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import orjson

from gateway import metering, metrics
from gateway.asked import Call
from gateway.counting import Counting
from gateway.limiter import Limiter, Reached
from gateway.live import Live
from gateway.note import Note
from gateway.policy.holder import Holder, Ticket
from gateway.policy.reservation import tokens_max
from gateway.refusal import Refusal


class Taking:
    """Of one worker."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._counting = Counting(live)

    def take(self, call: Call, note: Note) -> Coroutine[Any, Any, None] | None:
        """From every limit that is met, or from none; `note` holds the ticket. Raises Refusal (429, 503).

        Await what it returns: there is somebody to be asked first.
        """
        tenants, terms = self._live.tenants, note.terms
        limiter = tenants.limiter
        if limiter is None:
            return None
        assert terms is not None  # noqa: S101 - found with the model
        holder = terms.holder or tenants.holder(terms, note.tenant, call.model.name)
        try:
            ticket = note.ticket = limiter.admit(holder, call.bound)
        except Reached as reached:
            return self._counted(limiter, holder, call, note, reached)
        if ticket is None:
            return self._leased(limiter, holder, call, note)
        self._took(limiter, ticket, note)
        return None

    def end(self, ticket: Ticket, note: Note) -> None:
        limiter = self._live.tenants.limiter
        assert limiter is not None  # noqa: S101 - the ticket is from there
        cost = metering.cost(
            attempts=note.attempts,
            cached=note.cache == "hit",
            outcome=note.outcome,
            reason=note.reason,
            usage=note.usage,
            late=note.late,
        )
        if note.story is not None:
            note.story.cost = cost
        if cost is None:
            limiter.undo(ticket)
        else:
            limiter.settle(ticket, cost.prompt, cost.completion, unknown=cost.unknown)

    async def _leased(self, limiter: Limiter, holder: Holder, call: Call, note: Note) -> None:
        try:
            note.ticket = await limiter.lease(holder, call.bound, self._until(note))
        except Reached as reached:
            await self._counted(limiter, holder, call, note, reached)
        else:
            self._took(limiter, note.ticket, note)

    async def _counted(
        self, limiter: Limiter, holder: Holder, call: Call, note: Note, reached: Reached
    ) -> None:
        """With the prompt's own length instead of its bound, where that can help. Raises Refusal."""
        refused = reached.refused
        if refused.limit.measure.unit != "tokens" or refused.why == "store":
            raise reached
        path, document, context = call.path.decode(), orjson.loads(call.body), call.model.max_model_len
        if tokens_max(path, document, context, prompt=1) > refused.left:
            raise reached
        prompt = await self._counting.prompt_tokens(call, note.deadline)
        if prompt is None:
            raise reached
        self._live.metrics.count(metrics.PROMPTS_COUNTED, (call.model.name,))
        tokens = min(call.bound, tokens_max(path, document, context, prompt=prompt))
        ticket = limiter.admit(holder, tokens)
        note.ticket = ticket or await limiter.lease(holder, tokens, self._until(note))
        self._took(limiter, note.ticket, note)

    @staticmethod
    def _took(limiter: Limiter, ticket: Ticket, note: Note) -> None:
        lefts, lines = limiter.left(ticket)
        note.lines += lines
        story = note.story
        if story is not None:
            story.tokens = ticket.tokens
            story.limits = ticket.plan.limits
            story.lefts = lefts

    def _until(self, note: Note) -> float:
        """How long the store is waited for."""
        longest_s = self._live.settings.config.queue.longest_s(note.tenant)
        end = asyncio.get_running_loop().time() + longest_s
        return min(end, note.deadline)


def not_allowed(tenant: str, model: str, allowed: frozenset[str]) -> Refusal:
    names = ", ".join(sorted(allowed)) or "none"
    message = f"{tenant} may not use {model}. Allowed with this key: {names}."
    return Refusal(403, "model_not_allowed", message, param="model", type="permission_error")
