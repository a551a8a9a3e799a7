"""What is known of one request when it ends: its counts, and what its log line says (logline.py)."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Final, Literal, NamedTuple

from gateway import metrics
from gateway.identify import Caller, Terms
from gateway.metrics import Metrics
from gateway.net.exchange import Exchange
from gateway.net.pool import Reply
from gateway.policy.balancer import Place
from gateway.policy.breaker import Fact
from gateway.policy.cache import Flight
from gateway.policy.deadline import asked_s
from gateway.policy.holder import Ticket
from gateway.refusal import Refusal
from gateway.relay import Plain, Stream
from gateway.stories import Story
from gateway.trace import Trace
from gateway.usage import Usage

Outcome = Literal[
    "ok",
    "refused",
    "rejected",
    "upstream_error",
    "upstream_truncated",
    "upstream_timeout",
    "client_gone",
    "cut",
    "failed",
]
"""refused: by the gateway; rejected: a 4xx of the backend; cut: the drain limit was reached."""

_FACTS: Final[dict[Outcome, Fact]] = {
    "rejected": "success",
    "upstream_error": "failure",
    "upstream_truncated": "failure",
    "upstream_timeout": "failure",
}
_CLIENT_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")


HedgeOutcome = Literal["won", "lost", "failed", "left", "no_place", "budget"]


class Hedged(NamedTuple):
    """What became of a second attempt beside the first; `won`: its answer came first."""

    outcome: HedgeOutcome
    backend: str | None
    """Which one worked for nothing."""
    ran_s: float
    """How long it did."""


class Note:
    """Filled in on the way of a request through `serve`."""

    __slots__ = (
        "attempts",
        "backend",
        "began_at",
        "cache",
        "caller",
        "client_id",
        "deadline",
        "exchange",
        "first_at",
        "flight",
        "hedge",
        "hurried",
        "key_id",
        "kind",
        "lines",
        "model",
        "outcome",
        "place",
        "queued_s",
        "read_at",
        "reason",
        "relay",
        "reply",
        "retrying",
        "sent_at",
        "story",
        "stream",
        "tenant",
        "terms",
        "ticket",
        "trace",
        "usage",
    )

    trace: Trace | None
    """Set by who traces, read by nobody else."""

    def __init__(self, exchange: Exchange, tenant: str, total_s: float) -> None:
        self.exchange = exchange
        self.began_at = time.monotonic()
        """Finer than the loop's clock, which is that of its last round."""
        self.read_at = self.began_at
        """When all of it was there."""
        self.sent_at = 0.0
        """When it was first sent, less its wait for a place; 0: it was not."""
        self.tenant = tenant
        self.story: Story | None = None
        """What is kept of it for who asks why."""
        self.caller: Caller | None = None
        self.terms: Terms | None = None
        """What holds for them, with this model."""
        self.ticket: Ticket | None = None
        """What was taken of its limits: to be settled."""
        self.kind = "none"
        self.key_id: str | None = None
        self.model: str | None = None
        self.backend: str | None = None
        self.place: Place | None = None
        """At a backend: to be released."""
        self.reply: Reply | None = None
        """To be closed."""
        self.flight: Flight | None = None
        """The answer is fetched for the cache."""
        self.cache: Literal["hit", "miss"] | None = None
        self.deadline = exchange.received_at + total_s
        """By the loop's clock."""
        self.hurried = False
        """... and it is the client's own."""
        self.attempts = 0
        """How often it was sent."""
        self.queued_s = 0.0
        """Waited for a place."""
        self.retrying = False
        """It counts as a retry."""
        self.hedge: Hedged | None = None
        self.relay: Plain | Stream | None = None
        self.usage: Usage | None = None
        self.stream = False
        self.first_at: float | None = None
        """When the first event of a stream came, by time.monotonic."""
        self.outcome: Outcome = "ok"
        self.reason = ""
        raw = exchange.head.get(b"x-request-id")
        self.client_id = raw if raw is not None and _CLIENT_ID.fullmatch(raw) else None
        """The client's own id of the request, when it can be repeated safely."""
        self.lines = b"" if self.client_id is None else b"x-client-request-id: %b\r\n" % self.client_id
        """Headers of every answer to this request."""

    def hurry(self, timeout: bytes) -> None:
        """The client's own limit, in seconds: x-request-timeout. Raises Refusal (400)."""
        seconds = asked_s(timeout)
        if seconds is None:
            shown = timeout[:40].decode("latin-1")
            message = f"`x-request-timeout` is {shown!r}; seconds are expected, such as 30 or 0.5."
            raise Refusal(400, "invalid_request", message, param="x-request-timeout")
        deadline = self.exchange.received_at + seconds
        if deadline < self.deadline:
            self.deadline = deadline
            self.hurried = True

    @property
    def late(self) -> bool:
        """The client's own deadline has passed: that says nothing of the backend."""
        return self.hurried and asyncio.get_running_loop().time() >= self.deadline

    def end(self, outcome: Outcome, reason: str = "") -> None:
        self.outcome, self.reason = outcome, reason

    @property
    def fact(self) -> Fact:
        """What its end says of the backend."""
        if self.outcome == "ok":
            return "success"
        busy = self.exchange.status in {429, 503} or self.reason == "deadline"
        return "neutral" if busy else _FACTS.get(self.outcome, "neutral")

    @property
    def status(self) -> int:
        return 499 if self.outcome == "client_gone" else self.exchange.status

    def count(self, numbers: Metrics, now: float) -> None:
        """Calls and refusals; the control plane's own answers are not counted."""
        if self.kind not in {"call", "none"}:
            return
        tenant = numbers.tenant(self.tenant)
        labels = (tenant, self.model or metrics.OTHER, self.backend or "", self.outcome, self.reason)
        if self.backend is None:
            numbers.count(metrics.REQUESTS, labels)
            return
        series = numbers.of_call(labels)
        series.requests.value += 1
        series.duration.observe(now - self.began_at)
        series.bytes_out.value += self.exchange.bytes_sent
        if self.sent_at:
            series.overhead.observe(self.sent_at - self.read_at)
        if self.stream:
            series.streams.value += 1
            if self.first_at is not None:
                series.first_token.observe(self.first_at - self.began_at)
        usage = self.usage = self.relay.usage if self.relay is not None else None
        if usage is not None:
            series.tokens_in.value += usage.prompt_tokens
            tokens = usage.completion_tokens or 0
            series.tokens_out.value += tokens
            if tokens > 1 and self.first_at is not None:
                series.token_time.observe((now - self.first_at) / (tokens - 1))
            if usage.prompt_tokens_details is not None and (cached := usage.cached_tokens):
                numbers.count(metrics.TOKENS_CACHED, labels[:2], cached)
