"""The limits of one worker: admits from what it holds, in memory, and says what to ask the store. Sans-I/O.

    admit -> Ticket      taken from every limit of tenant, key and model
          -> Refused     nothing was taken; which limit, how much, when
          -> Short       nothing was taken; the store has to be asked first (`wait`, then `answered`)
    settle(ticket, ...)  once for each ticket, into the window that took it

Rule 1: nothing is spent that was not granted before; what is granted and unused goes back after a second.
Rule 2: one exchange is under way at a time. One that fails is sent again as it was, until it is answered.
Rule 3: while the store is away, quotas are served from the lease, then refused; rates and slots become a
local share, one part in as many as there were workers. Nobody waits for a store that is known to be away.
Rule 4: with one worker in all, rates and slots are local and exact, and the store hears of quotas alone.

Times are seconds of one steady clock, but for `*_clock_s`: the store's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Final, Generic, TypeVar

from gateway.policy import standing, verdicts
from gateway.policy.bucket import Bucket
from gateway.policy.exchange import BEAT_S, DEAD_S, Answer, Exchange, Grant, Line, Use, Wanted
from gateway.policy.holder import Holder, Plan, Short, Ticket, Waiter
from gateway.policy.limits import Limit
from gateway.policy.refusing import Refused
from gateway.policy.share import ALONE_S, IDLE_S, Share
from gateway.policy.verdicts import Seen
from gateway.policy.window import window

V = TypeVar("V")

AGAIN_S: Final = 0.05
"""Between two asks for what others still hold."""
WISH_S: Final = 0.1
"""Between two exchanges that nobody waits for: a lease lasts a second beyond the wish for the next."""
FINAL_S: Final = 0.05
"""So long the store is not asked again for what it said is used up."""
FRESH_S: Final = DEAD_S - 1.0
"""Rates and slots are spent so long after the last answered exchange was sent: well before they are freed."""
LINES_MAX: Final = 500
"""Of one exchange: it stays a matter of milliseconds."""
KEPT_MAX: Final = 2000
"""Shares, and buckets; beyond it those not used for FORGET_S are dropped."""
FORGET_S: Final = 60.0


Verdict = Ticket | Refused


class Ledger(Generic[V]):
    def __init__(self, worker: str, *, shared: bool, workers: int = 1) -> None:
        """`worker`: a name never used before. `shared`: others may use the same counters. `workers`: how many
        share, until the store says.
        """
        self.worker = worker
        self.shared = shared
        self.workers = workers
        self.pressing = False
        """An exchange is due at once: somebody waits."""
        self.wishing = False
        """One is due soon: a lease will be used up before long."""
        self.down_since: float | None = None
        """The store does not answer."""
        self.over = 0
        """Tokens used beyond what was reserved: the bound was none. To be seen by somebody."""
        self._open: dict[str, Share] = {}
        self._buckets: dict[tuple[str, int, float, bool], Bucket] = {}
        self._dirty: list[Share] = []
        self._used: list[Holder] = []
        self._waiting: dict[int, Waiter[V]] = {}
        self._number = 0
        self._seq = 0
        self._version = 0
        self._pending: Exchange | None = None
        self._sent_at = -math.inf
        self._tried_at = -math.inf
        self._clock: tuple[float, float] | None = None
        """The store's clock, and this worker's at that moment."""

    # --- a request ---

    def admit(  # noqa: C901 - hot: one loop a kind, written out
        self, holder: Holder, tokens: int, now: float
    ) -> Ticket | Refused | Short:
        """`tokens`: the upper bound (`reservation.tokens_max`)."""
        plan = holder.plan
        if plan is None or now >= plan.until or plan.version != self._version:
            plan = self._plan(holder, now)
        for share in plan.ones:
            if share.free < 1:
                return self._verdict(plan, tokens, now)
        for share in plan.sized:
            if share.free < tokens:
                return self._verdict(plan, tokens, now)
        for bucket in plan.bucket_ones:
            if not bucket.fits(1, now):
                return self._verdict(plan, tokens, now)
        for bucket in plan.bucket_tokens:
            if not bucket.fits(tokens, now):
                return self._verdict(plan, tokens, now)
        for share in plan.ones:
            share.free -= 1
            share.reserved += 1
            if share.free < share.low:
                self._press(share)
        for share in plan.sized:
            share.free -= tokens
            share.reserved += tokens
            if share.free < share.low:
                self._press(share)
        for bucket in plan.bucket_ones:
            bucket.take(1, now)
        for bucket in plan.bucket_tokens:
            bucket.take(tokens, now)
        if plan.rate_ones or plan.rate_tokens:
            self._spend_rates(plan, tokens)
        return Ticket(holder, plan, tokens, now)

    def settle(self, ticket: Ticket, prompt: int, completion: int, *, unknown: bool = False) -> None:
        """What it really used. `unknown`: nobody knows, so all that was reserved."""
        used = ticket.tokens if unknown else prompt + completion
        if used > ticket.tokens:
            self.over += used - ticket.tokens
        self._end(ticket, 1, used, used if unknown else 0)
        holder = ticket.holder
        holder.requests += 1
        holder.prompt += 0 if unknown else prompt
        holder.completion += 0 if unknown else completion
        holder.unknown += used if unknown else 0
        if not holder.dirty:
            holder.dirty = True
            self._used.append(holder)

    def undo(self, ticket: Ticket) -> None:
        """It was refused further on, before any backend saw it: it has taken nothing."""
        self._end(ticket, 0, 0, 0)

    def _end(self, ticket: Ticket, requests: int, used: int, unknown: int) -> None:  # noqa: C901 - as `admit`
        if ticket.ended:
            raise RuntimeError("a ticket ends once")
        ticket.ended = True
        plan, tokens = ticket.plan, ticket.tokens
        for share in plan.quota_ones:
            share.reserved -= 1
            share.settled += requests
            share.free += 1 - requests
            if not share.dirty:
                self._mark(share)
        for share in plan.slots:
            share.reserved -= 1
            share.free += 1
        for share in plan.token_quotas:
            share.reserved -= tokens
            share.settled += used
            share.unknown += unknown
            share.free += tokens - used
            if not share.dirty:
                self._mark(share)
        if used != tokens:
            for bucket in plan.bucket_tokens:
                bucket.give(tokens - used)
        if not requests:
            for bucket in plan.bucket_ones:
                bucket.give(1)
        for share in plan.rate_tokens:
            share.credit += max(0, tokens - used)
            self._mark(share)
        for share in plan.rate_ones:
            share.credit += 1 - requests
            self._mark(share)

    # --- waiting for the store ---

    def wait(self, holder: Holder, tokens: int, deadline: float, value: V, short: Short) -> int:
        """After `Short`. `value` comes back from `answered`, `failed` or `expired` with the verdict; or call
        `leave` with the number that is returned.
        """
        self._number += 1
        self._waiting[self._number] = Waiter(holder, tokens, deadline, value, short)
        if self._pending is None:
            self.pressing = True
        return self._number

    def leave(self, number: int) -> None:
        self._waiting.pop(number, None)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def expired(self, now: float) -> list[tuple[V, Verdict]]:
        """Those whose time is over: refused as far as is known."""
        found: list[tuple[V, Verdict]] = []
        for number, waiter in list(self._waiting.items()):
            if waiter.deadline <= now:
                del self._waiting[number]
                verdict = self.admit(waiter.holder, waiter.tokens, now)
                if isinstance(verdict, Short):
                    verdict = verdicts.too_late(verdict, waiter.tokens, self._seen(now))
                found.append((waiter.value, verdict))
        return found

    # --- the store ---

    def due(self, now: float) -> float:
        """When to call `exchange` next, if nothing happens before; inf: never."""
        if self._pending is not None:
            return self._tried_at + (AGAIN_S if self.down_since is None else BEAT_S / 2)
        if self.pressing:
            return now
        if self._waiting:
            return self._sent_at + AGAIN_S
        if self.wishing:
            return self._sent_at + WISH_S
        if self.shared or self._dirty or self._used or self.holds():
            return self._sent_at + BEAT_S
        return math.inf

    def exchange(self, now: float, *, leaving: bool = False) -> Exchange:
        """What to send now: what was sent before and not answered, or all there is to tell and to ask.

        `leaving`: gives back all that is not reserved; call it when nothing is.
        """
        self._tried_at = now
        if self._pending is not None:
            return self._pending
        passed_s = now - self._sent_at if math.isfinite(self._sent_at) else 0.0
        self._sent_at = now
        self.pressing = self.wishing = False
        asks = self._asks(now)
        idle_s = IDLE_S if self.workers > 1 else ALONE_S
        lines: list[Line] = []
        later: list[Share] = []
        shares = dict.fromkeys([*self._open.values(), *self._dirty])
        for share in shares:
            if share.local:
                continue
            share.watch(now, passed_s)
            closed = self._open.get(share.counter) is not share  # of its last requests something came back
            if leaving or closed or (share.free and now - share.touched_at >= idle_s and share not in asks):
                share.give_back()
            need, want = asks.get(share, (0, 0))
            if len(lines) >= LINES_MAX:
                later.append(share)
                continue
            share.dirty = False
            line = share.line(need, want)
            if line is not None:
                share.asked = bool(need)
                lines.append(line)
        self._dirty = later
        self._seq += 1
        self._pending = Exchange(self.worker, self._seq, tuple(lines), self._uses(now), leaving)
        self._forget(now)
        return self._pending

    def answered(self, answer: Answer, now: float) -> list[tuple[V, Verdict]]:
        """To the exchange under way; another's answer is passed over. Who need not wait any longer."""
        if self._pending is None or answer.seq != self._pending.seq:
            return []
        sent, self._pending = self._pending, None
        if answer.revived or self.down_since is not None:
            self._revive()
        self.down_since = None
        self.workers = answer.workers
        self._clock = answer.clock_s, now
        for grant in answer.grants:
            self._granted(grant, now)
        for line in sent.lines:
            share = self._open.get(line.counter)
            if line.need and share is not None:
                share.asked = False
        if self.shared:
            for share in self._open.values():
                if share.limit.measure.kind != "quota":
                    share.until = self._sent_at + FRESH_S
        self.wishing = self.wishing or any(share.asked for share in self._dirty)
        self.wanted(answer.wanted)
        return self._again(now)

    def failed(self, now: float) -> list[tuple[V, Verdict]]:
        """No answer to the exchange under way; it will be sent again. Who need not wait any longer."""
        if self.down_since is None:
            self.down_since = now
            self._version += 1
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if not key[-1]}
        return self._again(now)

    def wanted(self, wanted: Iterable[Wanted]) -> None:
        """Others lack these: what is unused goes back with the next exchange, which is due at once."""
        for one in wanted:
            share = self._open.get(one.counter)
            if share is None or share.period != one.period or share.local:
                continue
            share.give_back()
            share.yielded = one.generation
            self._mark(share)
            self.pressing = True

    def doubt(self) -> None:
        """Counts are changed by hand: what the store has called final need not be so any longer."""
        for share in self._open.values():
            share.final_until = 0.0

    # --- looking ---

    def lines(self, plan: Plan, lefts: list[float], now: float) -> bytes:
        """For a reply's head. `lefts`: of `plan`, at `now`."""
        return standing.lines(plan, lefts, self.clock_s(now))

    def known(self) -> Iterator[tuple[Limit, int]]:
        """Quotas and slots that are open here, and what is left of each."""
        for share in self._open.values():
            if share.limit.measure.kind != "rate" and (share.heard or share.local):
                yield share.limit, share.free + share.left

    def held(self) -> dict[str, tuple[int, int]]:
        """What is leased of the store and not spent, and what calls under way have reserved, by limit."""
        found: dict[str, tuple[int, int]] = {}
        for share in self._open.values():
            free, reserved = found.get(share.limit.code, (0, 0))
            found[share.limit.code] = (
                free + (0 if share.local else share.free),
                reserved + share.reserved,
            )
        return found

    @property
    def reserved(self) -> dict[tuple[str, str], int]:
        """What requests under way hold, by counter and window."""
        return {
            (share.counter, share.period): share.reserved for share in self._open.values() if share.reserved
        }

    def levels(self, now: float) -> dict[str, float]:
        """What is left of the rates that this worker keeps to itself, by counter."""
        return {counter: bucket.level(now) for (counter, *_), bucket in self._buckets.items()}

    def clock_s(self, now: float) -> float | None:
        """The store's clock; None: it has not been heard yet."""
        return None if self._clock is None else self._clock[0] + now - self._clock[1]

    def holds(self) -> bool:
        """Something that others might lack."""
        return any(share.free and not share.local for share in self._open.values())

    # --- inside ---

    def _mark(self, share: Share) -> None:
        if not share.dirty and not share.local:
            share.dirty = True
            self._dirty.append(share)

    def _press(self, share: Share) -> None:
        if not share.asked:
            share.asked = True
            self._mark(share)
            self.wishing = True

    def _spend_rates(self, plan: Plan, tokens: int) -> None:
        """A rate is spent when it is taken: it comes back with time, not with the request's end."""
        for shares, need in ((plan.rate_ones, 1), (plan.rate_tokens, tokens)):
            for share in shares:
                share.reserved -= need
                share.settled += need
                self._mark(share)

    def _plan(self, holder: Holder, now: float) -> Plan:
        """The holder's shares as they are open now."""
        shares: list[Share] = []
        buckets: list[tuple[Limit, Bucket]] = []
        away = self.down_since is not None
        for limit in holder.limits:
            kind = limit.measure.kind
            if kind == "rate" and (not self.shared or away):
                buckets.append((limit, self._bucket(limit, now, part=self.shared)))
                continue
            share = self._open.get(limit.counter)
            if share is None:
                share = self._open[limit.counter] = Share(limit, local=kind == "slots" and not self.shared)
            elif share.limit != limit:
                if share.local:
                    share.free += limit.amount - share.limit.amount
                else:  # of the old limit's size; the store knows what the new one has left
                    share.give_back()
                    self._mark(share)
                    share.final_until = 0.0
                share.limit, share.amount = limit, limit.amount
                self._version += 1  # a holder of the limits before may come back, should they be set again
            if kind == "slots" and self.shared and away:
                self._keep_slots(share)
            elif now >= share.until:
                share = self._ended(share, now)
            shares.append(share)
        holder.plan = Plan(shares, buckets, self._version)
        return holder.plan

    def _ended(self, share: Share, now: float) -> Share:
        """The window closed, or the lease of a rate is too old to be spent."""
        if share.limit.measure.kind != "quota":
            share.give_back()
            self._mark(share)
            self.pressing = self.pressing or self._pending is None
            return share
        clock_s = self.clock_s(now)
        if share.end_s and clock_s is not None and clock_s < share.end_s:
            share.until = now + share.end_s - clock_s
            return share
        if not share.end_s:
            return share  # not opened yet
        share.give_back()
        self._mark(share)
        fresh = self._open[share.counter] = Share(share.limit)
        fresh.recent = share.recent
        return fresh

    def _keep_slots(self, share: Share) -> None:
        share.free = max(0, share.limit.amount // self.workers - share.reserved)
        share.until = math.inf
        share.granted = share.free + share.reserved
        share.low = -1

    def _bucket(self, limit: Limit, now: float, *, part: bool) -> Bucket:
        """A rate that is this worker's own, or its part of one while the store is away: that begins empty."""
        shares = self.workers if part else 1
        key = (limit.counter, limit.amount, limit.per_s, part)
        bucket = self._buckets.get(key)
        if bucket is None:
            old = next(
                (
                    self._buckets.pop(one)
                    for one in list(self._buckets)
                    if one[0] == key[0] and one[3] == part
                ),
                None,
            )
            bucket = self._buckets[key] = Bucket(max(1.0, limit.amount / shares), limit.per_s / shares)
            if old is not None:
                self._version += 1  # as above: a plan must not go on with the bucket before
                lacking = min(old.amount - old.level(now), bucket.amount)
                bucket.take(lacking, now)
            elif part:
                bucket.take(bucket.amount, now)
        return bucket

    def _verdict(self, plan: Plan, tokens: int, now: float) -> Refused | Short:
        return verdicts.lacking(plan, tokens, self._seen(now))

    def _seen(self, now: float) -> Seen:
        return Seen(now, self.clock_s(now), self.down_since is not None)

    def _asks(self, now: float) -> dict[Share, tuple[int, int]]:
        """What each share should ask for: what the first waiter needs, up to what all need and a spare."""
        asks: dict[Share, tuple[int, int]] = {}
        for waiter in self._waiting.values():
            verdict = self._lacking(waiter, now)
            for share, need in verdict:
                first, total = asks.get(share, (need, 0))
                asks[share] = first, total + need
        for share in self._dirty:
            if share.asked and share not in asks:
                asks[share] = 1, 0
        return {
            share: (first, max(total, first, 0) + share.spare(total))
            for share, (first, total) in asks.items()
        }

    def _lacking(self, waiter: Waiter[V], now: float) -> tuple[tuple[Share, int], ...]:
        plan = waiter.holder.plan
        if plan is None or now >= plan.until or plan.version != self._version:
            plan = self._plan(waiter.holder, now)
        found = [(share, 1 - share.free) for share in plan.ones if share.free < 1]
        found += [(share, waiter.tokens - share.free) for share in plan.sized if share.free < waiter.tokens]
        return tuple(found)

    def _granted(self, grant: Grant, now: float) -> None:
        share = self._open[grant.counter]
        share.heard = True
        if share.period != grant.period:
            if share.period:
                share.give_back()
                self._mark(share)
                opened = self._open[grant.counter] = Share(share.limit, grant.period)
                opened.recent, opened.heard = share.recent, True
                share = opened
            share.period = grant.period
            self._version += 1
        if grant.end_s:
            share.end_s = grant.end_s
            assert self._clock is not None  # noqa: S101 - set with the same answer
            share.until = now + max(0.0, grant.end_s - self._clock[0])
        if grant.amount:
            share.grant(grant.amount, grant.left)
            share.touched_at = now
            share.final_until = 0.0
            return
        share.left = grant.left
        share.low = -1
        share.retry_at = now + grant.retry_s
        if grant.final:
            share.final_until = now + FINAL_S

    def _revive(self) -> None:
        """Taken for dead: what was held of rates is void, slots in use are claimed anew."""
        self._version += 1
        for share in self._open.values():
            if share.limit.measure.kind == "quota" or share.local:
                continue
            share.free = share.returned = share.settled = share.yielded = 0
            share.granted = share.seen_gone = share.reserved
            if share.limit.measure.kind == "slots":
                share.claim = 0
                self._mark(share)

    def _again(self, now: float) -> list[tuple[V, Verdict]]:
        """The waiters, in order."""
        found: list[tuple[V, Verdict]] = []
        for number, waiter in list(self._waiting.items()):
            verdict = self.admit(waiter.holder, waiter.tokens, now)
            if isinstance(verdict, Short):
                if waiter.deadline > now:
                    if verdict.lacking != waiter.lacking:
                        waiter.lacking = verdict.lacking
                        self.pressing = True
                    continue
                verdict = verdicts.too_late(verdict, waiter.tokens, self._seen(now))
            del self._waiting[number]
            found.append((waiter.value, verdict))
        return found

    def _uses(self, now: float) -> tuple[Use, ...]:
        clock_s = self.clock_s(now)
        if clock_s is None:
            return ()
        day = window("day", clock_s).period
        found: list[Use] = []
        for holder in self._used:
            holder.dirty = False
            told: tuple[Any, ...] = holder.requests, holder.prompt, holder.completion, holder.unknown
            holder.requests = holder.prompt = holder.completion = holder.unknown = 0
            found.append(Use(day, holder.tenant, holder.model, *told))
        self._used = []
        return tuple(found)

    def _forget(self, now: float) -> None:
        """What holds nothing and was not used for long: a tenant may be an address, and there are many."""
        if len(self._open) > KEPT_MAX:
            self._open = {
                counter: share
                for counter, share in self._open.items()
                if share.busy or now - share.touched_at < FORGET_S
            }
            self._version += 1
        if len(self._buckets) > KEPT_MAX:
            self._buckets = {
                key: bucket for key, bucket in self._buckets.items() if bucket.level(now) < bucket.amount
            }
            self._version += 1
