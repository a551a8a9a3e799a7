from __future__ import annotations

from dataclasses import replace

import pytest

from infctl.models import ModelFacts
from infctl.models.config import facts
from infctl.sizing import Card, EngineArgs, Measured
from infctl.sizing.need import need
from tests.infctl.sizing.starts import GIB, STARTS

L4 = Card("NVIDIA L4", int(22.05 * GIB))
CPU = Card("cpu", 24 * GIB, cpu=True)
BY_NAME = {start.name: start.facts for start in STARTS}
QWEN_7B = BY_NAME["qwen7b-H100-32k"]
QWEN_14B = BY_NAME["qwen14b-eager"]
LLAMA_8B = BY_NAME["llama8b-len-too-long"]
ARCTIC = BY_NAME["arctic-embed-L4half"]


def smollm2() -> ModelFacts:
    return facts(
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": 576,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "intermediate_size": 1536,
            "vocab_size": 49152,
            "max_position_embeddings": 8192,
            "rope_theta": 100000.0,
            "rms_norm_eps": 1e-5,
            "hidden_act": "silu",
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
        },
        name="SmolLM2-135M-Instruct",
    )


def test_what_is_left_of_the_budget_is_the_kv_cache():
    found = need(QWEN_7B, EngineArgs(max_model_len=8192), L4)
    counted = found.weights + found.activation + found.cudagraphs + found.non_torch
    assert found.budget_bytes - counted.expected == found.kv_bytes.expected
    assert found.kv_bytes.low == found.budget_bytes - counted.high
    assert found.kv_bytes.high == found.budget_bytes - counted.low
    assert found.fits
    assert found.kv_tokens.low < found.kv_tokens.expected < found.kv_tokens.high


def test_the_footprint_is_the_sum_of_its_parts():
    found = need(QWEN_7B, EngineArgs(max_model_len=8192), L4)
    parts = (
        found.weights,
        found.activation,
        found.cudagraphs,
        found.non_torch,
        found.context,
        found.kv_bytes,
    )
    assert found.footprint.expected == sum(part.expected for part in parts)


def test_given_bytes_are_the_kv_cache_exactly():
    found = need(QWEN_7B, EngineArgs(max_model_len=8192, kv_cache_memory_bytes=int(3.5 * GIB)), L4)
    assert (found.kv_bytes.low, found.kv_bytes.high) == (int(3.5 * GIB),) * 2
    assert found.kv_tokens.expected == found.kv_tokens.low == 65536


def test_weights_beyond_the_budget_say_how_much_is_missing():
    found = need(QWEN_14B, EngineArgs(), L4)
    assert found.fate == "weights"
    assert f"{-found.kv_bytes.expected / GIB:.2f} GiB are missing" in found.reason
    assert "--tensor-parallel-size 2" in found.reason
    assert found.max_model_len_that_fits == 0


def test_a_larger_share_is_named_where_it_would_do():
    found = need(QWEN_7B, EngineArgs(max_model_len=8192, gpu_memory_utilization=0.6), L4)
    assert found.fate == "weights"
    share = float(found.reason.split("--gpu-memory-utilization ")[1].split()[0])
    cured = need(QWEN_7B, EngineArgs(max_model_len=8192, gpu_memory_utilization=share), L4)
    assert cured.fits, cured.reason


def test_the_context_that_fits_does_fit_and_one_more_block_does_not():
    found = need(LLAMA_8B, EngineArgs(), L4)
    assert found.fate == "kv"
    longest = found.max_model_len_that_fits
    assert need(LLAMA_8B, EngineArgs(max_model_len=longest), L4).fits
    assert need(LLAMA_8B, EngineArgs(max_model_len=longest + 1), L4).fate == "kv"


def test_too_few_given_bytes_name_the_least_that_do():
    args = EngineArgs(max_model_len=8192, kv_cache_memory_bytes=GIB // 2)
    found = need(LLAMA_8B, args, L4)
    assert found.fate == "kv"
    least = int(found.reason.split("--kv-cache-memory-bytes ")[1].split()[0])
    assert need(LLAMA_8B, replace(args, kv_cache_memory_bytes=least), L4).fits
    assert not need(LLAMA_8B, replace(args, kv_cache_memory_bytes=least - 1), L4).fits


def test_given_bytes_beyond_the_card_name_what_would_do():
    args = EngineArgs(max_model_len=8192, kv_cache_memory_bytes=10 * GIB)
    found = need(LLAMA_8B, args, L4)
    assert found.fate == "start"
    most = int(found.reason.split("--kv-cache-memory-bytes ")[1].split()[0])
    assert need(LLAMA_8B, replace(args, kv_cache_memory_bytes=most), L4).fits


def test_a_share_that_the_context_makes_impossible_does_not_start():
    found = need(QWEN_7B, EngineArgs(max_model_len=8192, gpu_memory_utilization=1.0), L4)
    assert found.fate == "start"
    assert "0.98 is the most" in found.reason


def test_a_context_beyond_the_model_is_refused_before_any_memory():
    found = need(QWEN_7B, EngineArgs(max_model_len=40000), L4)
    assert found.fate == "context"
    assert "32,768 tokens the model takes" in found.reason


def test_an_encoder_keeps_no_cache_and_its_share_only_gates_the_start():
    found = need(ARCTIC, EngineArgs(dtype="float16", gpu_memory_utilization=0.12), L4)
    assert found.fits
    assert found.kv is None
    assert found.kv_tokens.expected == found.kv_bytes.expected == 0
    assert found.max_model_len_that_fits == ARCTIC.context
    assert 1.6 * GIB < found.footprint.expected < 3 * GIB
    assert "no KV cache" in found.reason


def test_a_decoder_that_embeds_keeps_its_cache_and_draws_no_tokens():
    embedding = need(QWEN_7B, EngineArgs(runner="pooling", max_model_len=8192, enforce_eager=True), L4)
    chat = need(QWEN_7B, EngineArgs(max_model_len=8192, max_num_seqs=2048, enforce_eager=True), L4)
    assert embedding.kv is not None
    assert embedding.activation.expected < chat.activation.expected


def test_on_a_cpu_the_bytes_are_given_and_the_blocks_exact():
    found = need(smollm2(), EngineArgs(max_model_len=2048, dtype="float32", enforce_eager=True), CPU)
    assert found.kv is not None
    assert (found.kv.num_blocks, found.kv.block_size) == (182, 128)
    assert found.kv_tokens.expected == found.kv_tokens.low == found.kv_tokens.high == 23296
    assert found.kv.concurrency == 11.375
    assert found.fits


def test_what_was_measured_takes_the_place_of_what_was_planned():
    seen = Measured(
        weights_bytes=14 * GIB,
        activation_bytes=GIB // 2,
        cudagraph_bytes=GIB // 4,
        non_torch_bytes=GIB // 5,
        kv_available_bytes=4 * GIB,
        num_gpu_blocks=4681,
        kv_tokens=74896,
    )
    planned = need(QWEN_7B, EngineArgs(max_model_len=8192), L4)
    found = need(QWEN_7B, EngineArgs(max_model_len=8192), L4, measured=seen)
    assert {found.weights.origin, found.activation.origin, found.kv_tokens.origin} == {"measured"}
    assert found.activation.high - found.activation.low < planned.activation.high - planned.activation.low
    assert found.kv is not None
    assert found.kv.num_blocks == 4681
    assert (found.kv_tokens.low, found.kv_tokens.expected, found.kv_tokens.high) == (74896,) * 3


def test_a_part_that_was_measured_narrows_what_is_left():
    args = EngineArgs(max_model_len=8192)
    planned = need(QWEN_7B, args, L4).kv_tokens
    found = need(QWEN_7B, args, L4, measured=Measured(activation_bytes=GIB // 2)).kv_tokens
    assert found.high - found.low < planned.high - planned.low


def test_the_older_vllm_gives_the_graphs_no_room():
    args = EngineArgs(max_model_len=8192)
    new = need(QWEN_7B, args, L4)
    old = need(QWEN_7B, replace(args, vllm="0.25"), L4)
    assert old.kv_bytes.expected - new.kv_bytes.expected == new.cudagraphs.expected


def test_an_unknown_architecture_has_a_wide_band():
    args = EngineArgs(max_model_len=8192, enforce_eager=True)
    known, unknown = (need(replace(QWEN_7B, known=known), args, L4) for known in (True, False))
    assert unknown.kv_bytes.high - unknown.kv_bytes.low > 2 * (known.kv_bytes.high - known.kv_bytes.low)


@pytest.mark.parametrize("ranks", [2, 4])
def test_more_cards_a_replica_need_less_of_each(ranks):
    whole = need(QWEN_7B, EngineArgs(max_model_len=8192), L4)
    cut = need(QWEN_7B, EngineArgs(max_model_len=8192, tensor_parallel=ranks), L4)
    assert cut.weights.expected < 0.6 * whole.weights.expected
    assert cut.kv_tokens.expected > whole.kv_tokens.expected


@pytest.mark.parametrize(
    ("model", "args", "says"),
    [
        (QWEN_7B, EngineArgs(max_num_batched_tokens=64, max_num_seqs=128), "--max-num-seqs 64 is the most"),
        (ARCTIC, EngineArgs(max_num_batched_tokens=512), "--max-num-batched-tokens 8194 is the least"),
        (QWEN_7B, EngineArgs(tensor_parallel=3), "28 attention heads cannot be cut into 3"),
        (QWEN_7B, EngineArgs(pipeline_parallel=64), "more than the model's 28 layers"),
        (QWEN_7B, EngineArgs(block_size=40), "40 is no multiple of 16, which no attention backend"),
        (QWEN_7B, EngineArgs(block_size=1), "--block-size 16 would do"),
    ],
    ids=["sequences", "prompt", "heads", "stages", "blocks", "small-blocks"],
)
def test_arguments_that_vllm_refuses_together_are_named(model, args, says):
    found = need(model, args, L4)
    assert found.fate == "start"
    assert says in found.reason


def test_with_kv_bytes_given_the_larger_of_compiling_and_serving_has_to_be_free():
    found = need(QWEN_7B, EngineArgs(max_model_len=8192), L4)
    outside = found.non_torch + found.context
    serving = found.serving + found.cudagraphs + outside
    assert found.activation.expected > found.serving.expected
    # With plenty of KV cache serving is the larger moment, with none compiling is.
    assert found.work(2 * GIB).expected == serving.expected
    assert found.work(0).expected == max((found.activation + outside).expected, serving.expected)
    for kv in (0, 64 << 20, 2 * GIB):
        at_once = found.weights + found.work(kv)
        assert at_once.high + kv >= (found.weights + found.activation + outside).high
        assert at_once.high + kv >= (found.weights + serving).high + kv


def test_a_proposed_cut_is_one_whose_ranks_hold_their_weights():
    small = Card("small", 9 * GIB)
    assert "--tensor-parallel-size 4 " in need(QWEN_14B, EngineArgs(), small).reason
    assert "--tensor-parallel-size 2 " in need(QWEN_14B, EngineArgs(), L4).reason
    cut = need(QWEN_14B, EngineArgs(tensor_parallel=2), small).reason
    assert "--tensor-parallel-size 4 " in cut
