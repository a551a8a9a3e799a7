"""Who meets which limits, and what one request has taken of them. Values that `ledger` works on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

from gateway.policy.bucket import Bucket
from gateway.policy.limits import Limit
from gateway.policy.share import Share

V = TypeVar("V")


class Plan:
    """The shares of one holder, sorted by what happens to them."""

    __slots__ = (
        "amounts",
        "blank",
        "bucket_ones",
        "bucket_tokens",
        "buckets",
        "limits",
        "ones",
        "per_s",
        "quota_ones",
        "rate_ones",
        "rate_tokens",
        "requests_at",
        "shares",
        "sized",
        "slots",
        "template",
        "token_buckets",
        "token_quotas",
        "tokens_at",
        "told",
        "until",
        "version",
        "waits",
    )

    def __init__(
        self, shares: Iterable[Share], buckets: Iterable[tuple[Limit, Bucket]], version: int
    ) -> None:
        kinds: dict[tuple[str, str], list[Share]] = {}
        for share in shares:
            kinds.setdefault((share.limit.measure.kind, share.limit.measure.unit), []).append(share)
        self.quota_ones = tuple(kinds.get(("quota", "requests"), ()))
        self.token_quotas = tuple(kinds.get(("quota", "tokens"), ()))
        self.slots = tuple(kinds.get(("slots", "requests"), ()))
        self.rate_ones = tuple(kinds.get(("rate", "requests"), ()))
        self.rate_tokens = tuple(kinds.get(("rate", "tokens"), ()))
        self.ones = self.quota_ones + self.slots + self.rate_ones
        self.sized = self.token_quotas + self.rate_tokens
        self.shares = self.ones + self.sized
        self.buckets = tuple((limit, one) for limit, one in buckets if limit.measure.unit == "requests")
        self.token_buckets = tuple((limit, one) for limit, one in buckets if limit.measure.unit == "tokens")
        self.bucket_ones = tuple([one for _, one in self.buckets])
        self.bucket_tokens = tuple([one for _, one in self.token_buckets])
        self.limits = tuple(
            [share.limit for share in self.shares] + [limit for limit, _ in self.buckets + self.token_buckets]
        )
        """In the order of `lefts`."""
        self.amounts: list[float] = [float(limit.amount) for limit in self.limits]
        self.per_s: list[float] = [limit.per_s for limit in self.limits]
        """0: no rate. Both in the order of `limits`, so that nobody has to ask those on the way of a call."""
        count = len(self.shares)
        self.requests_at = tuple(range(count, count + len(self.buckets))) + tuple(
            self.shares.index(one) for one in self.rate_ones
        )
        self.tokens_at = tuple(range(count + len(self.buckets), len(self.limits))) + tuple(
            self.shares.index(one) for one in self.sized
        )
        """Where in `lefts` the request rates and the windows of tokens are."""
        self.blank = b""
        """Header lines to be filled in ..."""
        self.told = (-2, -2)
        """... that speak of these of `limits`."""
        self.template = b""
        """The same with the seconds ..."""
        self.waits = (-1, -1)
        """... until these are whole again."""
        self.version = version
        self.refresh()

    def lefts(self, now: float) -> list[float]:
        """What is left of each of its limits, as far as this worker knows."""
        found: list[float] = [share.free + share.left for share in self.shares]
        for bucket in self.bucket_ones:
            found.append(bucket.level(now))  # noqa: PERF401 - a loop is less, once it is compiled
        for bucket in self.bucket_tokens:
            found.append(bucket.level(now))  # noqa: PERF401
        return found

    def tightest(self, among: tuple[int, ...], lefts: list[float]) -> int:
        """Where the smallest part is left; -1: among none. `among`: places in `limits` and `lefts`."""
        if len(among) < 2:
            return among[0] if among else -1
        amounts, least, at = self.amounts, math.inf, -1
        for one in among:
            part = lefts[one] / amounts[one]
            if part < least:
                least, at = part, one
        return at

    def refresh(self) -> None:
        """When the first of its shares ends."""
        self.until = min((share.until for share in self.ones + self.sized), default=math.inf)


class Holder:
    """Whose limits a request meets: a tenant's, its key's, its model's. Made once, used for each request."""

    __slots__ = ("completion", "dirty", "limits", "model", "plan", "prompt", "requests", "tenant", "unknown")

    def __init__(self, tenant: str, model: str, limits: tuple[Limit, ...]) -> None:
        self.tenant = tenant
        self.model = model
        self.limits = limits
        self.plan: Plan | None = None
        self.requests = self.prompt = self.completion = self.unknown = 0
        """For the history, not yet reported."""
        self.dirty = False


class Ticket:
    """What was taken for one request."""

    __slots__ = ("at", "ended", "holder", "plan", "tokens")

    def __init__(self, holder: Holder, plan: Plan, tokens: int, at: float) -> None:
        self.holder = holder
        self.plan = plan
        self.tokens = tokens
        self.at = at
        """When."""
        self.ended = False


class Short:
    """The store has to be asked: for these, so much more each."""

    __slots__ = ("lacking",)

    def __init__(self, lacking: tuple[tuple[Share, int], ...]) -> None:
        self.lacking: Final = lacking


class Waiter(Generic[V]):
    __slots__ = ("deadline", "holder", "lacking", "tokens", "value")

    def __init__(self, holder: Holder, tokens: int, deadline: float, value: V, short: Short) -> None:
        self.holder = holder
        self.tokens = tokens
        self.deadline = deadline
        self.value = value
        self.lacking = short.lacking
