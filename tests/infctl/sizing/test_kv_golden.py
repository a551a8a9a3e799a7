"""Capacities that vLLM reported or its own functions gave, from the models' own configs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from infctl.models import ModelFacts, StateCache
from infctl.models.config import facts as read
from infctl.sizing import KvCapacity, Resolved
from infctl.sizing.kv import capacity
from infctl.sizing.kv_specs import specs
from tests.infctl.settled import settled

GIB = 2**30

QWEN2 = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "torch_dtype": "bfloat16"}
QWEN25_7B = QWEN2 | {
    "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "intermediate_size": 18944, "vocab_size": 152064, "max_position_embeddings": 32768,
}  # fmt: skip
GPT_OSS_20B = {
    "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 2880, "head_dim": 64,
    "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 2880,
    "num_local_experts": 32, "num_experts_per_tok": 4, "vocab_size": 201088, "sliding_window": 128,
    "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
    "layer_types": ["sliding_attention", "full_attention"] * 12,
}  # fmt: skip
GPT_OSS_120B = GPT_OSS_20B | {
    "num_hidden_layers": 36, "num_local_experts": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 18,
}  # fmt: skip
GEMMA3_12B = {
    "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_size": 3840, "head_dim": 256,
    "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": 15360,
    "vocab_size": 262208, "max_position_embeddings": 131072, "sliding_window": 1024,
    "sliding_window_pattern": 6, "torch_dtype": "bfloat16",
}  # fmt: skip
GEMMA3_27B = GEMMA3_12B | {
    "hidden_size": 5376, "head_dim": 128, "num_hidden_layers": 62, "num_attention_heads": 32,
    "num_key_value_heads": 16, "intermediate_size": 21504,
}  # fmt: skip
DEEPSEEK_V2_LITE = {
    "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "hidden_size": 2048,
    "num_hidden_layers": 27, "num_attention_heads": 16, "num_key_value_heads": 16, "intermediate_size": 10944,
    "vocab_size": 102400, "max_position_embeddings": 163840, "kv_lora_rank": 512, "q_lora_rank": None,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 64,
    "n_shared_experts": 2, "num_experts_per_tok": 6, "moe_intermediate_size": 1408,
    "first_k_dense_replace": 1, "moe_layer_freq": 1, "torch_dtype": "bfloat16",
}  # fmt: skip
QWEN3_NEXT = {
    "architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "hidden_size": 2048,
    "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256,
    "intermediate_size": 5120, "vocab_size": 151936, "max_position_embeddings": 262144,
    "full_attention_interval": 4, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128,
    "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_value_head_dim": 128,
    "num_experts": 512, "num_experts_per_tok": 10, "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512, "decoder_sparse_step": 1, "norm_topk_prob": True,
    "torch_dtype": "bfloat16",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    name: str
    config: dict[str, Any]
    gib: float
    length: int
    tokens: int
    """What vLLM's own functions gave."""
    settings: dict[str, Any] = field(default_factory=dict)


GOLDEN = (
    Case("Qwen2.5-7B", QWEN25_7B, 3.5, 8192, 65_536),
    Case("Qwen2.5-7B, fp8", QWEN25_7B, 3.5, 8192, 131_072, {"kv_dtype": "fp8"}),
    Case("gpt-oss-20b", GPT_OSS_20B, 5, 8192, 143_945),
    Case("gpt-oss-20b, long", GPT_OSS_20B, 5, 131072, 211_602),
    Case("gpt-oss-20b, not hybrid", GPT_OSS_20B, 8, 131072, 174_752, {"hybrid_kv_cache": False}),
    Case("gpt-oss-120b", GPT_OSS_120B, 5.38, 131072, 151_778),
    Case("gpt-oss-120b, 8192", GPT_OSS_120B, 5.38, 131072, 139_142, {"max_num_batched_tokens": 8192}),
    Case("gemma3-12b, 8k", GEMMA3_12B, 12, 8192, 47_549),
    Case("gemma3-12b, 32k", GEMMA3_12B, 12, 32768, 110_225),
    Case("gemma3-12b, 128k", GEMMA3_12B, 12, 131072, 164_398),
    Case("gemma3-27b", GEMMA3_27B, 24, 32768, 162_108),
    Case("DeepSeek-V2-Lite", DEEPSEEK_V2_LITE, 8, 32768, 276_160, {"block_size": 64}),
)


def held(facts: ModelFacts, gib: float, settled: Resolved) -> KvCapacity:
    found = capacity(specs(facts, settled), int(gib * GIB), settled)
    assert found is not None
    return found


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.name)
def test_tokens_are_what_vllm_gives_for_these_bytes(case: Case) -> None:
    found = held(read(case.config, name=case.name), case.gib, settled(case.length, **case.settings))
    assert found.tokens == case.tokens
    assert found.fits


def test_a_qwen25_7b_token_takes_57344_bytes() -> None:
    found = held(read(QWEN25_7B, name="q"), 3.5, settled(8192))
    assert found.bytes_per_block == 16 * 57_344


@pytest.mark.parametrize(
    ("length", "gpus", "block", "tokens"),
    [(8192, 1, 1056, 241_664), (262144, 1, 1056, 424_570), (8192, 4, 528, None)],
)
def test_blocks_grow_until_one_holds_a_state(length: int, gpus: int, block: int, tokens: int | None) -> None:
    facts = with_float32_states(read(QWEN3_NEXT, name="next"))
    found = held(facts, 10, settled(length, tensor_parallel=gpus))
    assert found.block_size == block
    assert tokens is None or found.tokens == tokens


def test_states_in_the_models_own_dtype_need_half_the_block() -> None:
    assert held(read(QWEN3_NEXT, name="next"), 10, settled(8192)).block_size == 544


def with_float32_states(facts: ModelFacts) -> ModelFacts:
    """As `--mamba-ssm-cache-dtype float32`, or a config that says so, makes them."""

    def wide(state: StateCache | None) -> StateCache | None:
        return state and replace(state, dtype="float32")

    layers = facts.layers
    return replace(
        facts,
        layers=tuple(
            replace(layer, attention=replace(layer.attention, state=wide(layer.attention.state)))
            for layer in layers
        ),
    )


@dataclass(frozen=True)
class Start:
    """A start of vLLM 0.25 on an H100: what it was given and what it said."""

    config: dict[str, Any]
    gib: float
    """As logged, to 0.01."""
    length: int
    batch: int
    blocks: int
    tokens: int


QWEN25_05B = QWEN2 | {
    "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
    "intermediate_size": 4864, "vocab_size": 151936, "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
}  # fmt: skip
QWEN25_14B = QWEN2 | {
    "hidden_size": 5120, "num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8,
    "intermediate_size": 13824, "vocab_size": 152064, "max_position_embeddings": 32768,
}  # fmt: skip
LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
    "vocab_size": 128256, "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
}  # fmt: skip
GEMMA3_1B = GEMMA3_12B | {
    "hidden_size": 1152, "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1,
    "intermediate_size": 6912, "vocab_size": 262144, "max_position_embeddings": 32768, "sliding_window": 512,
}  # fmt: skip
STARTS = (
    Start(QWEN25_05B, 21.67, 8192, 16384, 118_338, 1_893_408),
    Start(QWEN25_7B, 4.86, 8192, 16384, 5_684, 90_944),
    Start(QWEN25_7B, 54.6, 32768, 16384, 63_901, 1_022_416),
    Start(QWEN25_7B, 6.02, 8192, 2048, 7_043, 112_688),
    Start(GEMMA3_1B, 18.96, 32768, 8192, 310_641, 1_914_081),
    Start(QWEN25_7B, 15.7, 16384, 2048, 18_378, 294_048),
    Start(DEEPSEEK_V2_LITE, 16.86, 16384, 8192, 36_381, 582_096),
    Start(QWEN25_14B, 11.52, 16384, 2048, 3_933, 62_928),
    Start(LLAMA_8B, 23.26, 8192, 8192, 11_907, 190_512),
    Start(QWEN25_7B, 14.93, 16384, 2048, 17_475, 279_600),
    Start(QWEN25_05B, 6.5, 8192, 2048, 35_524, 568_384),
)


@pytest.mark.parametrize("start", STARTS)
def test_what_an_h100_reported_follows_from_its_bytes(start: Start) -> None:
    """The log rounds bytes to 0.01 GiB, so the truth lies between both ends of that."""
    facts = read(start.config, name="m")
    found = settled(start.length, max_num_batched_tokens=start.batch, vllm="0.25", async_scheduling=False)
    low, high = (held(facts, start.gib + end, found) for end in (-0.005, 0.005))
    assert low.num_blocks * 0.9995 <= start.blocks <= high.num_blocks * 1.0005
    assert low.tokens * 0.9995 <= start.tokens <= high.tokens * 1.0005


def test_an_h100_named_the_longest_context_that_fits() -> None:
    facts = read(LLAMA_8B, name="m")
    found = settled(131072, vllm="0.25", async_scheduling=False)
    low, high = (held(facts, 6.1 + end, found) for end in (-0.005, 0.005))
    assert not high.fits
    assert low.longest <= 50_000 <= high.longest
