"""Three writings of one rule, in memory, SQLite's and Redis's: any conversation is answered alike by all."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy.exchange import Exchange, Line, Overview, Use
from gateway.store.redis import Redis
from gateway.store.sqlite import SQLite
from tests.examples import examples
from tests.gateway.store.conftest import Clock
from tests.gateway.store.memory import Memory
from tests.gateway.store.redis_server import Server

_tags = itertools.count()
COUNTERS = {
    "tokens_per_day|tenant:t": ("quota", "day", 50, 0.0),
    "tokens_per_month|tenant:t": ("quota", "month", 80, 0.0),
    "in_flight|tenant:t": ("slots", None, 6, 0.0),
    "requests_per_second|tenant:t": ("rate", None, 10, 2.5),
    "tokens_per_minute|tenant:t": ("rate", None, 60, 1 / 3),
}
PERIODS = {"day": ("", "2026-11-27", "2026-11-28"), "month": ("", "2026-11"), None: ("",)}


@st.composite
def lines(draw: st.DrawFn) -> Line:
    counter = draw(st.sampled_from(sorted(COUNTERS)))
    kind, span, amount, per_s = COUNTERS[counter]
    few = st.integers(0, 12)
    need = draw(few)
    claim = draw(st.sampled_from([-1, -1, -1, 2])) if kind == "slots" else -1
    period = draw(st.sampled_from(PERIODS[span]))
    told = draw(few), 0, draw(few), draw(few), claim, draw(st.integers(0, 4))
    return Line(counter, kind, span, amount, per_s, period, *told, need, need + draw(few))


def _tells(seen: Overview) -> bool:
    """Else the row says no more than none would, and may be gone from one store before the other."""
    return bool(seen.settled or seen.unknown or seen.leased or seen.level >= 0)


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([0, 1, 1, 1, 1]),
        st.lists(lines(), max_size=4),
        st.sampled_from([0.0, 0.1, 0.4, 1.7, 6.0, 43_000.0, -50.0]),
        st.booleans(),
    ),
    max_size=14,
)


@settings(max_examples=examples(40), deadline=None)
@given(STEPS)
def test_all_stores_answer_alike(shared_redis: Server, conversation):
    clock = Clock()
    memory = Memory()
    seqs = dict.fromkeys("abc", 0)
    with tempfile.TemporaryDirectory() as folder:
        sqlite = SQLite(Path(folder) / "counts.db", clock)
        tag = f"{{agree{next(_tags)}}}:"
        redis = Redis(shared_redis.url, Path(folder) / "j", replica="r", replicas=1, clock=clock, prefix=tag)
        try:
            for worker, step, told, passed_s, leaving in conversation:
                clock.passes(passed_s)
                seqs[worker] += step or not seqs[worker]
                uses = (Use("2026-11-27", "t", "m", 1, 2, 3, 4),) if leaving else ()
                said = Exchange(worker, seqs[worker], tuple(told), uses, leaving and not step)
                expected = memory.exchange(said, clock())
                assert sqlite.exchange(said) == expected
                assert redis.exchange(said) == expected
                for name in "abc":
                    hungry = sorted(memory.wanted(name, clock()), key=repr)
                    assert sorted(sqlite.wanted(name), key=repr) == hungry
                    assert sorted(redis.wanted(name), key=repr) == hungry
            assert list(filter(_tells, sqlite.overview())) == list(filter(_tells, redis.overview()))
            assert sqlite.usage("2026-01-01", "2026-12-31") == list(redis.usage("2026-01-01", "2026-12-31"))
        finally:
            sqlite.close()
            redis.close()
