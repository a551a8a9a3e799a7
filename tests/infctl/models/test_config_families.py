"""Each family's config, as its hub page has it in the keys that matter, gives the facts vLLM goes by."""

from collections import Counter
from typing import Any

import pytest

from infctl.models import FeedForward, ModelFacts
from infctl.models.config import Beside, facts


def _dense(
    family: str, architecture: str, hidden: int, layers: int, heads: int, **more: Any
) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "model_type": family,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "vocab_size": 32_000,
        "max_position_embeddings": 32_768,
        "torch_dtype": "bfloat16",
    } | more


def _read(config: dict[str, Any], **more: Any) -> ModelFacts:
    return facts(config, name="a model", **more)


def _kinds(read: ModelFacts) -> Counter[tuple[str, int, int, int | None]]:
    """(kind, KV heads, head size, window) -> layers."""
    return Counter(
        (one.attention.kind, one.attention.kv_heads, one.attention.head_dim, one.attention.window)
        for one in read.layers
    )


def _experts(read: ModelFacts) -> Counter[FeedForward]:
    return Counter(layer.feed_forward for layer in read.layers)


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}


def test_llama_3_1_has_its_context_written_and_llama3_scaling_does_not_multiply_it() -> None:
    config = _dense("llama", "LlamaForCausalLM", 4096, 32, 32, num_key_value_heads=8)
    read = _read(config | {"max_position_embeddings": 131_072, "rope_scaling": LLAMA3})
    assert _kinds(read) == {("full", 8, 128, None): 32}
    assert (read.context, read.default_context, read.known, read.pooling) == (131_072, None, True, False)
    assert read.warnings == ()


def test_llama_2_without_key_value_heads_has_one_for_each_head() -> None:
    assert _kinds(_read(_dense("llama", "LlamaForCausalLM", 4096, 32, 32))) == {("full", 32, 128, None): 32}


def test_linear_scaling_multiplies_the_context_and_yarn_does_not() -> None:
    config = _dense("llama", "LlamaForCausalLM", 4096, 2, 32, max_position_embeddings=4096)
    assert _read(config | {"rope_scaling": {"type": "linear", "factor": 4.0}}).context == 16_384
    assert _read(config | {"rope_scaling": {"type": "dynamic", "factor": 2.0}}).context == 8192
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
    assert _read(config | {"rope_parameters": yarn}).context == 4096


def test_longrope_starts_with_less_than_it_takes() -> None:
    config = _dense("phi3", "Phi3ForCausalLM", 3072, 32, 32, max_position_embeddings=131_072)
    scaling = {"rope_scaling": {"type": "longrope"}, "original_max_position_embeddings": 4096}
    read = _read(config | scaling | {"sliding_window": 262_144})
    assert (read.context, read.default_context) == (131_072, 4096)


def test_phi_3_mini_is_sliding_in_every_layer() -> None:
    config = _dense(
        "phi3", "Phi3ForCausalLM", 3072, 32, 32, max_position_embeddings=4096, sliding_window=2047
    )
    assert _kinds(_read(config)) == {("sliding", 32, 96, 2047): 32}


@pytest.mark.parametrize(("window", "kind"), [(None, "full"), (4096, "sliding"), (0, "full")])
def test_mistral_is_sliding_only_where_a_window_is_written(window: int | None, kind: str) -> None:
    config = _dense(
        "mistral", "MistralForCausalLM", 4096, 32, 32, num_key_value_heads=8, sliding_window=window
    )
    assert {layer.attention.kind for layer in _read(config).layers} == {kind}


def test_qwen2_writes_a_window_and_does_not_use_it() -> None:
    config = _dense("qwen2", "Qwen2ForCausalLM", 3584, 28, 28, num_key_value_heads=4)
    read = _read(config | {"sliding_window": 131_072, "max_window_layers": 28, "use_sliding_window": False})
    assert _kinds(read) == {("full", 4, 128, None): 28}


def test_qwen3_writes_its_head_size() -> None:
    config = _dense("qwen3", "Qwen3ForCausalLM", 1024, 28, 16, num_key_value_heads=8, head_dim=128)
    assert _kinds(_read(config)) == {("full", 8, 128, None): 28}


def test_gemma_2_slides_in_every_other_layer_from_the_first() -> None:
    config = _dense("gemma2", "Gemma2ForCausalLM", 3584, 42, 16, num_key_value_heads=8, head_dim=256)
    read = _read(config | {"sliding_window": 4096, "final_logit_softcapping": 30.0, "torch_dtype": "float16"})
    assert [layer.attention.kind for layer in read.layers[:3]] == ["sliding", "full", "sliding"]
    assert (read.scale_logits_soft_cap, read.tied_embeddings, read.dtype) == (True, True, "bfloat16")


def test_gemma_3_slides_in_five_of_six_layers() -> None:
    config = _dense("gemma3_text", "Gemma3ForCausalLM", 1152, 26, 4, num_key_value_heads=1, head_dim=256)
    read = _read(config | {"sliding_window": 512, "sliding_window_pattern": 6})
    assert _kinds(read) == {("sliding", 1, 256, 512): 22, ("full", 1, 256, None): 4}
    assert [layer.attention.kind for layer in read.layers].index("full") == 5


def test_gemma_3_with_images_leaves_most_to_its_class_and_is_read_below_text_config() -> None:
    text = {
        "model_type": "gemma3_text",
        "hidden_size": 2560,
        "intermediate_size": 10_240,
        "num_hidden_layers": 34,
        "sliding_window": 1024,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    }
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": text,
        "torch_dtype": "bfloat16",
        "vision_config": {"hidden_size": 1152},
    }
    read = _read(config)
    assert _kinds(read) == {("sliding", 4, 256, 1024): 29, ("full", 4, 256, None): 5}
    assert (read.context, read.vocab, read.multimodal, read.dtype) == (131_072, 262_208, True, "bfloat16")


def test_gpt_oss_slides_in_even_layers_and_is_packed_by_32() -> None:
    config = _dense("gpt_oss", "GptOssForCausalLM", 2880, 24, 64, num_key_value_heads=8, head_dim=64)
    config |= {
        "sliding_window": 128,
        "num_local_experts": 32,
        "num_experts_per_tok": 4,
        "intermediate_size": 2880,
        "layer_types": ["sliding_attention", "full_attention"] * 12,
        "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]},
    }
    read = _read(config)
    assert _kinds(read) == {("sliding", 8, 64, 128): 12, ("full", 8, 64, None): 12}
    assert read.layers[0].attention.kind == "sliding"
    assert _experts(read) == {FeedForward(0, True, 32, 4, 2880): 24}
    assert read.quantization is not None
    assert (read.quantization.method, read.quantization.group_size) == ("mxfp4", 32)


DEEPSEEK_V2_LITE = _dense("deepseek_v2", "DeepseekV2ForCausalLM", 2048, 27, 16, num_key_value_heads=16) | {
    "intermediate_size": 10_944,
    "kv_lora_rank": 512,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "moe_intermediate_size": 1408,
    "first_k_dense_replace": 1,
    "moe_layer_freq": 1,
}


def test_deepseek_v2_keeps_one_latent_a_token_and_its_first_layer_is_dense() -> None:
    read = _read(DEEPSEEK_V2_LITE)
    assert {(one.attention.kind, one.attention.latent) for one in read.layers} == {("mla", 576)}
    assert read.mla_heads == (16, 128, 128, 64)
    assert read.layers[0].feed_forward == FeedForward(10_944)
    assert _experts(read)[FeedForward(2816, True, 64, 6, 1408)] == 26


@pytest.mark.parametrize(
    ("architecture", "pooling"),
    [("XLMRobertaModel", True), ("XLMRobertaForSequenceClassification", True)],
)
def test_xlm_roberta_keeps_no_cache_and_runs_in_float16(architecture: str, *, pooling: bool) -> None:
    config = _dense("xlm-roberta", architecture, 1024, 24, 16, max_position_embeddings=8194)
    read = _read(config | {"torch_dtype": "float32", "position_embedding_type": "absolute"})
    assert (read.encoder_only, read.pooling, read.dtype, read.context) == (True, pooling, "float16", 8194)


def test_files_beside_the_config_shorten_an_encoder() -> None:
    config = _dense("bert", "BertModel", 384, 6, 12, max_position_embeddings=512)
    assert _read(config, beside=Beside(max_seq_length=256)).context == 256
    absolute = config | {"position_embedding_type": "absolute"}
    assert _read(absolute, beside=Beside(tokenizer_max_length=128)).context == 128
    assert _read(config, beside=Beside(tokenizer_max_length=128)).context == 512


def test_a_decoder_that_embeds_keeps_its_cache() -> None:
    config = _dense("qwen3", "Qwen3ForCausalLM", 1024, 28, 16, num_key_value_heads=8, head_dim=128)
    read = _read(config, beside=Beside(pooling=True))
    assert (read.pooling, read.encoder_only) == (True, False)


def test_a_decoder_that_sees_both_ways_keeps_none() -> None:
    config = _dense("qwen2", "Qwen2Model", 1536, 28, 12, num_key_value_heads=2)
    assert _read(config | {"is_causal": False}).encoder_only


@pytest.mark.parametrize(
    ("stored", "pooling", "runs"),
    [
        ("float32", False, "bfloat16"),
        ("float32", True, "float16"),
        (None, False, "bfloat16"),
        ("float16", False, "float16"),
        ("bfloat16", True, "bfloat16"),
    ],
)
def test_auto_dtype_cuts_32_bits_to_16(stored: str | None, runs: str, *, pooling: bool) -> None:
    config = _dense("llama", "LlamaForCausalLM", 512, 2, 8)
    del config["torch_dtype"]
    for key in ("dtype", "torch_dtype"):
        assert _read(config | {key: stored}, beside=Beside(pooling=pooling)).dtype == runs


def test_a_family_that_is_not_stable_in_float16_pools_in_bfloat16() -> None:
    config = _dense("gemma2", "Gemma2Model", 512, 2, 8, head_dim=64, torch_dtype="float32")
    assert (_read(config).pooling, _read(config).dtype) == (True, "bfloat16")


def test_null_is_no_value() -> None:
    config = _dense("bert", "BertModel", 384, 6, 12, max_position_embeddings=512)
    assert _read(config | {"type_vocab_size": None}) == _read(config)


def test_an_architecture_nobody_taught_us_is_planned_with_a_warning() -> None:
    read = _read(_dense("foo", "FooForCausalLM", 4096, 32, 32, num_key_value_heads=8))
    assert not read.known
    assert read.warnings == ("no rules for FooForCausalLM: planned like a dense GQA model, with a wide band",)
    assert _kinds(read) == {("full", 8, 128, None): 32}
