"""`--quantization` of `infctl size`: what it makes of weights that are stored otherwise. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from infctl.errors import UsageError
from infctl.models import ModelFacts
from infctl.models.quantization import four_bits

ONLINE = frozenset({"fp8", "fp8_per_tensor", "fp8_per_block", "bitsandbytes"})
"""vLLM packs plain weights itself when it loads them, and sizing knows how."""
STORED: dict[str, Literal["awq", "gptq"]] = {
    "awq": "awq", "auto_awq": "awq", "awq_marlin": "awq",
    "gptq": "gptq", "auto_gptq": "gptq", "gptq_marlin": "gptq",
}  # fmt: skip
"""Word -> method. Only a checkpoint that was packed so can be served so."""
OTHERS = frozenset(
    {
        "compressed-tensors", "deepseek_v4_fp8", "experts_int8", "fbgemm_fp8", "fp8_per_channel", "fp_quant",
        "gpt_oss_mxfp4", "humming", "inc", "int8_per_channel_weight_only", "modelopt", "modelopt_fp4",
        "modelopt_mixed", "modelopt_mxfp8", "moe_wna16", "mxfp4", "mxfp8", "nvfp4_per_token", "online",
        "quark", "torchao",
    }
)  # fmt: skip
"""Further words of vLLM 0.25 and 0.32: of bytes they say no more than the weights' own config does."""


def as_asked(facts: ModelFacts, word: str | None) -> tuple[ModelFacts, tuple[str, ...]]:
    """The facts to size, and what to know of them. Raises UsageError for a word that vLLM does not know."""
    if word is None:
        return facts, ()
    if word not in {*ONLINE, *STORED, *OTHERS}:
        known = ", ".join(sorted({*ONLINE, *STORED, *OTHERS}))
        raise UsageError(f"--quantization {word!r} is none of vLLM's", hint=f"there are: {known}")
    stored = facts.quantization
    if stored is not None and stored.method != "none":
        if STORED.get(word, word) in {stored.method, stored.name} or word in OTHERS:
            return facts, ()
        packed = stored.name or stored.method
        return facts, (f"the weights are packed as {packed} already: vLLM refuses --quantization {word}",)
    if word in STORED:
        method = STORED[word]
        told = (
            f"these weights are not packed as {method}, and vLLM refuses to serve them so; the figures are"
            " those of a 4-bit checkpoint of the model: name that one to be exact"
        )
        return replace(facts, quantization=four_bits(method), stored_bytes=None), (told,)
    if word in OTHERS:
        return facts, (
            f"--quantization {word} is not known here: plain weights are counted as they are stored",
        )
    return facts, ()
