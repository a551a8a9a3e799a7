"""What engines measured here narrows the plan."""

from __future__ import annotations

from collections.abc import Callable

from infctl.plan import Plan
from infctl.sizing import Card, EngineArgs, Measured

Planned = Callable[..., Plan]
GIB = 2**30
SEEN = Measured(
    weights_bytes=int(14.25 * GIB), activation_bytes=int(0.9 * GIB), cudagraph_bytes=int(0.3 * GIB),
    non_torch_bytes=int(0.2 * GIB), kv_available_bytes=GIB, num_gpu_blocks=999, kv_tokens=12_345,
)  # fmt: skip


def known(model: str, args: EngineArgs, card: Card) -> Measured | None:
    assert (model, card.name) == ("chat", "L4")
    assert args.kv_cache_memory_bytes is None  # asked as the profile has it, not as the plan decides
    return SEEN


def test_a_narrow_band_leaves_more_for_the_cache(planned: Planned) -> None:
    models = {"chat": {"max_model_len": 8192}}
    blind, seen = planned(models, "1xL4"), planned(models, "1xL4", measured=known)
    (before,), (after,) = blind.replicas, seen.replicas
    assert before.need is not None
    assert after.need is not None
    assert after.need.kv_bytes.expected > before.need.kv_bytes.expected
    assert after.need.weights.origin == "measured"
    band = [plan.uses[0].used.high - plan.uses[0].used.low for plan in (blind, seen)]
    assert band[1] < band[0]
    assert seen.uses[0].used.high <= seen.uses[0].gpu.memory_bytes


def test_tokens_follow_from_the_bytes_that_are_given_not_from_those_that_were(planned: Planned) -> None:
    (replica,) = planned({"chat": {"max_model_len": 8192}}, "1xL4", measured=known).replicas
    assert replica.need is not None
    assert replica.need.kv is not None
    assert replica.need.kv_tokens.expected == replica.need.kv.tokens > 80_000


def test_of_a_written_share_the_measured_tokens_hold(planned: Planned) -> None:
    models = {"chat": {"max_model_len": 8192, "gpu_memory_utilization": 0.9}}
    (replica,) = planned(models, "1xL4", measured=known).replicas
    assert replica.need is not None
    assert (replica.need.kv_tokens.expected, replica.need.kv_tokens.origin) == (12_345, "measured")
