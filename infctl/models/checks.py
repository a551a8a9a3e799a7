"""Keys that only the list of tensors reads: looked at before, so that it may take their types for granted."""

from __future__ import annotations

from infctl.models.reader import CONTEXT_MAX, LAYERS_MAX, VOCAB_MAX, WIDTH_MAX, Reader

_COUNTS = {
    "type_vocab_size": VOCAB_MAX,
    "num_labels": VOCAB_MAX,
    "num_nextn_predict_layers": LAYERS_MAX,
    "mtp_num_hidden_layers": LAYERS_MAX,
    "q_lora_rank": WIDTH_MAX,
    "mamba_dt_rank": WIDTH_MAX,
    "original_max_position_embeddings": CONTEXT_MAX,
}
"""Key -> at most; 0 and null say there is none."""
_WORDS = ("position_embedding_type", "topk_method")
_RANKS = ("time_step_rank",)
"""A number, or the word auto."""


def check_rest(config: Reader) -> None:
    for key, most in _COUNTS.items():
        config.maybe(key, most=most, least=0)
    for key in _WORDS:
        config.text(key)
    for key in _RANKS:
        if config.get(key) != "auto":
            config.maybe(key, most=WIDTH_MAX)
    config.number("partial_rotary_factor", 1.0)
    config.below("id2label")


def check_rope(rope: Reader) -> None:
    """Of one kind of layer."""
    rope.maybe("original_max_position_embeddings", most=CONTEXT_MAX)
    rope.number("partial_rotary_factor", 1.0)
    rope.number("factor", 1.0)
