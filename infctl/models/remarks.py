"""What a person should know of a model before trusting its figures; each in one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from infctl.models import Attention, Quantization
from infctl.models.context import Context
from infctl.models.families import FAMILIES
from infctl.models.reader import Reader

SHOWN_MAX = 80
"""Characters of a name in a sentence."""


def remarks(
    config: Reader,
    said: str,
    family_name: str,
    layers: Sequence[Attention],
    packed: Quantization | None,
    tokens: Context,
    *,
    known: bool,
    multimodal: bool,
) -> Iterator[str]:
    """`said`: the architecture, as the config names it."""
    name = said[:SHOWN_MAX]
    family = FAMILIES.get(family_name)
    if not known:
        yield f"no rules for {name}: planned like {_like(family_name, layers)}, with a wide band"
    elif family is not None and family.dropped:
        yield f"vLLM runs {name} up to {family.dropped} only"
    if family is not None and family.kinds == "qwen2" and len({layer.kind for layer in layers}) > 1:
        yield f"vLLM does not start {name} with a window in some layers only: set use_sliding_window to false"
    if config.get("moe_latent_size"):
        yield "the experts work on moe_latent_size, which has no rules: the weights are counted too high"
    if packed is not None and packed.method == "other" and packed.bits == 16:
        yield f"no rules for the quantisation {packed.name[:SHOWN_MAX]}: taken for 16 bits"
    if multimodal:
        yield "the parts that see and hear are not counted, unless the files' headers were read"
    if tokens.assumed:
        yield f"no key says how long a request may be: {tokens.most:,} tokens, as vLLM assumes"


def _like(family_name: str, layers: Sequence[Attention]) -> str:
    if family_name in FAMILIES:
        return f"its family, {family_name}"
    if all(layer.kind in {"encoder", "none"} for layer in layers):
        return "an encoder without a cache"
    return "a dense GQA model"
