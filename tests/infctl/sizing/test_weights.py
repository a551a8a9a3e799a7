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
from infctl.sizing.rank import modules, stages
from infctl.sizing.weights import stored, weights

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

CPU = Card("CPU", 64 * GIB, cpu=True)
MIXTRAL = QWEN2 | {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "intermediate_size": 14336,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
GPT_OSS = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "hidden_size": 2880,
    "num_hidden_layers": 24,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "intermediate_size": 2880,
    "vocab_size": 201_088,
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "sliding_window": 128,
    "max_position_embeddings": 131_072,
    "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096},
    "quantization_config": {"quant_method": "mxfp4"},
    "torch_dtype": "bfloat16",
}


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


@pytest.mark.parametrize("tensor", [2, 4, 8])
def test_ranks_together_hold_what_one_holds_and_some_of_it_twice(tensor: int) -> None:
    facts = model(QWEN2, num_attention_heads=32, hidden_size=4096, head_dim=128)
    whole, part = gib(facts, CPU), gib(facts, CPU, tensor_parallel=tensor)
    assert whole <= part * tensor < whole * 1.02


def test_more_ranks_never_hold_more_each() -> None:
    for start in STARTS:
        facts = model(start["hf_config"])
        held = [gib(facts, tensor_parallel=tensor) for tensor in (1, 2, 4, 8)]
        assert held == sorted(held, reverse=True)


def test_fewer_kv_heads_than_ranks_are_copied() -> None:
    facts = model(QWEN2, num_key_value_heads=2)
    modules_of = {
        tensor: next(
            m for m in modules(facts, running(facts, tensor_parallel=tensor), 0) if "qkv_proj.w" in m.name
        )
        for tensor in (1, 4)
    }
    assert modules_of[1].out == (28 + 2 + 2) * 128
    assert modules_of[4].out == (7 + 1 + 1) * 128


def test_the_vocabulary_is_padded_and_cut() -> None:
    facts = model(QWEN2, vocab_size=151_937)
    head = modules(facts, running(facts, tensor_parallel=2), 0)[-1]
    assert (head.name, head.out) == ("lm_head.weight", 152_000 // 2)


@pytest.mark.parametrize("layers", [28, 29, 30, 31])
@pytest.mark.parametrize("pipeline", [2, 3, 4])
def test_stages_together_hold_the_whole_model(layers: int, pipeline: int) -> None:
    facts = model(QWEN2, num_hidden_layers=layers)
    parts = running(facts, pipeline_parallel=pipeline)
    numbers = sum(m.numbers for s in range(pipeline) for m in modules(facts, parts, s) if not m.table)
    assert numbers == sum(m.numbers for m in modules(facts, running(facts), 0) if not m.table)
    assert sum(len(stage) for stage in stages(layers, pipeline)) == layers


@pytest.mark.parametrize(
    ("layers", "pipeline", "sizes"),
    [(28, 1, [28]), (28, 4, [7, 7, 7, 7]), (30, 4, [7, 8, 8, 7]), (5, 2, [3, 2]), (7, 4, [2, 2, 2, 1])],
)
def test_layers_that_do_not_divide_go_before_the_last_stage(
    layers: int, pipeline: int, sizes: list[int]
) -> None:
    found = stages(layers, pipeline)
    assert [len(stage) for stage in found] == sizes
    assert [layer for stage in found for layer in stage] == list(range(layers))


def test_a_tied_head_is_copied_for_the_last_stage() -> None:
    facts = model(QWEN2, tie_word_embeddings=True)
    table = 152_064 * 3584
    assert sum(m.numbers == table for m in modules(facts, running(facts), 0)) == 1
    parts = running(facts, pipeline_parallel=2)
    assert [sum(m.numbers == table for m in modules(facts, parts, stage)) for stage in (0, 1)] == [1, 1]


def test_expert_parallelism_gives_whole_experts_to_a_rank() -> None:
    facts = model(MIXTRAL)
    for expert_parallel, count, out in ((False, 8, 2 * 14336 // 2), (True, 4, 2 * 14336)):
        parts = running(facts, tensor_parallel=2, expert_parallel=expert_parallel)
        experts = next(m for m in modules(facts, parts, 0) if "experts.*.gate_up" in m.name)
        assert (experts.count, experts.out) == (count, out)


def test_what_is_kept_in_the_machines_memory_is_not_on_the_card() -> None:
    facts = model(QWEN2)
    assert gib(facts) - gib(facts, cpu_offload_bytes=4 * GIB) == pytest.approx(4)
    assert gib(facts, cpu_offload_bytes=400 * GIB) == 0


def test_fp8_made_while_loading_halves_the_layers_alone() -> None:
    facts = model(QWEN2)
    embeddings = 2 * 152_064 * 3584 * 2 / GIB
    assert gib(facts, quantization="fp8") == pytest.approx(embeddings + (14.29 - embeddings) / 2, abs=0.05)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}, 5.2),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 8.2),
        ({"quant_method": "fp8", "activation_scheme": "static"}, 8.2),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 5.5),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": ["mlp"]}, 13.1),
    ],
)
def test_quantised_models_are_about_as_small_as_their_bits(how: dict[str, Any], expected: float) -> None:
    facts = model(QWEN2, quantization_config=how)
    figure = weights(facts, running(facts), H100)
    assert figure.expected / GIB == pytest.approx(expected, rel=0.03)
    assert figure.high > figure.expected > figure.low


def test_another_card_packs_zero_points_tighter() -> None:
    facts = model(QWEN2, quantization_config=AWQ, torch_dtype="float16")
    assert gib(facts, L4) == pytest.approx(gib(facts, H100) - 0.086, abs=0.005)


def test_mxfp4_experts_are_padded_as_the_cards_kernel_wants() -> None:
    facts = model(GPT_OSS)
    assert gib(facts, H100) == pytest.approx(13.02, abs=0.01)
    assert gib(facts, L4) > gib(facts, H100) + 0.5


def test_a_checkpoint_looked_at_corrects_what_the_inventory_says() -> None:
    facts = model(QWEN2, architectures=["BrandNewForCausalLM"], model_type="brand_new")
    wide = weights(facts, running(facts), H100)
    seen = replace(facts, stored_bytes=stored(facts) + GIB)
    narrow = weights(seen, running(seen), H100)
    assert narrow.expected == wide.expected + GIB
    assert wide.origin == "assumed"
    assert narrow.high - narrow.low < (wide.high - wide.low) / 4


def test_a_file_in_float32_is_loaded_in_half() -> None:
    facts = model(STARTS[2]["hf_config"])
    twice = replace(facts, stored_bytes=2 * stored(facts))
    assert weights(twice, running(twice), H100).expected == weights(facts, running(facts), H100).expected


def test_what_sees_is_room_above_where_nobody_looked() -> None:
    facts = model(
        {"text_config": QWEN2, "vision_config": {}, "architectures": ["NewForConditionalGeneration"]}
    )
    figure = weights(facts, running(facts), H100)
    assert figure.high - figure.expected > figure.expected - figure.low
