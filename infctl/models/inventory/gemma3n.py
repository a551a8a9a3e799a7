"""What Gemma 3n has beside a Gemma 3: a second table of embeddings, several streams, laurel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infctl.models import ModelFacts, Weight
from infctl.models.inventory.attention import matrix

FAMILIES = frozenset({"gemma3n_text", "gemma3n"})


def _size(config: Mapping[str, Any], key: str, default: int) -> int:
    value = config.get(key)
    return value if isinstance(value, int) and 0 < value < 2**24 else default


def around(root: str, facts: ModelFacts, config: Mapping[str, Any]) -> Iterator[Weight]:
    """Outside the layers. The second table is as large as the rest of the model, and on the card as well."""
    narrow = _size(config, "hidden_size_per_layer_input", 256)
    wide = narrow * len(facts.layers)
    rows = _size(config, "vocab_size_per_layer_input", 262_144)
    yield Weight(f"{root}embed_tokens_per_layer.weight", (rows, wide), "vocab", "first")
    yield Weight(f"{root}per_layer_model_projection.weight", (wide, facts.hidden), "even", "first")
    yield Weight(f"{root}per_layer_projection_norm.weight", (narrow,), stage="first")
    streams = _size(config, "altup_num_inputs", 4) - 1
    square = (facts.hidden, facts.hidden)
    yield Weight(f"{root}altup_projections.*.weight", square, "even", "first", count=streams)
    yield Weight(f"{root}altup_unembed_projections.*.weight", square, "even", "first", count=streams)


def layer(at: str, facts: ModelFacts, config: Mapping[str, Any]) -> Iterator[Weight]:
    """Of one layer; `at` is the layer: `model.layers.*`."""
    narrow = _size(config, "hidden_size_per_layer_input", 256)
    streams, rank = _size(config, "altup_num_inputs", 4), _size(config, "laurel_rank", 64)
    yield Weight(f"{at}.altup.correct_output_scale", (facts.hidden,))
    yield Weight(f"{at}.altup.correction_coefs.weight", (streams, streams))
    yield Weight(f"{at}.altup.prediction_coefs.weight", (streams**2, streams))
    yield Weight(f"{at}.altup.modality_router.weight", (streams, facts.hidden))
    yield Weight(f"{at}.altup.router_norm.weight", (facts.hidden,))
    yield from matrix(f"{at}.laurel.linear_left", rank, facts.hidden)
    yield from matrix(f"{at}.laurel.linear_right", facts.hidden, rank)
    yield Weight(f"{at}.laurel.post_laurel_norm.weight", (facts.hidden,))
    yield from matrix(f"{at}.per_layer_input_gate", narrow, facts.hidden, split="none")
    yield from matrix(f"{at}.per_layer_projection", facts.hidden, narrow, split="none")
    yield Weight(f"{at}.post_per_layer_input_norm.weight", (facts.hidden,))
