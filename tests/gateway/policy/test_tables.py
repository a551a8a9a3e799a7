"""The tables at the top of the policies, row by row, against what the code does."""

from __future__ import annotations

import pytest

from gateway.config import Backend as Wanted
from gateway.config import Breaker as BreakerRules
from gateway.config import Cache as CacheRules
from gateway.config import Config, Model
from gateway.policy import breaker, cache, health, retry
from gateway.policy.balancer import FULL, Balancer, Place
from gateway.policy.breaker import Breaker
from gateway.policy.cache import Answer, Cache, Follow, Hit, Lead
from gateway.policy.health import Health
from gateway.policy.queue import Queue
from tests.gateway.policy.docstrings import docstring

RULES = BreakerRules(failures=2, recovery_s=10.0)


def rows(module, head: str) -> list[list[str]]:
    """The rows below the line that begins with `head`: cells are two spaces apart."""
    lines = iter(docstring(module).splitlines())
    for line in lines:
        if line.strip().startswith(head):
            break
    found = []
    for line in lines:
        if not line.strip():
            break
        found.append([cell.strip() for cell in line.split("  ") if cell.strip()])
    return found


# The breaker.


def broken(state: str) -> Breaker:
    made = Breaker(RULES)
    if state != "closed":
        for _ in range(2):
            made.report(made.take(0.0), "failure", 0.0)
    if state == "half_open":
        made.report(made.take(10.0), "neutral", 10.0)
    assert made.state == state
    return made


@pytest.mark.parametrize("row", rows(breaker, "state "), ids=lambda row: row[0])
def test_the_breaker(row):
    state, *cells = row
    assert len(cells) == 5
    for fact, cell in zip(("success", "failure", "neutral"), cells[:3], strict=True):
        after = cell.partition(",")[0]
        made = broken(state)
        made.report(made.take(9.0 if state == "open" else 10.0), fact, 10.0)
        assert made.state == after, (state, fact)
        if cell.endswith("the nth opens"):
            made.report(made.take(10.0), fact, 10.0)
            assert made.state == "open"
        elif "twice" in cell:
            assert made.pause_s == 20.0
        if (state, fact) != ("closed", "failure"):
            assert breaker.TABLE[state, fact] == after
    made = broken(state)
    made.take(1000.0)
    assert made.state == (state if cells[3] == "-" else cells[3])
    made = broken(state)
    assert made.eject(5.0, 0.0) == (cells[4] != "-")
    assert made.state == (state if cells[4] == "-" else cells[4])


# Health, and loading.


@pytest.mark.parametrize("row", rows(health, "state "), ids=lambda row: row[0])
def test_health(row):
    state, *cells = row
    for fact, after in zip(("answered", "unwell", "unreachable", "connect_failed"), cells, strict=True):
        assert health.TABLE[state, fact] == after
        known = Health(0.0)
        if state != "loading":
            known.probed("answered", "", 0.0, 10.0, 1.0)
        if state == "down":
            known.connect_failed("refused", 0.0)
        if fact == "connect_failed":
            known.connect_failed("refused", 1.0)
        else:
            known.probed(fact, "why", 1.0, 10.0, 1.0)
        assert known.state == after, (state, fact)


# Retries.


def test_retries():
    told = {row[0]: row[-1] for row in rows(retry, "what the backend did")}
    assert {deed: "yes" if again else "no" for deed, again in retry.TABLE.items()} == {
        deed: text.partition(":")[0] for deed, text in told.items()
    }
    found = {
        retry.deed(connected=connected, timed_out=timed_out, begun=begun)
        for connected in (True, False)
        for timed_out in (True, False)
        for begun in (True, False)
    }
    assert found | {retry.deed_of(503), retry.deed_of(500)} == set(retry.TABLE)
    assert [status for status in range(200, 600) if retry.TABLE[retry.deed_of(status)]] == [502, 503, 504]
    assert retry.deed(connected=False, timed_out=True, begun=False) == "no_connection"


# The cache.


def answered(made: Cache, key: cache.Key, now: float) -> None:
    lead = made.ask(key, now)
    assert isinstance(lead, Lead)
    lead.flight.answer = Answer(b"", b"x")
    made.landed(lead.flight, "answered", now)


def test_the_cache():
    key = ("t", "m", b"k")
    asked = {row[0]: row[1] for row in rows(cache, "asked for")}
    made, found = Cache(CacheRules(ttl_s=10.0)), {}
    found["not kept, nobody fetches"] = made.ask(key, 0.0)
    found["not kept, being fetched"] = made.ask(key, 0.0)
    made = Cache(CacheRules(ttl_s=10.0))
    answered(made, key, 0.0)
    found["kept, not too old"] = made.ask(key, 9.0)
    assert {name: type(each).__name__ for name, each in found.items()} == asked
    led = dict(rows(cache, "the leader "))
    assert list(led) == ["has the answer", "has none", "left"]
    for end, again in (("answered", Hit), ("failed", Lead), ("left", Lead)):
        made = Cache(CacheRules())
        lead, follow = made.ask(key, 0.0), made.ask(key, 0.0)
        assert isinstance(lead, Lead)
        assert isinstance(follow, Follow)
        lead.flight.answer = Answer(b"", b"x") if end == "answered" else None
        made.landed(lead.flight, end, 0.0)
        assert (follow.flight.end, follow.flight.answer is not None) == (end, end == "answered")
        assert isinstance(made.ask(key, 0.0), again)
        assert isinstance(made.ask(key, 0.0), Hit if end == "answered" else Follow)


# The queue.


def test_the_queue():
    queue: Queue[str] = Queue(10, fair=True)
    for value in ("a1", "a2", "b1"):
        queue.put(value, value[0])
    flow = queue._flows
    assert [waiter.value for waiter in flow["a"].waiters.values()] == ["a1", "a2"]  # put: behind its own
    assert (flow["a"].start, flow["b"].start) == (0.0, 0.0)  # put: it starts at the virtual time
    first = queue.pop()
    assert first is not None
    assert (first.value, flow["a"].start) == ("a1", 1.0)  # pop: its next one starts 1/weight later
    queue.remove(flow["b"].first)
    assert queue._ends == {"b": 0.0}  # remove: costs nothing; the last one's end is kept
    queue.put("b2", "b")
    assert flow["b"].start == 0.0
    queue.pop()
    queue.put("b3", "b")
    assert flow["b"].start == 1.0  # where its last one ended


# The balancer.

FIT = {
    ("ready", "closed"): 3,
    ("ready", "due"): 2,
    ("ready", "open"): 1,
    ("drained", "closed"): 0,
    ("loading", "closed"): 0,
    ("down", "closed"): 0,
}
"""State and breaker -> the higher one gets the call, 0 never does."""


def group(*kinds: tuple[str, str], concurrency: int = 1) -> Balancer:
    balancer = Balancer()
    wanted = tuple(
        Wanted(id=f"b{n}", url=f"http://b{n}:1", concurrency=concurrency) for n in range(len(kinds))
    )
    model = Model(name="m", served_name="m", tasks=("chat",), backends=wanted)
    balancer.configure(Config(models=(model,), breaker=RULES), 0.0)
    for backend, (state, breaker_state) in zip(balancer.backends(), kinds, strict=True):
        if state != "loading":
            backend.health.probed("answered", "", 0.0, 10.0, 1.0)
        if state == "down":
            backend.health.connect_failed("refused", 0.0)
        backend.drained = state == "drained"
        if breaker_state != "closed":
            backend.breaker.eject(5.0 if breaker_state == "due" else 50.0, 0.0)
    return balancer


@pytest.mark.parametrize("one", FIT)
@pytest.mark.parametrize("other", FIT)
def test_the_balancer_takes_the_fitter_one_and_waits_for_it_when_it_is_full(one, other):
    balancer = group(one, other)
    first, second = balancer.backends()
    best = max(FIT[one], FIT[other])
    wanted = {backend for backend, kind in ((first, one), (second, other)) if best and FIT[kind] == best}
    chosen = balancer.choose("m", 10.0)
    if not wanted:
        assert not isinstance(chosen, Place)
        assert chosen is not FULL
        return
    assert isinstance(chosen, Place)
    assert chosen.backend in wanted
    again = balancer.choose("m", 10.0)
    if len(wanted) == 2:
        assert isinstance(again, Place)
        assert again.backend is not chosen.backend
    elif best == 3:
        assert again is FULL
