from __future__ import annotations

from dataclasses import replace

import pytest

from infctl.models import Attention, FeedForward, Layer, ModelFacts, StateCache
from infctl.sizing import Card, EngineArgs, Vllm
from infctl.sizing.defaults import resolve

GIB = 2**30
L4 = Card("NVIDIA L4", int(22.05 * GIB))
CPU = Card("cpu", 24 * GIB, cpu=True)

DECODER = ModelFacts(
    name="decoder",
    architecture="LlamaForCausalLM",
    family="llama",
    hidden=4096,
    layers=(Layer(Attention("full", 32, 8, 128, 128), FeedForward(14336)),) * 2,
    vocab=128256,
    context=131072,
)
ENCODER = ModelFacts(
    name="encoder",
    architecture="XLMRobertaModel",
    family="xlm-roberta",
    hidden=1024,
    layers=(Layer(Attention("encoder", 16, 16, 64, 64), FeedForward(4096, gated=False)),) * 2,
    vocab=250002,
    context=8194,
    dtype="float16",
    pooling=True,
)


@pytest.mark.parametrize(
    ("card", "tokens", "seqs"),
    [
        (L4, 2048, 256),
        (Card("NVIDIA A100-SXM4-80GB", int(79.25 * GIB)), 2048, 256),
        (Card("NVIDIA H100 80GB HBM3", 85017493504), 8192, 1024),
        (Card("NVIDIA H200", 150 * 10**9), 8192, 1024),
        (Card("NVIDIA B200", 178 * GIB), 16384, 1024),
        (CPU, 2048, 128),
    ],
    ids=lambda value: value.name if isinstance(value, Card) else str(value),
)
def test_batch_sizes_follow_the_card(card, tokens, seqs):
    found = resolve(DECODER, EngineArgs(), card)
    assert (found.max_num_batched_tokens, found.max_num_seqs) == (tokens, seqs)


def test_vllm_0_25_knew_no_larger_step_than_the_h100s():
    found = resolve(DECODER, EngineArgs(vllm="0.25"), Card("NVIDIA B200", 178 * GIB))
    assert (found.max_num_batched_tokens, found.max_num_seqs) == (8192, 1024)


def test_a_cpu_takes_more_with_more_ranks():
    found = resolve(DECODER, EngineArgs(tensor_parallel=2), CPU)
    assert (found.max_num_batched_tokens, found.max_num_seqs) == (4096, 256)


def test_what_is_written_stays():
    args = EngineArgs(max_num_seqs=512, max_num_batched_tokens=100, gpu_memory_utilization=0.5)
    found = resolve(DECODER, args, L4)
    assert (found.max_num_seqs, found.max_num_batched_tokens) == (512, 100)
    assert found.gpu_memory_utilization == 0.5


def test_an_open_length_is_what_the_model_takes_unless_vllm_takes_less_by_itself():
    """LongRoPE models start with their short context, whose tokens are as good as they were trained."""
    long = replace(DECODER, default_context=4096)
    assert resolve(DECODER, EngineArgs(), L4).max_model_len == 131_072
    assert resolve(long, EngineArgs(), L4).max_model_len == 4096
    assert resolve(long, EngineArgs(max_model_len=65_536), L4).max_model_len == 65_536


def test_default_sequences_are_no_more_than_the_tokens_of_a_batch():
    assert resolve(DECODER, EngineArgs(max_num_batched_tokens=64), L4).max_num_seqs == 64


def test_default_tokens_are_no_more_than_all_sequences_can_bring():
    found = resolve(DECODER, EngineArgs(max_num_seqs=2, max_model_len=100), L4)
    assert found.max_num_batched_tokens == 200


def test_a_prompt_that_cannot_be_cut_fits_into_one_batch():
    assert resolve(ENCODER, EngineArgs(), L4).max_num_batched_tokens == 8194
    assert resolve(ENCODER, EngineArgs(max_model_len=512), L4).max_num_batched_tokens == 2048
    assert resolve(DECODER, EngineArgs(chunked_prefill=False), L4).max_num_batched_tokens == 131072


def test_the_rest_is_vllms_default():
    found = resolve(DECODER, EngineArgs(), L4)
    assert found.max_model_len == 131072
    assert found.gpu_memory_utilization == 0.92
    assert found.block_size == 16
    assert found.compiled
    assert found.async_scheduling
    assert found.prefix_caching
    assert (found.dtype, found.kv_dtype) == ("bfloat16", "bfloat16")
    assert found.in_flight_tokens == 2 * 2048


def test_pooling_schedules_one_batch_and_an_encoder_caches_no_prefix():
    found = resolve(ENCODER, EngineArgs(), L4)
    assert not found.async_scheduling
    assert not found.prefix_caching
    assert not resolve(DECODER, EngineArgs(runner="pooling"), L4).async_scheduling


@pytest.mark.parametrize(
    ("asked", "dtype"), [(None, "bfloat16"), ("auto", "bfloat16"), ("half", "float16"), ("float", "float32")]
)
def test_dtype(asked, dtype):
    assert resolve(DECODER, EngineArgs(dtype=asked), L4).dtype == dtype


@pytest.mark.parametrize(
    ("asked", "dtype"),
    [(None, "float32"), ("auto", "float32"), ("fp8_e4m3", "fp8"), ("bfloat16", "bfloat16")],
)
def test_kv_dtype(asked, dtype):
    assert resolve(DECODER, EngineArgs(dtype="float32", kv_cache_dtype=asked), L4).kv_dtype == dtype


@pytest.mark.parametrize(
    ("name", "dtype", "tokens"),
    [
        ("H100", "fp8", 64),
        ("H100", None, 16),
        ("B200", None, 32),
        ("RTX PRO 6000", None, 16),
        ("L4", "fp8", 16),
    ],
)
def test_latent_attention_takes_the_blocks_its_backend_on_that_card_wants(
    name: str, dtype: str | None, tokens: int
):
    latent = Layer(Attention("mla", heads=16, latent=576), FeedForward(dense=64))
    facts = replace(DECODER, layers=(latent,))
    found = resolve(facts, EngineArgs(kv_cache_dtype=dtype), Card(name, 80 * GIB))
    assert found.block_size == tokens


STATE = Layer(Attention("state", state=StateCache("mamba2", heads=8, head_dim=64)), FeedForward(64))


@pytest.mark.parametrize(
    ("facts", "vllm", "cached"),
    [
        (DECODER, "0.32", True),
        (replace(DECODER, layers=(*DECODER.layers, STATE)), "0.32", True),
        (replace(DECODER, layers=(*DECODER.layers, STATE)), "0.25", False),
        (replace(DECODER, layers=(STATE,)), "0.32", False),
        (replace(DECODER, pooling=True), "0.32", True),
        (ENCODER, "0.32", False),
    ],
    ids=["decoder", "hybrid", "hybrid-0.25", "states-alone", "decoder-that-embeds", "encoder"],
)
def test_prefixes_are_cached_by_default_where_vllm_supports_it(
    facts: ModelFacts, vllm: Vllm, *, cached: bool
):
    assert resolve(facts, EngineArgs(vllm=vllm), L4).prefix_caching is cached
