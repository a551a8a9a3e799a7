from __future__ import annotations

from dataclasses import replace

import pytest

from infctl.models import Attention, FeedForward, Layer, ModelFacts, Quantization, StateCache
from infctl.sizing import Card, EngineArgs
from infctl.sizing.activation import activation, serving
from infctl.sizing.defaults import resolve
from infctl.sizing.graphs import capture_sizes, counts_graphs, cudagraphs, runner_v2
from infctl.sizing.hardware import generation
from infctl.sizing.overheads import context, non_torch, runtime_headroom

GIB = 2**30
MIB = 2**20
H100 = Card("NVIDIA H100 80GB HBM3", 85017493504)
L4 = Card("NVIDIA L4", int(22.05 * GIB))
CPU = Card("cpu", 24 * GIB, cpu=True)

QWEN_7B = ModelFacts(
    name="qwen2.5-7b",
    architecture="Qwen2ForCausalLM",
    family="qwen2",
    hidden=3584,
    layers=(Layer(Attention("full", 28, 4, 128, 128), FeedForward(18944)),) * 28,
    vocab=152064,
    context=32768,
)
QWEN3_30B = ModelFacts(
    name="qwen3-30b-a3b",
    architecture="Qwen3MoeForCausalLM",
    family="qwen3_moe",
    hidden=2048,
    layers=(
        Layer(
            Attention("full", 32, 4, 128, 128),
            FeedForward(experts=128, experts_per_token=8, expert_width=768),
        ),
    )
    * 48,
    vocab=151936,
    context=40960,
)
DEEPSEEK_LITE = ModelFacts(
    name="deepseek-v2-lite",
    architecture="DeepseekV2ForCausalLM",
    family="deepseek_v2",
    hidden=2048,
    layers=(
        Layer(Attention("mla", 16, 1, 192, 128, latent=576), FeedForward(10944)),
        *(
            Layer(
                Attention("mla", 16, 1, 192, 128, latent=576),
                FeedForward(2816, experts=64, experts_per_token=6, expert_width=1408),
            ),
        )
        * 26,
    ),
    vocab=102400,
    context=32768,
    mla_heads=(16, 128, 128, 64),
)


GDN = StateCache("gdn", conv_kernel=4, heads=32, head_dim=128, groups=16, state=128)


def peak(facts: ModelFacts, card: Card = H100, **args) -> float:
    """GiB, as vLLM 0.25 measured them unless told otherwise."""
    asked = EngineArgs(**{"vllm": "0.25", "max_model_len": 8192, **args})
    return activation(facts, resolve(facts, asked, card), card).expected / GIB


def test_a_large_batch_is_limited_by_its_feed_forward():
    # 2.20 GiB reported.
    assert peak(QWEN_7B, max_num_batched_tokens=16384, enforce_eager=True) == pytest.approx(2.2, abs=0.01)


def test_many_sequences_of_a_small_batch_are_limited_by_their_logits():
    few = peak(QWEN_7B, max_num_batched_tokens=2048, max_num_seqs=256, enforce_eager=True)
    many = peak(QWEN_7B, max_num_batched_tokens=2048, max_num_seqs=1024, enforce_eager=True)
    assert many - few > 6 * 768 * 152064 / GIB * 0.9


def test_compiling_holds_a_second_embedding_table_once():
    # 1.04 GiB reported; the next start finds its kernels in vLLM's cache.
    args = EngineArgs(vllm="0.25", max_num_batched_tokens=2048, max_num_seqs=256)
    figure = activation(QWEN_7B, resolve(QWEN_7B, args, H100), H100)
    assert figure.expected / GIB == pytest.approx(1.04, abs=0.01)
    assert figure.low < figure.expected / 3


def test_the_first_runner_draws_with_three_float32_copies_of_the_logits():
    # 2.68 GiB were reported publicly for this model, on an H100 with the server's defaults of 8192 and 1024.
    assert peak(QWEN3_30B, enforce_eager=True) == pytest.approx(2.68, abs=0.05)


LLAMA_8B = ModelFacts(
    name="llama3.1-8b",
    architecture="LlamaForCausalLM",
    family="llama",
    hidden=4096,
    layers=(Layer(Attention("full", 32, 8, 128, 128), FeedForward(14336)),) * 32,
    vocab=128256,
    context=131072,
)


@pytest.mark.parametrize(("facts", "reported"), [(QWEN_7B, 2.21), (LLAMA_8B, 1.89)], ids=["qwen", "llama"])
def test_public_figures_of_the_first_runner_are_met_for_dense_models(facts, reported):
    # From before these models moved to the second runner, at 8192 and 1024. One idle expert keeps them there.
    first = facts.layers[0]
    idle = replace(first, feed_forward=replace(first.feed_forward, experts=1))
    older = replace(facts, layers=(idle, *facts.layers[1:]))
    assert peak(older) == pytest.approx(reported, abs=0.03)


def test_the_experts_workspace_stays_while_tokens_are_drawn():
    fewer = replace(
        QWEN3_30B,
        layers=(
            Layer(
                QWEN3_30B.layers[0].attention, FeedForward(experts=128, experts_per_token=4, expert_width=768)
            ),
        ),
    )
    halved = peak(QWEN3_30B, enforce_eager=True) - peak(fewer, enforce_eager=True)
    assert halved == pytest.approx(8192 * 4 * 4096 * 2 / GIB, rel=0.01)


def test_latent_attention_expands_its_context_while_profiling():
    # 1.13 GiB reported with 16,384 tokens of context.
    args = {"max_num_batched_tokens": 8192, "max_num_seqs": 256, "enforce_eager": True}
    assert peak(DEEPSEEK_LITE, max_model_len=16384, **args) == pytest.approx(1.13, abs=0.01)
    assert peak(DEEPSEEK_LITE, max_model_len=2048, **args) < 1.0


def test_a_soft_cap_costs_a_second_copy_where_no_float32_one_is_made():
    capped = replace(QWEN_7B, scale_logits_soft_cap=True)
    args = {"max_num_seqs": 2048, "max_num_batched_tokens": 2048, "enforce_eager": True, "vllm": "0.32"}
    assert peak(capped, **args) - peak(QWEN_7B, **args) == pytest.approx(2 * 2048 * 152064 / GIB, rel=0.01)


def test_vllm_0_32_reserves_no_float32_logits_and_the_headroom_does():
    args = {"max_num_seqs": 1024, "max_num_batched_tokens": 2048, "enforce_eager": True}
    saved = peak(QWEN_7B, vllm="0.25", **args) - peak(QWEN_7B, vllm="0.32", **args)
    assert saved == pytest.approx(4 * 1024 * 152064 / GIB, rel=0.01)
    resolved = resolve(QWEN_7B, EngineArgs(**args), H100)
    assert runtime_headroom(QWEN_7B, resolved, H100) >= 4 * 1024 * 152064


def test_hybrid_models_keep_scratch_by_the_batched_token():
    hybrid = replace(
        QWEN_7B, layers=(*QWEN_7B.layers, Layer(Attention("state", state=GDN), FeedForward(18944)))
    )
    small, large = (
        runtime_headroom(
            hybrid, resolve(hybrid, EngineArgs(max_num_batched_tokens=tokens, max_num_seqs=8), L4), L4
        )
        for tokens in (2048, 8192)
    )
    assert large - small == pytest.approx(6144 * 12 * 1024, rel=0.2)


def test_quantised_products_need_no_workspace_of_cublas():
    awq = replace(QWEN_7B, quantization=Quantization("awq", bits=4), dtype="float16")
    args = {"max_num_batched_tokens": 2048, "max_num_seqs": 64, "enforce_eager": True}
    assert peak(QWEN_7B, **args) - peak(awq, **args) == pytest.approx(32 * MIB / GIB)
    assert peak(QWEN_7B, L4, **args) - peak(awq, L4, **args) == pytest.approx(8.125 * MIB / GIB)


def test_ranks_share_the_feed_forward():
    args = {"max_num_batched_tokens": 16384, "max_num_seqs": 64, "enforce_eager": True}
    assert peak(QWEN_7B, tensor_parallel=2, **args) < 0.65 * peak(QWEN_7B, **args)


def test_an_unknown_architecture_has_a_wide_band_and_a_known_one_does_not():
    resolved = resolve(QWEN_7B, EngineArgs(enforce_eager=True, max_num_batched_tokens=16384), H100)
    known = activation(QWEN_7B, resolved, H100)
    unknown = activation(replace(QWEN_7B, known=False), resolved, H100)
    assert (known.origin, unknown.origin) == ("fitted", "assumed")
    assert known.high < known.expected * 1.05
    assert unknown.high == pytest.approx(1.5 * unknown.expected, rel=0.01)


def test_pictures_may_need_more():
    resolved = resolve(QWEN_7B, EngineArgs(), L4)
    seeing = replace(QWEN_7B, multimodal=True)
    assert activation(seeing, resolved, L4).high == activation(QWEN_7B, resolved, L4).high + GIB


def test_a_cpu_has_no_activation_of_its_own_no_graphs_and_no_context():
    resolved = resolve(QWEN_7B, EngineArgs(), CPU)
    assert activation(QWEN_7B, resolved, CPU).high == 0
    assert cudagraphs(QWEN_7B, resolved, CPU).high == 0
    assert context(CPU).high == 0
    assert non_torch(resolved, CPU).origin == "assumed"


def test_graphs_are_captured_at_vllms_sizes():
    few = capture_sizes(resolve(QWEN_7B, EngineArgs(max_num_seqs=256), L4))
    assert (len(few), few[:5], few[-1]) == (51, (1, 2, 4, 8, 16), 512)
    assert capture_sizes(resolve(QWEN_7B, EngineArgs(max_num_seqs=8), L4)) == (1, 2, 4, 8, 16)


def test_eager_captures_nothing():
    resolved = resolve(QWEN_7B, EngineArgs(enforce_eager=True), H100)
    assert cudagraphs(QWEN_7B, resolved, H100).high == 0
    assert not counts_graphs(QWEN_7B, resolved)


def test_graphs_on_a_card_without_flash_attention_3_are_smaller():
    # Public logs say 0.36 and 0.4 GiB for models of this size on smaller cards.
    resolved = resolve(QWEN_7B, EngineArgs(max_num_seqs=256), L4)
    assert cudagraphs(QWEN_7B, resolved, L4).expected / GIB == pytest.approx(0.36, abs=0.05)


@pytest.mark.parametrize(
    ("facts", "vllm", "second", "counted"),
    [
        (QWEN_7B, "0.25", True, False),
        (DEEPSEEK_LITE, "0.25", True, False),
        (QWEN3_30B, "0.25", False, True),
        (replace(QWEN_7B, pooling=True), "0.25", False, True),
        (QWEN_7B, "0.32", True, True),
        (QWEN3_30B, "0.32", True, True),
    ],
    ids=lambda value: value.name if isinstance(value, ModelFacts) else str(value),
)
def test_who_leaves_room_for_graphs(facts, vllm, second, counted):
    resolved = resolve(facts, EngineArgs(vllm=vllm), H100)
    assert runner_v2(facts, resolved) is second
    assert counts_graphs(facts, resolved) is counted


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "hopper"),
        ("H200", "hopper"),
        ("NVIDIA GH200 480GB", "hopper"),
        ("B200", "blackwell"),
        ("NVIDIA GeForce RTX 5090", "blackwell"),
        ("RTX 5000 Ada", "older"),
        ("NVIDIA L4", "older"),
        ("NVIDIA A100-SXM4-80GB", "older"),
        ("NVIDIA GeForce RTX 4090", "older"),
    ],
)
def test_generations(name, expected):
    assert generation(Card(name, GIB)) == expected


def test_nccl_takes_more_with_two_ranks():
    one, two = (non_torch(resolve(QWEN_7B, EngineArgs(tensor_parallel=n), L4), L4) for n in (1, 2))
    assert one.expected / GIB == pytest.approx(0.22, abs=0.01)
    assert two.low > one.high
    assert two.origin == "assumed"


def test_serving_needs_no_copy_of_the_embedding_that_compiling_does():
    resolved = resolve(QWEN_7B, EngineArgs(max_model_len=8192), L4)
    compiling, warm = activation(QWEN_7B, resolved, L4), serving(QWEN_7B, resolved, L4)
    table = QWEN_7B.vocab * QWEN_7B.hidden * 2
    assert compiling.expected >= table
    assert warm.expected < table / 2
    assert compiling.low == warm.low


def test_without_compiling_the_profile_run_sees_what_serving_needs():
    resolved = resolve(QWEN_7B, EngineArgs(max_model_len=8192, enforce_eager=True), L4)
    assert activation(QWEN_7B, resolved, L4) == serving(QWEN_7B, resolved, L4)
