"""The numbers of the conversion, without a model."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.stack


def test_rotary_rows_come_back_to_where_the_other_format_took_them_from() -> None:
    import numpy as np

    from infctl.packaged.llama_gguf import rotary_order

    heads, size, columns = 3, 8, 5
    weights = np.arange(heads * size * columns, dtype=np.float32).reshape(heads * size, columns)
    interleaved = weights.reshape(heads, 2, size // 2, columns).swapaxes(1, 2).reshape(weights.shape)
    assert not np.array_equal(interleaved, weights)
    assert np.array_equal(rotary_order(interleaved, heads), weights)


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (1.0, 0x3F80),
        (-2.0, 0xC000),
        (0.0, 0),
        (1.00390625, 0x3F80),
        (1.01171875, 0x3F82),
        (3.1415927, 0x4049),
    ],
)
def test_bfloat16_rounds_to_the_nearest_and_ties_to_even(value: float, bits: int) -> None:
    import numpy as np

    from infctl.packaged.llama_gguf import bfloat16

    assert int.from_bytes(bfloat16(np.array([value], dtype=np.float32)), "little") == bits


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("blk.3.attn_q.weight", "model.layers.3.self_attn.q_proj.weight"),
        ("blk.29.ffn_norm.weight", "model.layers.29.post_attention_layernorm.weight"),
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
    ],
)
def test_names_are_the_hubs(theirs: str, ours: str) -> None:
    from infctl.packaged.llama_gguf import hub_name

    assert hub_name(theirs) == ours


@pytest.mark.parametrize("name", ["blk.3.attn_q.bias", "rope_freqs.weight", "blk.0.ffn_gate_exps.weight"])
def test_a_tensor_without_a_place_is_refused_by_name(name: str) -> None:
    from infctl.errors import EngineError
    from infctl.packaged.llama_gguf import hub_name

    with pytest.raises(EngineError, match=name):
        hub_name(name)
