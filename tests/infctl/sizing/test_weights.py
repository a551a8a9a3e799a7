"""Bytes of weights a rank: against 14 real starts, and what tensor and pipeline parallelism promise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infctl.models import ModelFacts
from infctl.models.config import facts as read
from infctl.sizing import Card, EngineArgs, Resolved
from infctl.sizing.defaults import pools, resolve
from infctl.sizing.weights import weights

GIB = 2**30
STARTS = json.loads((Path(__file__).parents[2] / "golden/vllm/h100_starts.json").read_text())
H100 = Card("NVIDIA H100 80GB HBM3", 85_017_493_504)
L4 = Card("NVIDIA L4", 23_580_639_232)

QWEN2 = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "vocab_size": 152_064,
    "max_position_embeddings": 32_768,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}


def model(config: dict[str, Any], **changes: Any) -> ModelFacts:
    return read(config | changes, name="it")


def running(facts: ModelFacts, card: Card = H100, **args: Any) -> Resolved:
    return resolve(facts, EngineArgs(**args), card)


def gib(facts: ModelFacts, card: Card = H100, **args: Any) -> float:
    return weights(facts, running(facts, card, **args), card).expected / GIB


@pytest.mark.parametrize("start", STARTS, ids=lambda start: str(start["case"]))
def test_a_real_start_loads_what_we_say_to_the_last_digit_of_its_log(start: dict[str, Any]) -> None:
    facts = model(start["hf_config"])
    args = EngineArgs(dtype=start["args"].get("dtype"), runner=start["args"].get("runner"), vllm="0.25")
    facts = replace(facts, pooling=pools(facts, args))

    figure = weights(facts, resolve(facts, args, H100), H100)

    seen = start["observed"]["weights_gib"]
    assert figure.expected / GIB == pytest.approx(seen, abs=0.0051)
    assert figure.low <= seen * GIB <= figure.high
