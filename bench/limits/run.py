"""What admitting and settling a request from the local lease costs: microseconds of CPU, no store, no loop.

    python bench/limits/run.py [REQUESTS]

A tenant with all limits (rate, burst, in flight, tokens a minute, day and month quotas), and the same with a
key that has a day quota of its own; with rates of this worker alone, and leased from a store of several.
Each figure is the median of five runs, of this process's CPU time. The last line is the dearest of them.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Final

from gateway.policy.exchange import Answer, Exchange, Grant
from gateway.policy.holder import Holder, Ticket
from gateway.policy.ledger import Ledger
from gateway.policy.levels import Figures, key_limits, tenant_limits
from gateway.policy.reservation import tokens_max

AIM_US: Final = 10.0
RUNS: Final = 5
PLENTY: Final = 10**12
CALL: Final = {"messages": [{"role": "user", "content": "Write a haiku about rain." * 8}], "max_tokens": 256}


def lease(ledger: Ledger[None], given: Exchange) -> Answer:
    """A store that has plenty."""
    grants = []
    for line in given.lines:
        if line.need:
            period, end_s = ("2026-11-27", 2_000_000_000) if line.span else ("", 0)
            grants.append(Grant(line.counter, period, end_s, PLENTY, PLENTY, final=False, retry_s=0.0))
    return Answer(given.seq, 1_795_780_800.0, tuple(grants), workers=2 if ledger.shared else 1)


def prepared(*, shared: bool, key: bool) -> tuple[Ledger[None], Holder]:
    said = Figures(
        requests_per_second=1_000_000.0, burst=1_000_000, tokens_per_minute=PLENTY, tokens_per_day=PLENTY,
        requests_per_day=PLENTY, tokens_per_month=PLENTY, in_flight=PLENTY,
    )  # fmt: skip
    limits = tenant_limits("t", {"tenant": said})
    if key:
        limits += key_limits(limits, "k", Figures(tokens_per_day=PLENTY, requests_per_second=1e6), "k")
    ledger: Ledger[None] = Ledger("w", shared=shared)
    holder = Holder("t", "m", limits)
    for _ in range(4):
        verdict = ledger.admit(holder, 512, 1.0)
        if isinstance(verdict, Ticket):
            ledger.undo(verdict)
            break
        ledger.wait(holder, 512, 2.0, None, verdict)  # type: ignore[arg-type]
        found = ledger.answered(lease(ledger, ledger.exchange(1.0)), 1.0)
        for _, ticket in found:
            assert isinstance(ticket, Ticket)
            ledger.undo(ticket)
    return ledger, holder


def measured(count: int, *, shared: bool, key: bool) -> float:
    ledger, holder = prepared(shared=shared, key=key)
    admit, settle, now = ledger.admit, ledger.settle, 1.0
    started = time.process_time_ns()
    for _ in range(count):
        ticket = admit(holder, 512, now)
        settle(ticket, 40, 60)  # type: ignore[arg-type]
        now += 1e-6
    return (time.process_time_ns() - started) / count / 1000


def bounded(count: int) -> float:
    started = time.process_time_ns()
    for _ in range(count):
        tokens_max("/v1/chat/completions", CALL, 8192)
    return (time.process_time_ns() - started) / count / 1000


def headed(count: int) -> float:
    ledger, holder = prepared(shared=False, key=True)
    plan = ledger.admit(holder, 512, 1.0).plan  # type: ignore[union-attr]
    started = time.process_time_ns()
    for _ in range(count):
        ledger.lines(plan, plan.lefts(1.0), 1.0)
    return (time.process_time_ns() - started) / count / 1000


def dearest(count: int, *, aloud: bool = True) -> float:
    """Of the dearest case, us."""
    found = {}
    for shared in (False, True):
        for key in (False, True):
            name = f"{'leased' if shared else 'own'} rates, {'tenant and key' if key else 'tenant'}"
            found[name] = statistics.median(measured(count, shared=shared, key=key) for _ in range(RUNS))
    if aloud:
        for name, cost_us in found.items():
            print(f"admit + settle, {name:<32} {cost_us:6.2f} us")
        for what, each in (("the bound of a chat's tokens", bounded), ("a reply's lines", headed)):
            print(f"{what:<49} {statistics.median(each(count) for _ in range(RUNS)):6.2f} us")
    return max(found.values())


if __name__ == "__main__":
    figure = dearest(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
    print(f"admit + settle from the lease: {figure:.2f} us at most (aim: below {AIM_US:g})")
    sys.exit(figure >= AIM_US)
