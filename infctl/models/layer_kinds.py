"""Which kind of attention each layer has, by the words of a config and the habits of its family.

`layer_types` decides where it is written and the family's code in vLLM reads it; else the family's own rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from infctl.models.families import Family, Kinds
from infctl.models.reader import CONTEXT_MAX, LAYERS_MAX, Reader

Kind = Literal["full", "sliding", "chunked", "state", "both", "none"]
"""both: attention and a state side by side in one layer."""

_WORDS: dict[str, Kind] = {
    "full_attention": "full",
    "attention": "full",
    "full": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "state",
    "mamba": "state",
    "mamba2": "state",
    "hybrid": "both",
    "mlp": "none",
    "moe": "none",
}
FULL: Kind = "full"
SLIDING: Kind = "sliding"
STATE: Kind = "state"
BOTH: Kind = "both"
CHUNKED: Kind = "chunked"
_NEMOTRON: dict[str, str] = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}


def layer_words(config: Reader, family: Family, layers: int) -> tuple[str, ...]:
    """The words the config writes, one a layer; empty where it writes none."""
    if family.kinds == "nemotron_h" and (pattern := config.text("hybrid_override_pattern")):
        if unknown := set(pattern) - set(_NEMOTRON):
            config.wrong(
                "hybrid_override_pattern", f"{unknown.pop()!r} names no kind of layer", "M, *, - and E"
            )
            return ()
        words = tuple(_NEMOTRON[letter] for letter in pattern)
        key = "hybrid_override_pattern"
    else:
        key = "layers_block_type" if config.get("layers_block_type") is not None else "layer_types"
        words = config.words(key)
    if words and len(words) != layers:
        if config.sound("num_hidden_layers"):
            config.wrong(
                key, f"names {len(words):,} layers, num_hidden_layers {layers:,}", f"{layers:,} words"
            )
        return ()
    return words


def layer_kinds(config: Reader, family: Family, words: tuple[str, ...], layers: int) -> tuple[Kind, ...]:
    """One a layer; `words` as `layer_words` found them."""
    if family.kinds == "falcon_h1":
        return (BOTH,) * layers
    if family.kinds == "state":
        return (STATE,) * layers
    if words and family.kinds != "even":
        return _written(config, family, words)
    return _RULES[family.kinds](config, family, layers)


def _written(config: Reader, family: Family, words: tuple[str, ...]) -> tuple[Kind, ...]:
    kinds = tuple(_WORDS.get(word, "full") for word in words)
    if family.kinds == "nemotron_h" and has_window(config):
        kinds = tuple(SLIDING if kind == "full" else kind for kind in kinds)
    if "sliding" in kinds and config.get("sliding_window") is None:
        config.wrong("sliding_window", "is missing, but layers are sliding", "the window in tokens")
    return kinds


def _window_everywhere(config: Reader, _family: Family, layers: int) -> tuple[Kind, ...]:
    return (SLIDING if has_window(config) else FULL,) * layers


def _qwen2(config: Reader, _family: Family, layers: int) -> tuple[Kind, ...]:
    """A window only where it is switched on, and then from a layer on."""
    if not has_window(config) or not config.flag("use_sliding_window", default=False):
        return (FULL,) * layers
    first = config.count("max_window_layers", most=LAYERS_MAX, least=0, default=28)
    return tuple(SLIDING if layer >= first else FULL for layer in range(layers))


def _qwen2_moe(config: Reader, family: Family, layers: int) -> tuple[Kind, ...]:
    if not config.flag("use_sliding_window", default=False):
        return (FULL,) * layers
    return _window_everywhere(config, family, layers)


def _every(config: Reader, family: Family, layers: int) -> tuple[Kind, ...]:
    pattern = config.count("sliding_window_pattern", most=LAYERS_MAX, default=family.pattern)
    if not has_window(config):
        return (FULL,) * layers
    return tuple(SLIDING if (layer + 1) % pattern else FULL for layer in range(layers))


def _even(config: Reader, _family: Family, layers: int) -> tuple[Kind, ...]:
    """GPT-OSS in vLLM: by the layer's number, whatever `layer_types` says."""
    window = has_window(config)
    return tuple(SLIDING if window and layer % 2 == 0 else FULL for layer in range(layers))


def _llama4(config: Reader, _family: Family, layers: int) -> tuple[Kind, ...]:
    """Layers with rotary positions see their chunk only."""
    chunk = config.maybe("attention_chunk_size", most=CONTEXT_MAX)
    rotary = no_rope_layers(config, layers)
    return tuple(CHUNKED if chunk and has_rope else FULL for has_rope in rotary)


def _smollm3(config: Reader, _family: Family, layers: int) -> tuple[Kind, ...]:
    if not (config.flag("use_sliding_window", default=False) and has_window(config)):
        return (FULL,) * layers
    return tuple(FULL if has_rope else SLIDING for has_rope in no_rope_layers(config, layers))


def _linear(config: Reader, family: Family, layers: int) -> tuple[Kind, ...]:
    interval = config.count("full_attention_interval", most=LAYERS_MAX, default=family.pattern)
    return tuple(STATE if (layer + 1) % interval else FULL for layer in range(layers))


def _bamba(config: Reader, _family: Family, layers: int) -> tuple[Kind, ...]:
    full = set(config.whole_numbers("attn_layer_indices", most=LAYERS_MAX))
    return tuple(FULL if layer in full else STATE for layer in range(layers))


def _unwritten(config: Reader, _family: Family, layers: int) -> tuple[Kind, ...]:
    if config.sound("layer_types", "layers_block_type", "hybrid_override_pattern", "num_hidden_layers"):
        config.wrong("layer_types", "is missing", f"{layers:,} words, attention or mamba")
    return (FULL,) * layers


def _full(_config: Reader, _family: Family, layers: int) -> tuple[Kind, ...]:
    return (FULL,) * layers


_RULES: dict[Kinds, Callable[[Reader, Family, int], tuple[Kind, ...]]] = {
    "plain": _window_everywhere,
    "qwen2": _qwen2,
    "qwen2_moe": _qwen2_moe,
    "every": _every,
    "even": _even,
    "llama4": _llama4,
    "smollm3": _smollm3,
    "linear": _linear,
    "mamba_words": _unwritten,
    "bamba": _bamba,
    "nemotron_h": _unwritten,
    "encoder": _full,
    "untaught": _full,  # its window may be that of a few layers only: better too much cache than too little
}


def has_window(config: Reader) -> bool:
    """0 and null switch it off."""
    return bool(config.maybe("sliding_window", most=CONTEXT_MAX, least=0))


def no_rope_layers(config: Reader, layers: int) -> tuple[int, ...]:
    """1 a layer with rotary positions, 0 without. Either written out, or every n-th is without."""
    written = config.whole_numbers("no_rope_layers", most=1)
    if written and len(written) != layers:
        config.wrong(
            "no_rope_layers", f"names {len(written):,} layers of {layers:,}", "a 0 or 1 for each layer"
        )
        return (1,) * layers
    every = config.count("no_rope_layer_interval", most=LAYERS_MAX, default=4)
    return written or tuple(int((layer + 1) % every != 0) for layer in range(layers))
