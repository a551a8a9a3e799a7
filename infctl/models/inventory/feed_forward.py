"""The tensors of the feed-forward part: one path, or a router and its experts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infctl.models import FeedForward, ModelFacts, Weight
from infctl.models.inventory.attention import matrix
from infctl.models.inventory.traits import Traits, said


def dense(
    at: str, width: int, part: FeedForward, facts: ModelFacts, traits: Traits, *, bias: bool
) -> Iterator[Weight]:
    gate, up, down = traits.up_down
    if traits.fused_up:
        yield from matrix(f"{at}.{traits.fused_up}", 2 * width, facts.hidden, bias=bias)
    else:
        if part.gated and gate:
            yield from matrix(f"{at}.{gate}", width, facts.hidden, bias=bias)
        yield from matrix(f"{at}.{up}", width, facts.hidden, bias=bias)
    yield from matrix(f"{at}.{down}", facts.hidden, width, bias=bias, bias_split="none")


def feed_forward(
    at: str, part: FeedForward, facts: ModelFacts, traits: Traits, config: Mapping[str, Any]
) -> Iterator[Weight]:
    """Of one layer; `at` is the layer: `model.layers.*`."""
    if not part.experts:
        bias = said(facts.family, traits.mlp_bias, config)
        if traits.experts == "granite" and part.dense:
            yield from _stacked_shared(f"{at}.{traits.mlp}", part.dense, facts.hidden)
        elif part.dense:
            yield from dense(f"{at}.{traits.mlp}", part.dense, part, facts, traits, bias=bias)
        return
    moe, hidden = f"{at}.{traits.moe}", facts.hidden
    yield Weight(f"{moe}.{traits.router}.weight", (part.experts, hidden))
    if traits.router_bias:
        yield Weight(f"{moe}.{traits.router}.bias", (part.experts,))
    if traits.correction_bias and config.get("topk_method", "noaux_tc") == "noaux_tc":
        yield Weight(f"{moe}.{traits.correction_bias}", (part.experts,), dtype="float32")
    if part.dense:
        if traits.experts == "granite":
            yield from _stacked_shared(f"{at}.{traits.shared}", part.dense, hidden)
        else:
            yield from dense(f"{moe}.{traits.shared}", part.dense, part, facts, traits, bias=False)
        if traits.shared_gate:
            yield Weight(f"{moe}.{traits.shared_gate}.weight", (1, hidden))
    yield from _experts(moe, part, hidden, traits)


def _stacked_shared(at: str, width: int, hidden: int) -> Iterator[Weight]:
    yield from matrix(f"{at}.input_linear", 2 * width, hidden)
    yield from matrix(f"{at}.output_linear", hidden, width)


def _experts(moe: str, part: FeedForward, hidden: int, traits: Traits) -> Iterator[Weight]:
    """All experts' gates and ups come before the downs: so vLLM stacks them."""
    count, width = part.experts, part.expert_width
    up = (2 * width if part.gated else width, hidden)
    if traits.experts == "granite":
        yield Weight(f"{moe}.input_linear.weight", (count, *up), "experts", packed=True)
        yield Weight(f"{moe}.output_linear.weight", (count, hidden, width), "experts", packed=True)
    elif traits.experts == "stacked":
        # The file holds these the other way round, (experts, in, out); the numbers are as many.
        yield Weight(f"{moe}.experts.gate_up_proj", (count, *up), "experts", packed=True)
        yield Weight(f"{moe}.experts.down_proj", (count, hidden, width), "experts", packed=True)
        if traits.expert_bias:
            yield Weight(f"{moe}.experts.gate_up_proj_bias", (count, up[0]), "experts")
            yield Weight(f"{moe}.experts.down_proj_bias", (count, hidden), "experts")
    else:
        gate, rise, down = ("w1", "w3", "w2") if traits.experts == "mixtral" else traits.up_down
        for name in (gate, rise) if part.gated else (rise,):
            yield Weight(
                f"{moe}.experts.*.{name}.weight", (width, hidden), "experts", count=count, packed=True
            )
        yield Weight(f"{moe}.experts.*.{down}.weight", (hidden, width), "experts", count=count, packed=True)
