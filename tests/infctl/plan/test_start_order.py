"""Engines that share a card start in an order in which every gate opens."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from infctl.plan import Plan
from infctl.plan.start_order import Starter, in_order, shut_out

Planned = Callable[..., Plan]
GIB = 2**30
SHARE = {"gpu": {"share": "one"}}
sizes = st.integers(0, 24)


@given(st.lists(st.tuples(sizes, sizes), min_size=1, max_size=5), st.integers(1, 24))
def test_it_starts_all_wherever_any_order_does(pairs: list[tuple[int, int]], total: int) -> None:
    starters = [Starter(str(n), gate, taken, 0) for n, (gate, taken) in enumerate(pairs)]
    possible = any(not shut_out(order, total) for order in permutations(starters))
    assert (not shut_out(in_order(starters), total)) == possible


def test_one_that_asks_for_more_than_it_takes_comes_first(planned: Planned) -> None:
    models = {
        "chat": {"source": "qwen-0.5b", "kv_cache_memory": "4GiB", "max_model_len": 8192} | SHARE,
        "embed": {"source": "xlm-r", "gpu_memory_utilization": 0.9} | SHARE,
    }
    plan = planned(models, "1xL4")
    assert plan.uses[0].services == ("embed", "chat")
    assert {r.service: r.starts_after for r in plan.replicas} == {"chat": "embed", "embed": None}
    (warning,) = [w for w in plan.warnings if w.path == "models/embed/gpu_memory_utilization"]
    assert "not again while they run" in warning.message


def test_the_largest_comes_first_among_planned_gates(planned: Planned) -> None:
    models = {
        "embed": {"source": "xlm-r"} | SHARE,
        "chat": {"source": "qwen-0.5b", "max_model_len": 8192} | SHARE,
        "rerank": {"source": "bge-reranker"} | SHARE,
    }
    assert planned(models, "1xL4").uses[0].services == ("chat", "embed", "rerank")
