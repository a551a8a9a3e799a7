"""What a checkpoint holds: sums that are known in public, and what is said of single tensors."""

from __future__ import annotations

from typing import Any

import pytest

from infctl.models import ModelFacts, Weight
from infctl.models.config import facts as read
from infctl.models.inventory import parameters

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
}
LLAMA = QWEN2 | {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128_256,
}
GEMMA3 = {
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "hidden_size": 1152,
    "num_hidden_layers": 26,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "intermediate_size": 6912,
    "vocab_size": 262_144,
    "head_dim": 256,
    "max_position_embeddings": 32_768,
    "sliding_window": 512,
    "sliding_window_pattern": 6,
}
QWEN3_MOE = QWEN2 | {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "head_dim": 128,
    "intermediate_size": 6144,
    "vocab_size": 151_936,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
}
DEEPSEEK_V3 = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "vocab_size": 129_280,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "num_nextn_predict_layers": 1,
    "topk_method": "noaux_tc",
    "max_position_embeddings": 163_840,
    "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096},
}
ENCODER = {
    "architectures": ["XLMRobertaModel"],
    "model_type": "xlm-roberta",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "vocab_size": 250_002,
    "max_position_embeddings": 8194,
    "type_vocab_size": 1,
    "position_embedding_type": "absolute",
}


def model(config: dict[str, Any], **changes: Any) -> ModelFacts:
    return read(config | changes, name="it")


def tables(facts: ModelFacts) -> list[Weight]:
    return [weight for weight in facts.weights if weight.only == "card"]


@pytest.mark.parametrize(
    ("config", "numbers"),
    [
        (QWEN2, 7_615_616_512),
        (LLAMA, 8_030_261_248),
        (GEMMA3, 999_885_952),
        (QWEN3_MOE, 30_532_122_624),
        (DEEPSEEK_V3, 684_489_845_504),
        (ENCODER, 567_754_752),
    ],
    ids=["Qwen2.5-7B", "Llama-3.1-8B", "Gemma-3-1B", "Qwen3-30B-A3B", "DeepSeek-V3", "arctic-embed-l-v2"],
)
def test_a_model_has_as_many_parameters_as_its_page_says(config: dict[str, Any], numbers: int) -> None:
    assert parameters(model(config)) == numbers


def test_alike_tensors_are_counted_together() -> None:
    facts = model(DEEPSEEK_V3)
    assert len(facts.weights) < 60
    experts = next(w for w in facts.weights if w.name.endswith("experts.*.down_proj.weight"))
    assert experts.count == 256
    assert experts.layers == tuple(range(3, 61))


def test_the_layer_that_guesses_further_tokens_stays_in_the_file() -> None:
    facts = model(DEEPSEEK_V3)
    assert {w.only for w in facts.weights if w.layers == (61,)} == {"file"}
    assert parameters(model(DEEPSEEK_V3, num_nextn_predict_layers=0)) == 671_026_419_200


def test_a_tied_head_is_not_in_the_file() -> None:
    names = {w.name for w in model(QWEN2, tie_word_embeddings=True).weights}
    assert "lm_head.weight" not in names
    assert "lm_head.weight" in {w.name for w in model(QWEN2).weights}


def test_a_table_of_positions_is_as_long_as_the_context() -> None:
    (table,) = tables(model(LLAMA, max_position_embeddings=131_072))
    assert table.shape == (131_072, 128)
    assert not table.dtype


def test_a_model_that_turns_by_two_bases_has_two_tables() -> None:
    found = tables(model(GEMMA3))
    assert [table.shape for table in found] == [(32_768, 256), (32_768, 256)]
    assert found[1].layers == (5, 11, 17, 23)


@pytest.mark.parametrize(
    ("config", "scaling", "rows"),
    [
        (LLAMA, {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}, 32_768),
        (LLAMA, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}, 131_072),
        (LLAMA, {"type": "linear", "factor": 2.0}, 65_536),
        (LLAMA, {"type": "longrope", "original_max_position_embeddings": 4096}, 36_864),
    ],
)
def test_stretched_positions_make_a_longer_table(
    config: dict[str, Any], scaling: dict[str, Any], rows: int
) -> None:
    (table,) = tables(model(config, rope_scaling=scaling))
    assert table.shape == (rows, 128)


def test_a_latent_models_stretched_table_is_in_float32() -> None:
    (table,) = tables(model(DEEPSEEK_V3))
    assert (table.shape, table.dtype) == ((163_840, 64), "float32")


def test_encoders_and_states_turn_nothing() -> None:
    assert tables(model(ENCODER)) == []
    assert tables(model({"architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2", **MAMBA})) == []


MAMBA = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "vocab_size": 320,
    "num_heads": 8,
    "head_dim": 16,
    "state_size": 16,
    "n_groups": 2,
    "conv_kernel": 4,
    "expand": 2,
}


def test_an_embedder_leaves_its_pooler_in_the_file_and_a_scorer_has_a_head() -> None:
    assert {w.only for w in model(ENCODER).weights if "pooler" in w.name} == {"file"}
    scorer = model(ENCODER, architectures=["XLMRobertaForSequenceClassification"], id2label={"0": "LABEL_0"})
    head = [w for w in scorer.weights if w.name.startswith("classifier")]
    assert {w.dtype for w in head} == {"float32"}
    assert parameters(scorer) == 567_755_777


def test_an_unknown_architecture_is_taken_for_a_llama() -> None:
    facts = model(LLAMA, architectures=["BrandNewForCausalLM"], model_type="brand_new")
    assert not facts.known
    assert parameters(facts) == 8_030_261_248
