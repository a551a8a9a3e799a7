"""Memory that nothing uses, and proposals that were planned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infctl.plan import Plan

Planned = Callable[..., Plan]
GIB = 2**30
CHAT: dict[str, Any] = {"max_model_len": 8192, "replicas": 2}
TINY = {"source": "qwen-0.5b", "max_model_len": 8192}
SMALL = {"gpu": {"share": "small"}}
ENCODERS = {"embed": {"source": "xlm-r", **SMALL}, "rerank": {"source": "bge-reranker", **SMALL}}


def test_a_card_without_an_engine_takes_one_more_replica(planned: Planned) -> None:
    (idle,) = planned({"chat": CHAT}, "3xL4").idle_memory
    assert (idle.gpu.index, idle.model, idle.change) == (2, "chat", "models/chat/replicas: 3")
    more = planned({"chat": CHAT | {"replicas": 3}}, "3xL4")
    tokens = {r.need.kv_tokens.expected for r in more.replicas if r.need is not None}
    assert tokens == {idle.tokens}
    assert idle.says == (
        f"GPU 2 holds {idle.free_bytes / GIB:.1f} GiB that nothing uses. A third chat replica fits there with"
        f" {idle.tokens // 100 * 100:,} tokens: replicas: 3"
    )


def test_two_idle_cards_take_two(planned: Planned) -> None:
    idle = planned({"chat": CHAT}, "4xL4").idle_memory
    assert [one.change for one in idle] == ["models/chat/replicas: 3", "models/chat/replicas: 4"]


def test_room_beside_encoders_is_found(planned: Planned) -> None:
    """On a larger card a further replica fits beside them, where the small ones live."""
    plan = planned({"chat": CHAT, **ENCODERS}, "3xL40S")
    (idle,) = plan.idle_memory
    assert (idle.gpu.index, idle.change) == (2, "models/chat/replicas: 3")
    more = planned({"chat": CHAT | {"replicas": 3}, **ENCODERS}, "3xL40S")
    assert (
        min(r.need.kv_tokens.expected for r in more.replicas if r.model == "chat" and r.need) == idle.tokens
    )


def test_what_the_profile_pins_is_part_of_the_change(planned: Planned) -> None:
    chat = CHAT | {"gpu": 0, "gpu_memory_utilization": 0.9}
    (idle,) = planned({"chat": chat, "sql": {"gpu": 2}, **ENCODERS}, "4xL40S").idle_memory
    assert idle.change == (
        "models/chat/replicas: 3, without models/chat/gpu_memory_utilization, models/chat/gpu: auto"
    )
    done = CHAT | {"replicas": 3}
    more = planned({"chat": done, "sql": {"gpu": 2}, **ENCODERS}, "4xL40S")
    assert (
        min(r.need.kv_tokens.expected for r in more.replicas if r.model == "chat" and r.need) == idle.tokens
    )


def test_what_fits_only_without_cuda_graphs_is_said_so(planned: Planned) -> None:
    (idle,) = planned({"chat": CHAT, **ENCODERS}, "3xL4").idle_memory
    assert idle.change == (
        "models/chat/replicas: 3, models/embed/enforce_eager: true, models/rerank/enforce_eager: true"
    )
    eager = {"enforce_eager": True}
    models = {"chat": CHAT | {"replicas": 3}} | {name: e | eager for name, e in ENCODERS.items()}
    more = planned(models, "3xL4")
    assert (
        min(r.need.kv_tokens.expected for r in more.replicas if r.model == "chat" and r.need) == idle.tokens
    )


def test_what_does_not_fit_is_said_with_what_it_needs(planned: Planned) -> None:
    (idle,) = planned({"chat": CHAT | {"max_num_batched_tokens": 32768}, **ENCODERS}, "3xL4").idle_memory
    assert (idle.model, idle.change, idle.tokens) == (None, "", 0)
    assert "No further replica fits there: chat needs " in idle.says


def test_where_nothing_generates_nothing_is_proposed(planned: Planned) -> None:
    (idle,) = planned(ENCODERS, "1xL4").idle_memory
    assert idle.says.endswith("that nothing uses. No model here would gain from it")


def test_a_card_whose_cache_takes_all_is_not_idle(planned: Planned) -> None:
    assert planned({"chat": TINY}, "1xL4").idle_memory == ()


def test_tokens_are_those_of_the_replica_that_goes_there(planned: Planned) -> None:
    chat = {"max_model_len": 8192, "replicas": 1}
    (idle,) = planned({"chat": chat}, "1xL4, 1xA40").idle_memory
    more = planned({"chat": chat | {"replicas": 2}}, "1xL4, 1xA40")
    there = [r.need.kv_tokens.expected for r in more.replicas if idle.gpu in r.gpus and r.need is not None]
    assert there == [idle.tokens]
    assert len({r.need.kv_tokens.expected for r in more.replicas if r.need is not None}) == 2


def test_a_share_that_neighbours_wrote_goes_with_the_change_that_would_break_it(planned: Planned) -> None:
    gated = {name: encoder | {"gpu_memory_utilization": 0.8} for name, encoder in ENCODERS.items()}
    (idle,) = planned({"chat": CHAT, **gated}, "3xL4").idle_memory
    assert "without models/embed/gpu_memory_utilization" in idle.change
    assert "without models/rerank/gpu_memory_utilization" in idle.change
    assert "no gpu_memory_utilization on embed and rerank" in idle.says
