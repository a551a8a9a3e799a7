"""Layers that differ from each other, or from attention: windows, chunks, states, shared caches, experts."""

from typing import Any

import pytest

from infctl.errors import PlanError
from infctl.models import FeedForward, ModelFacts, StateCache
from infctl.models.config import Beside, facts


def _config(family: str, layers: int, **more: Any) -> dict[str, Any]:
    return {
        "model_type": family,
        "hidden_size": 1024,
        "num_hidden_layers": layers,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "intermediate_size": 2048,
        "vocab_size": 32_000,
    } | more


def _read(config: dict[str, Any], **more: Any) -> ModelFacts:
    return facts(config, name="a model", **more)


def _letters(read: ModelFacts) -> str:
    """One a layer: full, sliding, chunked, linear (a state), k for shared, none, mla, both, e for encoder."""
    words = {
        "full": "f",
        "sliding": "s",
        "chunked": "c",
        "state": "l",
        "shared": "k",
        "none": "-",
        "mla": "m",
    }
    return "".join(
        "b" if one.attention.kind == "full" and one.attention.state else words.get(one.attention.kind, "e")
        for one in read.layers
    )


def _widths(read: ModelFacts) -> list[tuple[int, int, int]]:
    """(dense, experts, width of one) a layer."""
    parts = [layer.feed_forward for layer in read.layers]
    return [(part.dense, part.experts, part.expert_width) for part in parts]


def test_llama_4_chunks_where_positions_rotate_and_has_experts_in_every_nth_layer() -> None:
    text = _config("llama4_text", 8, intermediate_size_mlp=4096, interleave_moe_layer_step=2)
    config = {
        "architectures": ["Llama4ForConditionalGeneration"],
        "model_type": "llama4",
        "text_config": text,
    }
    read = _read(config)
    assert _letters(read) == "cccfcccf"
    assert read.layers[0].attention.window == 8192
    assert _widths(read)[:2] == [(4096, 0, 0), (2048, 16, 2048)]
    without = text | {"no_rope_layers": [0, 1, 0, 1, 0, 1, 0, 1]}
    assert _letters(_read(config | {"text_config": without})) == "fcfcfcfc"
    assert _letters(_read(config | {"text_config": text | {"attention_chunk_size": None}})) == "f" * 8


def test_cohere_2_sees_one_token_more_than_its_window_says() -> None:
    read = _read(_config("cohere2", 8, sliding_window=4096))
    assert _letters(read) == "sssfsssf"
    assert read.layers[0].attention.window == 4097


def test_gemma_3n_shares_the_caches_of_its_last_layers() -> None:
    read = _read(_config("gemma3n", 10, num_kv_shared_layers=4, intermediate_size=[512] * 5 + [1024] * 5))
    assert _letters(read) == "ssssfskkkk"
    assert [width for width, _, _ in _widths(read)] == [512] * 5 + [1024] * 5


def test_qwen3_next_keeps_a_state_in_three_of_four_layers() -> None:
    read = _read(_config("qwen3_next", 8, num_key_value_heads=2))
    assert _letters(read) == "lllflllf"
    state = StateCache("gdn", conv_kernel=4, heads=32, head_dim=128, groups=16, state=128)
    assert read.layers[0].attention.state == state
    assert (read.hybrid, read.encoder_only) == (True, False)
    assert _widths(read)[0] == (512, 512, 512)


def test_qwen3_5_says_its_states_dtype() -> None:
    text = _config("qwen3_5_text", 4, full_attention_interval=2, mamba_ssm_dtype="float32")
    read = _read(
        {"architectures": ["Qwen3_5ForConditionalGeneration"], "text_config": text, "vision_config": {}}
    )
    assert _letters(read) == "lflf"
    assert read.layers[0].attention.state is not None
    assert read.layers[0].attention.state.dtype == "float32"
    assert "not counted" in read.warnings[0]


def test_granite_4_mixes_states_and_attention_with_experts_and_a_shared_width() -> None:
    config = _config("granitemoehybrid", 4, layer_types=["mamba", "mamba", "attention", "mamba"])
    config |= {"mamba_n_heads": 32, "mamba_d_head": 64, "num_local_experts": 62, "num_experts_per_tok": 6}
    read = _read(config | {"shared_intermediate_size": 1536, "intermediate_size": 512})
    assert _letters(read) == "llfl"
    state = StateCache("mamba2", conv_kernel=4, heads=32, head_dim=64, groups=1, state=256, inner=2048)
    assert read.layers[0].attention.state == state
    assert _widths(read)[0] == (1536, 62, 512)
    assert _widths(_read(config | {"num_local_experts": 0}))[0] == (1024, 0, 0)


def test_falcon_h1_keeps_a_cache_and_a_state_in_each_layer() -> None:
    read = _read(_config("falcon_h1", 3, mamba_d_ssm=1536, mamba_n_heads=24, mamba_d_head=64, head_dim=64))
    assert _letters(read) == "bbb"
    assert read.hybrid
    assert read.layers[0].attention.state is not None
    assert read.layers[0].attention.state.inner == 1536


def test_bamba_names_its_attention_layers_and_when_vllm_dropped_it() -> None:
    read = _read(_config("bamba", 6, attn_layer_indices=[1, 4], mamba_n_heads=32))
    assert _letters(read) == "lfllfl"
    assert read.warnings == ("vLLM runs bamba up to 0.23 only",)


def test_nemotron_h_is_one_thing_a_layer() -> None:
    config = _config("nemotron_h", 5, hybrid_override_pattern="M-M*E")
    read = _read(config)
    assert _letters(read) == "l-lf-"
    assert read.layers[1].feed_forward == FeedForward(2048, gated=False)
    assert read.layers[4].feed_forward == FeedForward(7688, False, 8, 2, 7688)
    assert read.layers[0].feed_forward == read.layers[3].feed_forward == FeedForward()
    assert read.layers[0].attention.state == StateCache(
        "mamba2", conv_kernel=4, heads=128, head_dim=64, groups=8, state=128, inner=8192, dtype="float32"
    )
    listed = _config("nemotron_h", 5, layers_block_type=["mamba", "mlp", "mamba", "attention", "moe"])
    del listed["num_hidden_layers"]
    assert _read(listed).layers == read.layers


def test_mamba_has_nothing_but_states() -> None:
    config = {"architectures": ["MambaForCausalLM"], "model_type": "mamba", "hidden_size": 768}
    read = _read(config | {"num_hidden_layers": 4, "vocab_size": 50_280})
    assert _letters(read) == "llll"
    assert read.layers[0].attention.state == StateCache("mamba1", conv_kernel=4, state=16, inner=1536)
    assert read.layers[0].feed_forward == FeedForward()
    assert "2,048 tokens, as vLLM assumes" in read.warnings[0]


def test_mixtral_has_experts_in_every_layer() -> None:
    assert set(_widths(_read(_config("mixtral", 4, intermediate_size=14_336)))) == {(0, 8, 14_336)}


def test_qwen_moe_may_keep_layers_dense() -> None:
    config = _config("qwen2_moe", 4, decoder_sparse_step=2, mlp_only_layers=[3])
    assert _widths(_read(config)) == [(2048, 0, 0), (5632, 60, 1408), (2048, 0, 0), (2048, 0, 0)]


def test_qwen_2_with_a_window_in_some_layers_does_not_start() -> None:
    config = _config("qwen2", 4, use_sliding_window=True, max_window_layers=2, sliding_window=128)
    read = _read(config)
    assert _letters(read) == "ffss"
    assert "does not start" in read.warnings[0]
    assert _read(config | {"max_window_layers": 4}).warnings[:1] == ()


def test_kimi_k2_is_a_deepseek_v3() -> None:
    read = _read(_config("kimi_k2", 3, first_k_dense_replace=1))
    assert _letters(read) == "mmm"
    assert read.layers[0].attention.latent == 576
    assert _widths(read) == [(2048, 0, 0), (2048, 256, 2048), (2048, 256, 2048)]


def test_embedding_gemma_and_encoders_without_rules_keep_no_cache() -> None:
    gemma = _config("gemma3_text", 4, architectures=["Gemma3TextModel"], use_bidirectional_attention=True)
    assert _letters(_read(gemma)) == "eeee"
    nomic = {"architectures": ["NomicBertModel"], "model_type": "nomic_bert", "n_embd": 768, "n_head": 12}
    read = _read(nomic | {"n_layer": 12, "n_inner": 3072, "vocab_size": 30_528, "n_positions": 2048})
    assert _letters(read) == "e" * 12
    assert (read.known, read.pooling, read.context) == (False, True, 2048)
    assert "planned like an encoder without a cache" in read.warnings[0]


def test_an_unknown_family_gets_more_cache_rather_than_too_little() -> None:
    """Its window may be that of a few layers only; its own list of layers is believed."""
    config = _config("foo", 3, sliding_window=128)
    assert _letters(_read(config)) == "fff"
    assert _letters(_read(config | {"layer_types": ["sliding_attention", "full_attention", "odd"]})) == "sff"


def test_a_strange_architecture_in_a_known_family_is_not_taken_for_known() -> None:
    read = _read(_config("qwen2", 2, architectures=["FooForCausalLM"]))
    assert not read.known
    assert read.warnings[0] == (
        "no rules for FooForCausalLM: planned like its family, qwen2, with a wide band"
    )
    for architecture in ("Qwen2ForCausalLM", "Qwen2ForRewardModel", "Qwen2Model"):
        assert _read(_config("qwen2", 2, architectures=[architecture])).known


def test_a_bidirectional_decoder_keeps_no_cache() -> None:
    read = _read(_config("llama", 2, architectures=["LlamaBidirectionalModel"]))
    assert (_letters(read), read.known, read.pooling) == ("ee", True, True)


def test_an_unknown_family_with_experts_has_them_everywhere() -> None:
    read = _read(_config("foo", 2, n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=256))
    assert _widths(read) == [(0, 8, 256)] * 2


def test_qwen3_embedding_is_a_decoder_whatever_its_task() -> None:
    config = _config("qwen3", 2, architectures=["Qwen3ForSequenceClassification"], head_dim=128)
    read = _read(config)
    assert (_letters(read), read.pooling) == ("ff", True)
    assert _read(config, beside=Beside(pooling=False)).pooling is False


@pytest.mark.parametrize(
    ("family", "change", "path"),
    [
        ("granitemoehybrid", {}, "layer_types"),
        ("nemotron_h", {"hybrid_override_pattern": "M-X*E"}, "hybrid_override_pattern"),
        ("gemma3n", {"num_kv_shared_layers": 5}, "num_kv_shared_layers"),
        ("gemma2", {"sliding_window": None, "layer_types": ["sliding_attention"] * 5}, "sliding_window"),
        ("falcon_h1", {"mamba_n_heads": 7}, "mamba_n_heads"),
        ("qwen3_next", {"linear_num_key_heads": 7}, "linear_num_key_heads"),
        ("qwen3_next", {"mamba_ssm_dtype": "int4"}, "mamba_ssm_dtype"),
        ("llama4_text", {"no_rope_layers": [1, 0]}, "no_rope_layers"),
        ("llama", {"num_attention_heads": 2048, "num_key_value_heads": 1}, "head_dim"),
        ("deepseek_v3", {"num_experts_per_tok": 300}, "num_experts_per_tok"),
        ("llama", {"num_hidden_layers": 10**9, "layer_types": ["full_attention"] * 5}, "num_hidden_layers"),
    ],
)
def test_what_does_not_fit_together_is_told_once(family: str, change: dict[str, Any], path: str) -> None:
    more = {"intermediate_size_mlp": 1} if family == "llama4_text" else {}
    with pytest.raises(PlanError) as caught:
        _read(_config(family, 5) | more | change)
    assert [problem.path for problem in caught.value.problems] == [path]
