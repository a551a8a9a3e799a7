"""Workers, their store and everything that may go wrong between them, against an exact count.

The never-over machines know nothing of leases: they count what was really admitted and really used.
"""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.policy.bucket import Bucket
from gateway.policy.exchange import Exchange
from gateway.policy.holder import Holder, Short, Ticket
from gateway.policy.ledger import FINAL_S, Ledger, Verdict
from gateway.policy.limits import Limit, tenant_scope
from gateway.policy.refusing import Refused
from gateway.policy.share import Share
from tests.examples import examples
from tests.gateway.store.memory import Memory

T = tenant_scope("t")
NOON = 1_795_780_800.0
"""2026-11-27 12:00 UTC."""
MIDNIGHT = NOON + 12 * 3600


def limits(**amounts: float) -> tuple[Limit, ...]:
    return tuple(
        Limit(
            code,
            T,
            int(amount),
            {"requests_per_second": 10.0, "tokens_per_minute": amount / 60}.get(code, 0.0),
            "t",
        )
        for code, amount in amounts.items()
    )


class World:
    """Some workers of one store. Time is one number; the store's clock is it plus an offset."""

    def __init__(self, *, workers: int, held: tuple[Limit, ...], clock_s: float = NOON, shared: bool = True):
        self.store = Memory()
        self.now = 1000.0
        self.offset = clock_s - self.now
        self.held = held
        self.shared = shared
        self.born = 0
        self.ledgers: list[Ledger[str]] = []
        self.holders: list[Holder] = []
        for _ in range(workers):
            self.add()

    def add(self) -> None:
        self.born += 1
        self.ledgers.append(Ledger(f"w{self.born}", shared=self.shared))
        self.holders.append(Holder("t", "m", self.held))

    def exchange(self, n: int) -> list[tuple[str, Verdict]]:
        ledger = self.ledgers[n]
        given = self.wire(ledger.exchange(self.now))
        return ledger.answered(self.store.exchange(given, self.now + self.offset), self.now)

    @staticmethod
    def wire(given: Exchange) -> Exchange:
        """As it arrives: by value."""
        return msgspec.json.decode(msgspec.json.encode(given), type=Exchange)

    def admit(self, n: int, tokens: int) -> Verdict:
        """With as many exchanges of all as it takes, no time passing for the store."""
        ledger, holder = self.ledgers[n], self.holders[n]
        verdict = ledger.admit(holder, tokens, self.now)
        if not isinstance(verdict, Short):
            return verdict
        ledger.wait(holder, tokens, self.now + 2, "x", verdict)
        for _ in range(50):
            for _, found in self.exchange(n):
                return found
            for other in range(len(self.ledgers)):
                if other != n:
                    self.ledgers[other].wanted(
                        self.store.wanted(self.ledgers[other].worker, self.now + self.offset)
                    )
                    if self.ledgers[other].pressing:
                        self.exchange(other)
            self.now += 0.05
        [(_, found)] = ledger.expired(self.now + 10)
        return found


# --- by example ---


def test_a_request_is_taken_from_every_limit_and_settled_as_it_was():
    world = World(
        workers=1, held=limits(tokens_per_day=1000, requests_per_day=10, tokens_per_month=5000, in_flight=2)
    )
    ticket = world.admit(0, 300)
    assert isinstance(ticket, Ticket)
    assert sum(world.ledgers[0].reserved.values()) == 300 + 1 + 300 + 1
    held = {code: reserved for code, (_, reserved) in world.ledgers[0].held().items()}
    assert held == {"tokens_per_day": 300, "requests_per_day": 1, "tokens_per_month": 300, "in_flight": 1}
    world.ledgers[0].settle(ticket, 40, 60)
    assert world.ledgers[0].reserved == {}
    assert world.ledgers[0].held()["tokens_per_day"] == (200, 0)
    world.exchange(0)
    settled = {key: tally.settled for key, tally in world.store.tallies.items() if tally.settled}
    assert settled == {
        ("tokens_per_day|tenant:t", "2026-11-27"): 100,
        ("requests_per_day|tenant:t", "2026-11-27"): 1,
        ("tokens_per_month|tenant:t", "2026-11"): 100,
    }
    assert [msgspec.structs.astuple(use) for use in world.store.uses] == [
        ("2026-11-27", "t", "m", 1, 40, 60, 0)
    ]


def test_what_nobody_knows_settles_as_reserved_and_is_summed_apart():
    world = World(workers=1, held=limits(tokens_per_day=1000))
    ticket = world.admit(0, 300)
    assert isinstance(ticket, Ticket)
    world.ledgers[0].settle(ticket, 0, 0, unknown=True)
    world.exchange(0)
    tally = world.store.tally("tokens_per_day|tenant:t", "2026-11-27")
    assert (tally.settled, tally.unknown) == (300, 300)
    assert world.store.uses[0].unknown == 300


def test_a_used_up_day_is_refused_until_it_ends_with_the_seconds_it_lasts():
    world = World(workers=1, held=limits(tokens_per_day=1000), clock_s=MIDNIGHT - 90)
    ticket = world.admit(0, 1000)
    assert isinstance(ticket, Ticket)
    world.ledgers[0].settle(ticket, 500, 500)
    refused = world.admit(0, 1)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.left, refused.retry_after) == ("tokens_per_day", 0, 90)
    world.now += 91
    assert isinstance(world.admit(0, 1000), Ticket)


def test_a_request_larger_than_a_limit_is_told_so_without_asking_the_store():
    world = World(workers=1, held=limits(tokens_per_day=1000))
    verdict = world.ledgers[0].admit(world.holders[0], 1001, world.now)
    assert isinstance(verdict, Refused)
    assert (verdict.why, verdict.retry_after) == ("too_large", None)


def test_a_settle_goes_to_the_window_that_took_the_reservation():
    world = World(workers=1, held=limits(tokens_per_day=1000), clock_s=MIDNIGHT - 1)
    old = world.admit(0, 600)
    world.now += 2
    new = world.admit(0, 1000)
    assert isinstance(old, Ticket)
    assert isinstance(new, Ticket)
    world.ledgers[0].settle(old, 100, 200)
    world.ledgers[0].settle(new, 3, 4)
    world.exchange(0)
    assert world.store.tally("tokens_per_day|tenant:t", "2026-11-27").settled == 300
    assert world.store.tally("tokens_per_day|tenant:t", "2026-11-28").settled == 7


def test_what_a_closed_windows_last_request_left_over_goes_back_at_once():
    world = World(workers=1, held=limits(tokens_per_day=1000), clock_s=MIDNIGHT - 1)
    old = world.admit(0, 600)
    world.now += 2
    assert isinstance(world.admit(0, 10), Ticket)
    world.exchange(0)
    assert isinstance(old, Ticket)
    world.ledgers[0].settle(old, 100, 200)
    world.exchange(0)
    assert world.store.tally("tokens_per_day|tenant:t", "2026-11-27").leased == 0


def test_a_clock_that_goes_back_opens_no_window_anew():
    world = World(workers=1, held=limits(tokens_per_day=1000), clock_s=MIDNIGHT + 1)
    ticket = world.admit(0, 900)
    assert isinstance(ticket, Ticket)
    world.ledgers[0].settle(ticket, 900, 0)
    world.offset -= 86_400
    world.exchange(0)
    assert isinstance(world.admit(0, 900), Refused)
    assert ("tokens_per_day|tenant:t", "2026-11-27") not in world.store.tallies


@pytest.mark.parametrize("code", ["tokens_per_day", "requests_per_day", "in_flight"])
def test_no_refusal_while_another_worker_holds_an_unused_share(code: str):
    """Two of three hold all that there is and use nothing of it."""
    world = World(workers=3, held=limits(**{code: 10}))
    for n in (0, 1):
        ticket = world.admit(n, 5)
        assert isinstance(ticket, Ticket)
        share = (ticket.plan.ones + ticket.plan.sized)[0]
        world.ledgers[n].undo(ticket)
        share.granted += 5 - share.free  # as if it had leased half of all, ahead
        world.store.tallies[share.counter, share.period].leases[world.ledgers[n].worker].held = 5
        share.free = 5
    started = world.now
    need = 10 if code == "tokens_per_day" else 1
    assert isinstance(world.admit(2, need), Ticket)
    assert world.now - started <= 0.1


def test_what_is_really_used_up_is_refused_though_the_others_had_to_be_asked():
    world = World(workers=3, held=limits(in_flight=3))
    tickets = [world.admit(n, 0) for n in (0, 0, 1)]
    assert all(isinstance(one, Ticket) for one in tickets)
    started = world.now
    refused = world.admit(2, 0)
    assert isinstance(refused, Refused)
    assert refused.code == "in_flight"
    assert world.now - started <= 0.2  # they said so, and the deadline had not to be waited for
    assert isinstance(tickets[0], Ticket)
    world.ledgers[0].settle(tickets[0], 0, 0)
    world.now += FINAL_S
    assert isinstance(world.admit(2, 0), Ticket)


def test_an_idle_share_goes_back():
    world = World(workers=2, held=limits(tokens_per_day=100_000))
    world.exchange(1)
    ticket = world.admit(0, 900)
    assert isinstance(ticket, Ticket)
    world.ledgers[0].settle(ticket, 1, 1)
    world.exchange(0)
    world.now += 1.1
    world.exchange(0)
    world.now += 1.1
    world.exchange(0)
    assert world.store.tally("tokens_per_day|tenant:t", "2026-11-27").leased == 0


def test_a_lease_grows_with_use_and_stays_small_beside_the_limit():
    world = World(workers=1, held=limits(tokens_per_day=1_000_000))
    most = 0
    for _ in range(300):
        world.now += 0.01
        ticket = world.ledgers[0].admit(world.holders[0], 100, world.now)
        if isinstance(ticket, Short):
            found = world.admit(0, 100)
            assert isinstance(found, Ticket)
            ticket = found
        assert isinstance(ticket, Ticket)
        world.ledgers[0].settle(ticket, 50, 50)
        if world.now >= world.ledgers[0].due(world.now):
            world.exchange(0)
        most = max(most, world.store.tally("tokens_per_day|tenant:t", "2026-11-27").leased)
    assert 1000 < most <= 20_000


def test_while_the_store_is_away_the_lease_is_served_and_then_quotas_are_refused_at_once():
    world = World(workers=1, held=limits(tokens_per_day=100_000, in_flight=10))
    ledger, holder = world.ledgers[0], world.holders[0]
    ticket = world.admit(0, 50)
    assert isinstance(ticket, Ticket)
    ledger.settle(ticket, 10, 0)  # 40 are left of the lease
    ledger.exchange(world.now)
    assert ledger.failed(world.now) == []
    assert isinstance(ledger.admit(holder, 40, world.now), Ticket)
    refused = ledger.admit(holder, 40, world.now)
    assert isinstance(refused, Refused)
    assert (refused.status, refused.code, refused.retry_after) == (503, "quota_unavailable", 5)
    world.exchange(0)
    assert isinstance(world.admit(0, 40), Ticket)
    assert world.store.tally("tokens_per_day|tenant:t", "2026-11-27").settled == 10


def test_while_the_store_is_away_rates_and_slots_are_a_part_of_their_limits():
    world = World(workers=2, held=limits(in_flight=10, requests_per_second=20))
    for n in (0, 1, 0):
        world.exchange(n)
    ledger, holder = world.ledgers[0], world.holders[0]
    ledger.exchange(world.now)
    ledger.failed(world.now)
    assert isinstance(ledger.admit(holder, 1, world.now), Refused)  # its part of a rate begins empty
    world.now += 10
    found = [ledger.admit(holder, 1, world.now) for _ in range(10)]
    assert [type(one) for one in found] == [Ticket] * 5 + [Refused] * 5
    world.exchange(0)
    world.exchange(0)
    assert world.store.tally("in_flight|tenant:t", "").leases["w1"].held == 5


def test_who_waits_for_a_store_that_turns_out_to_be_away_is_told_so():
    world = World(workers=1, held=limits(tokens_per_day=1000))
    ledger, holder = world.ledgers[0], world.holders[0]
    short = ledger.admit(holder, 10, world.now)
    assert isinstance(short, Short)
    ledger.wait(holder, 10, world.now + 2, "x", short)
    ledger.exchange(world.now)
    [(value, verdict)] = ledger.failed(world.now + 1)
    assert value == "x"
    assert isinstance(verdict, Refused)
    assert verdict.code == "quota_unavailable"


def test_nobody_waits_beyond_the_deadline():
    world = World(workers=1, held=limits(tokens_per_day=1000))
    ledger, holder = world.ledgers[0], world.holders[0]
    short = ledger.admit(holder, 10, world.now)
    assert isinstance(short, Short)
    ledger.wait(holder, 10, world.now + 2, "x", short)
    assert ledger.expired(world.now + 1.9) == []
    [(_, verdict)] = ledger.expired(world.now + 2)
    assert isinstance(verdict, Refused)
    assert verdict.status == 503
    assert ledger.waiting == 0


def test_alone_rates_and_slots_need_no_store():
    world = World(
        workers=1, held=limits(in_flight=2, requests_per_second=3, tokens_per_minute=600), shared=False
    )
    ledger, holder = world.ledgers[0], world.holders[0]
    tickets = [ledger.admit(holder, 100, world.now) for _ in range(3)]
    assert [type(one) for one in tickets] == [Ticket, Ticket, Refused]
    assert isinstance(tickets[0], Ticket)
    ledger.settle(tickets[0], 10, 10)
    assert isinstance(ledger.admit(holder, 100, world.now), Ticket)
    assert isinstance(tickets[1], Ticket)
    ledger.settle(tickets[1], 10, 10)
    refused = ledger.admit(holder, 100, world.now)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.retry_after) == ("requests_per_second", 1)
    assert ledger.exchange(world.now).lines == ()


def test_a_call_that_no_backend_saw_has_taken_nothing():
    world = World(
        workers=1, held=limits(requests_per_second=1, tokens_per_minute=60, requests_per_day=5), shared=False
    )
    for _ in range(20):
        ticket = world.admit(0, 60)
        assert isinstance(ticket, Ticket)
        world.ledgers[0].undo(ticket)


def test_a_ticket_ends_once():
    world = World(workers=1, held=limits(in_flight=2), shared=False)
    ticket = world.admit(0, 1)
    assert isinstance(ticket, Ticket)
    world.ledgers[0].settle(ticket, 1, 0)
    with pytest.raises(RuntimeError):
        world.ledgers[0].undo(ticket)


def test_a_limit_that_is_lowered_holds_for_the_next_request():
    world = World(workers=1, held=limits(tokens_per_day=100_000))
    ticket = world.admit(0, 900)
    assert isinstance(ticket, Ticket)
    world.ledgers[0].settle(ticket, 500, 0)
    world.holders[0] = Holder("t", "m", limits(tokens_per_day=600))
    assert isinstance(world.admit(0, 200), Refused)
    assert isinstance(world.admit(0, 100), Ticket)


@pytest.mark.parametrize("shared", [False, True])
def test_a_limit_that_is_set_back_to_what_it_was_holds_as_before(shared: bool):
    """Whoever resolves settings keeps holders: the one of before comes back."""
    before = Holder("t", "m", limits(requests_per_day=50, requests_per_second=20))
    world = World(workers=1, held=before.limits, shared=shared)
    world.holders[0] = before
    for _ in range(10):
        assert isinstance(world.admit(0, 0), Ticket)
    world.holders[0] = Holder("t", "m", limits(requests_per_day=5, requests_per_second=1))
    assert isinstance(world.admit(0, 0), Refused)
    world.holders[0] = before
    world.now += 5
    for _ in range(20):
        assert isinstance(world.admit(0, 0), Ticket)
    refused = world.admit(0, 0)
    assert isinstance(refused, Refused)
    assert (refused.limit.code, refused.limit.amount) == ("requests_per_second", 20)


def test_a_limit_that_is_raised_holds_for_the_next_request_though_it_was_used_up():
    world = World(workers=2, held=limits(requests_per_day=2))
    for _ in range(2):
        assert isinstance(world.admit(0, 0), Ticket)
    assert isinstance(world.admit(0, 0), Refused)
    world.holders[0] = Holder("t", "m", limits(requests_per_day=3))
    assert isinstance(world.admit(0, 0), Ticket)


def test_what_was_final_is_asked_anew_once_counts_were_changed_by_hand():
    world = World(workers=1, held=limits(requests_per_day=1))
    ticket = world.admit(0, 100)
    assert isinstance(ticket, Ticket)
    world.ledgers[0].settle(ticket, 40, 60)
    assert isinstance(world.admit(0, 100), Refused)
    world.store.tallies.clear()  # a reset, in the moment after
    assert isinstance(world.ledgers[0].admit(world.holders[0], 100, world.now), Refused)
    world.ledgers[0].doubt()
    assert isinstance(world.ledgers[0].admit(world.holders[0], 100, world.now), Short)


def test_a_worker_taken_for_dead_claims_what_runs_and_no_more():
    world = World(workers=2, held=limits(in_flight=8))
    mine = [world.admit(0, 0) for _ in range(3)]
    assert all(isinstance(one, Ticket) for one in mine)
    world.now += 6
    world.exchange(1)
    assert "w1" not in world.store.tally("in_flight|tenant:t", "").leases
    world.exchange(0)
    world.exchange(0)
    assert world.store.tally("in_flight|tenant:t", "").leases["w1"].held == 3


def test_a_hundred_thousand_refusals_leave_every_counter_as_it_was():
    amounts = {"requests_per_second": 5, "tokens_per_minute": 900, "in_flight": 4, "requests_per_day": 9}
    world = World(workers=1, held=limits(**amounts, tokens_per_day=1000, tokens_per_month=2000), shared=False)
    chance = random.Random(7)
    ledger, holder = world.ledgers[0], world.holders[0]
    for _ in range(4):
        assert isinstance(world.admit(0, 100), Ticket)
    world.exchange(0)

    names = [name for name in dir(Share) if not name.startswith("__") and not callable(getattr(Share, name))]
    assert {"free", "reserved"} <= set(names)

    def all_counts() -> list[object]:
        shares = [{name: getattr(share, name) for name in names} for share in ledger._open.values()]
        return [shares, [bucket.level(world.now) for bucket in ledger._buckets.values()], ledger._dirty[:]]

    before, refused = all_counts(), 0
    for _ in range(100_000):
        verdict = ledger.admit(holder, chance.choice((0, 1, 50, 601, 5000)), world.now)
        refused += isinstance(verdict, Refused)
    assert refused == 100_000  # all four slots are taken
    assert all_counts() == before


# --- never over ---


class NeverOver(RuleBasedStateMachine):
    """Quotas, whatever happens: lost requests and answers, crashes, clocks, windows."""

    @initialize(workers=st.integers(1, 3), day=st.integers(5, 60), shared=st.booleans())
    def begin(self, workers: int, day: int, shared: bool) -> None:
        self.amounts = {"tokens_per_day": day, "requests_per_day": 12, "tokens_per_month": 2 * day}
        self.world = World(
            workers=workers, held=limits(**self.amounts), clock_s=MIDNIGHT - 20, shared=shared or workers > 1
        )
        self.tickets: list[tuple[int, Ticket]] = []
        self.used: dict[tuple[str, str], int] = {}
        self.lost: dict[tuple[str, str], int] = {}
        """What requests held whose worker was killed."""
        self.past: set[str] = set()

    def counters(self, ticket: Ticket) -> dict[tuple[str, str], bool]:
        """-> is it one of tokens."""
        ones = {(share.counter, share.period): False for share in ticket.plan.quota_ones}
        return ones | {(share.counter, share.period): True for share in ticket.plan.token_quotas}

    def worker(self, n: int) -> int:
        return n % len(self.world.ledgers)

    def took(self, n: int, verdict: Verdict | Short) -> None:
        if isinstance(verdict, Ticket):
            self.tickets.append((self.world.ledgers[n].worker, verdict))

    @rule(n=st.integers(0, 2), tokens=st.integers(0, 40), patient=st.booleans())
    def admit(self, n: int, tokens: int, patient: bool) -> None:
        n = self.worker(n)
        ledger = self.world.ledgers[n]
        before = ledger.reserved
        verdict = ledger.admit(self.world.holders[n], tokens, self.world.now)
        if not isinstance(verdict, Ticket):
            assert ledger.reserved.items() <= before.items()  # a window may have closed
        if isinstance(verdict, Short) and patient:
            ledger.wait(self.world.holders[n], tokens, self.world.now + 2, "x", verdict)
        self.took(n, verdict)

    @precondition(lambda self: self.tickets)
    @rule(
        which=st.integers(0, 100), part=st.floats(0, 1), how=st.sampled_from(["known", "unknown", "undone"])
    )
    def settle(self, which: int, part: float, how: str) -> None:
        name, ticket = self.tickets.pop(which % len(self.tickets))
        ledger = next(one for one in self.world.ledgers if one.worker == name)
        used = ticket.tokens if how == "unknown" else int(ticket.tokens * part)
        if how == "undone":
            ledger.undo(ticket)
            return
        ledger.settle(ticket, used, 0, unknown=how == "unknown")
        for key, sized in self.counters(ticket).items():
            self.used[key] = self.used.get(key, 0) + (used if sized else 1)

    @rule(
        n=st.integers(0, 2), fate=st.sampled_from(["fine", "fine", "fine", "lost on the way", "answer lost"])
    )
    def exchange(self, n: int, fate: str) -> None:
        n, world = self.worker(n), self.world
        ledger = world.ledgers[n]
        given = world.wire(ledger.exchange(world.now))
        if fate == "lost on the way":
            found = ledger.failed(world.now)
        else:
            answer = world.store.exchange(given, world.now + world.offset)
            found = ledger.failed(world.now) if fate == "answer lost" else ledger.answered(answer, world.now)
        for _, verdict in found:
            self.took(n, verdict)

    @rule(n=st.integers(0, 2))
    def hear_of_hunger(self, n: int) -> None:
        ledger = self.world.ledgers[self.worker(n)]
        ledger.wanted(self.world.store.wanted(ledger.worker, self.world.now + self.world.offset))

    @rule(passed_s=st.sampled_from([0.01, 0.1, 1.0, 3.0, 7.0, 30.0]))
    def time_passes(self, passed_s: float) -> None:
        self.world.now += passed_s
        for n, ledger in enumerate(self.world.ledgers):
            for _, verdict in ledger.expired(self.world.now):
                self.took(n, verdict)

    @rule(step_s=st.sampled_from([-90_000.0, -30.0, -1.0, 1.0, 30.0]))
    def the_stores_clock_steps(self, step_s: float) -> None:
        self.world.offset += step_s

    @rule(n=st.integers(0, 2), answered=st.booleans())
    def a_worker_is_killed(self, n: int, answered: bool) -> None:
        n, world = self.worker(n), self.world
        if answered:  # it had sent its last words
            world.store.exchange(world.wire(world.ledgers[n].exchange(world.now)), world.now + world.offset)
        name = world.ledgers.pop(n).worker
        world.holders.pop(n)
        for _, ticket in [one for one in self.tickets if one[0] == name]:
            for key, sized in self.counters(ticket).items():
                self.lost[key] = self.lost.get(key, 0) + (ticket.tokens if sized else 1)
        self.tickets = [one for one in self.tickets if one[0] != name]
        world.add()

    @rule(n=st.integers(0, 2))
    def a_worker_leaves_in_order(self, n: int) -> None:
        n, world = self.worker(n), self.world
        name = world.ledgers[n].worker
        if any(one[0] == name for one in self.tickets) or world.ledgers[n].waiting:
            return
        for leaving in (False, True):
            given = world.wire(world.ledgers[n].exchange(world.now, leaving=leaving))
            world.ledgers[n].answered(world.store.exchange(given, world.now + world.offset), world.now)
        for (counter, period), tally in world.store.tallies.items():
            lease = tally.leases.get(name)
            open_now = world.ledgers[n]._open.get(counter)
            assert lease is None or not lease.held or open_now is None or open_now.period != period
        world.ledgers.pop(n)
        world.holders.pop(n)
        world.add()

    @invariant()
    def never_over(self) -> None:
        if not hasattr(self, "world"):
            return
        true = dict(self.used)
        for _, ticket in self.tickets:
            for key, sized in self.counters(ticket).items():
                true[key] = true.get(key, 0) + (ticket.tokens if sized else 1)
        for key, lost in self.lost.items():
            true[key] = true.get(key, 0) + lost
        for (counter, period), amount in true.items():
            assert amount <= self.amounts[counter.partition("|")[0]], (counter, period)
        for (counter, period), tally in self.world.store.tallies.items():
            assert tally.settled + tally.leased <= self.amounts[counter.partition("|")[0]], (counter, period)
            assert true.get((counter, period), 0) <= tally.settled + tally.leased

    def teardown(self) -> None:
        """All that was used is settled, to the token, and nothing else."""
        if not hasattr(self, "world"):
            return
        world = self.world
        while self.tickets:
            self.settle(0, 0.5, "known")
        for n in range(len(world.ledgers)):
            world.exchange(n)
            world.exchange(n)
        alive = {key: self.used.get(key, 0) for key in {*self.used, *world.store.tallies}}
        for key, tally in world.store.tallies.items():
            assert tally.settled <= alive[key]
            # What a killed worker had settled and not told is in its lease, which counts as used.
            assert alive[key] <= tally.settled + tally.leased


class NothingElseIsLost(NeverOver):
    """Without kills: to the token."""

    def a_worker_is_killed(self, n: int, answered: bool) -> None: ...

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "world"):
            for key, tally in self.world.store.tallies.items():
                assert tally.settled == self.used.get(key, 0)


class RatesAndSlots(RuleBasedStateMachine):
    """Shared by workers that beat in time, and some of which die."""

    @initialize(workers=st.integers(1, 3), burst=st.integers(1, 12), slots=st.integers(1, 6))
    def begin(self, workers: int, burst: int, slots: int) -> None:
        self.slots = slots
        self.world = World(
            workers=workers, held=limits(requests_per_second=burst, in_flight=slots, tokens_per_minute=120)
        )
        self.exact = Bucket(burst, 10.0)
        self.tokens = Bucket(120, 2.0)
        self.tickets: list[tuple[str, Ticket]] = []

    def took(self, n: int, verdict: Verdict | Short) -> None:
        if isinstance(verdict, Ticket):
            self.tickets.append((self.world.ledgers[n].worker, verdict))
            assert self.exact.level(self.world.now) > 1 - 1e-6
            self.exact.take(1, self.world.now)
            assert self.tokens.level(self.world.now) > verdict.tokens - 1e-6
            self.tokens.take(verdict.tokens, self.world.now)

    @rule(n=st.integers(0, 2), tokens=st.integers(0, 60))
    def admit(self, n: int, tokens: int) -> None:
        n %= len(self.world.ledgers)
        verdict = self.world.ledgers[n].admit(self.world.holders[n], tokens, self.world.now)
        if isinstance(verdict, Short):
            self.world.ledgers[n].wait(self.world.holders[n], tokens, self.world.now + 2, "x", verdict)
        self.took(n, verdict)

    @precondition(lambda self: self.tickets)
    @rule(which=st.integers(0, 100), part=st.floats(0, 1))
    def settle(self, which: int, part: float) -> None:
        name, ticket = self.tickets.pop(which % len(self.tickets))
        ledger = next(one for one in self.world.ledgers if one.worker == name)
        ledger.settle(ticket, int(ticket.tokens * part), 0)
        self.tokens.give(ticket.tokens - int(ticket.tokens * part))

    @rule(n=st.integers(0, 2))
    def exchange(self, n: int) -> None:
        n %= len(self.world.ledgers)
        for _, verdict in self.world.exchange(n):
            self.took(n, verdict)

    @rule(n=st.integers(0, 2))
    def hear_of_hunger(self, n: int) -> None:
        ledger = self.world.ledgers[n % len(self.world.ledgers)]
        ledger.wanted(self.world.store.wanted(ledger.worker, self.world.now + self.world.offset))

    @rule(passed_s=st.sampled_from([0.01, 0.05, 0.1, 0.5, 1.0, 2.0]))
    def time_passes(self, passed_s: float) -> None:
        self.world.now += passed_s
        for n, ledger in enumerate(self.world.ledgers):
            if self.world.now - ledger._sent_at > 1:
                self.exchange(n)
            for _, verdict in ledger.expired(self.world.now):
                self.took(n, verdict)

    @rule(n=st.integers(0, 2))
    def a_worker_is_killed(self, n: int) -> None:
        n %= len(self.world.ledgers)
        name = self.world.ledgers.pop(n).worker
        self.world.holders.pop(n)
        self.tickets = [one for one in self.tickets if one[0] != name]
        self.world.add()

    @invariant()
    def never_over(self) -> None:
        if hasattr(self, "world"):
            assert len(self.tickets) <= self.slots
            for (counter, _), tally in self.world.store.tallies.items():
                if counter.startswith("in_flight"):
                    assert tally.leased <= self.slots


for machine in (NeverOver, NothingElseIsLost, RatesAndSlots):
    machine.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
TestNeverOver = NeverOver.TestCase
TestNothingElseIsLost = NothingElseIsLost.TestCase
TestRatesAndSlots = RatesAndSlots.TestCase
