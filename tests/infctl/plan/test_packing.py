"""Which replica goes on which card when bytes are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infctl.errors import PlanError
from infctl.plan import Plan

Planned = Callable[..., Plan]
CHAT: dict[str, Any] = {"max_model_len": 8192}
EMBED = {"source": "xlm-r"}
RERANK = {"source": "bge-reranker"}
TINY = {"source": "qwen-0.5b", "max_model_len": 8192}


def placed(plan: Plan) -> dict[str, list[int]]:
    return {replica.service: [gpu.index for gpu in replica.gpus] for replica in plan.replicas}


@pytest.mark.parametrize(
    ("models", "gpus", "expected"),
    [
        # As by count, where there are cards enough.
        ({"a": CHAT, "b": CHAT | {"gpu": 0}}, "2xL4", {"a": [1], "b": [0]}),
        ({"a": CHAT | {"tensor_parallel": 2}, "b": CHAT}, "3xL4", {"a": [0, 1], "b": [2]}),
        ({"e": EMBED, "r": RERANK}, "2xL4", {"e": [0], "r": [1]}),
        # Consecutive cards for one replica, even where another one would come first.
        (
            {"p": CHAT | {"gpu": 1}, "w": CHAT | {"tensor_parallel": 2}, "s": CHAT}, "4xL4",
            {"p": [1], "w": [2, 3], "s": [0]},
        ),
        ({"s": CHAT, "p": CHAT | {"gpu": 2}, "w": CHAT | {"tensor_parallel": 2}}, "4xL4",
            {"s": [3], "p": [2], "w": [0, 1]}),
        # The biggest need gets the biggest card.
        ({"t": TINY, "c": CHAT}, "1xL4, 1xH100", {"t": [0], "c": [1]}),
        ({"e": EMBED, "c": CHAT, "t": TINY}, "1xH100, 2xL4", {"e": [2], "c": [0], "t": [1]}),
        ({"w": CHAT | {"tensor_parallel": 2}, "e": EMBED}, "1xH100, 2xL4", {"w": [1, 2], "e": [0]}),
        # No two alike: the largest for the replica that is cut, since the smallest of its cards decides.
        ({"w": CHAT | {"tensor_parallel": 2}, "e": EMBED}, "1xT4, 1xH100, 1xL4", {"w": [1, 2], "e": [0]}),
        # Fewer cards than places: the small ones move together, then in with somebody.
        ({"c": CHAT, "e": EMBED, "r": RERANK}, "2xL4", {"c": [0], "e": [1], "r": [1]}),
        ({"t": TINY, "e": EMBED, "r": RERANK}, "1xL4", {"t": [0], "e": [0], "r": [0]}),
        ({"c": CHAT | {"replicas": 2}, "q": CHAT, "e": EMBED}, "3xL4",
            {"c0": [0], "c1": [1], "q": [2], "e": [1]}),
        ({"t": TINY | {"kv_cache_memory": "2GiB"}, "u": TINY | {"kv_cache_memory": "2GiB"}}, "1xL4",
            {"t": [0], "u": [0]}),
    ],
)  # fmt: skip
def test_placement(planned: Planned, models: dict[str, Any], gpus: str, expected: dict[str, Any]) -> None:
    assert placed(planned(models, gpus)) == expected


def test_who_moved_in_is_told(planned: Planned) -> None:
    told = planned({"c": CHAT, "e": EMBED, "r": RERANK}, "2xL4").warnings
    assert [(w.path, "the plan puts it beside" in w.message) for w in told] == [("models/e/gpu", True)]


def test_engines_that_take_all_they_get_do_not_share_unasked(planned: Planned) -> None:
    with pytest.raises(PlanError) as caught:
        planned({"t": TINY, "u": TINY}, "1xL4")
    (problem,) = caught.value.problems
    assert problem.message == "t needs 1 GPU, 1 exists and 1 is taken by u"
    assert problem.hint.startswith("would fit: ")


def test_where_the_small_ones_do_not_fit_beside_it_cards_are_missing(planned: Planned) -> None:
    with pytest.raises(PlanError) as caught:
        planned({"c": CHAT, "e": EMBED, "r": RERANK}, "1xL4")
    (problem,) = caught.value.problems
    assert problem.message == "c needs 1 GPU, 1 exists and 2 are taken by e, r"
    assert "gpus: 3xL4" in problem.hint


def test_sharers_of_a_card_that_keep_a_cache_split_what_is_left(planned: Planned) -> None:
    share = {"gpu": {"share": "one"}}
    plan = planned({"t": TINY | share, "u": TINY | share, "e": EMBED | share}, "1xL4")
    tokens = [r.need.kv_tokens.expected for r in plan.replicas if r.need is not None]
    assert tokens[0] == tokens[1] > 100_000
    assert tokens[2] == 0
    (use,) = plan.uses
    assert use.used.high + use.headroom_bytes <= use.gpu.memory_bytes


def test_a_cache_that_was_written_comes_first(planned: Planned) -> None:
    share = {"gpu": {"share": "one"}}
    plan = planned({"t": TINY | share | {"kv_cache_memory": "3GiB"}, "u": TINY | share}, "1xL4")
    bytes_of = {r.service: r.need.kv_bytes.expected for r in plan.replicas if r.need is not None}
    assert bytes_of["t"] == 3 * 2**30
    assert bytes_of["u"] > 10 * 2**30
    assert [s.flag for s in plan.replicas[0].settings] == ["--gpu-memory-utilization"]


def test_an_embedder_that_decodes_takes_what_it_can_use(planned: Planned) -> None:
    """And leaves the rest of the card, which vLLM's own rule would reserve."""
    plan = planned({"e": {"source": "qwen-embedding"}}, "1xL4")
    (use,) = plan.uses
    assert use.free_bytes > 10 * 2**30
    (replica,) = plan.replicas
    assert replica.need is not None
    assert replica.need.kv is not None
    assert replica.need.kv.concurrency >= 2
