"""The feed-forward part of every layer: dense, experts, or both."""

from __future__ import annotations

from collections.abc import Callable

from infctl.models import Attention, FeedForward
from infctl.models.families import Experts, Family
from infctl.models.reader import EXPERTS_MAX, LAYERS_MAX, WIDTH_MAX, Reader

NOTHING = FeedForward()

_CHOSEN = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "experts_per_token",
    "top_k_experts",
    "moe_topk",
    "moe_top_k",
)


def feed_forward(
    config: Reader, family: Family, words: tuple[str, ...], layers: tuple[Attention, ...]
) -> tuple[FeedForward, ...]:
    """One a layer, whole. `words`: what the config calls its layers, empty where it does not."""
    if family.kinds == "state":
        return (NOTHING,) * len(layers)
    if family.kinds == "nemotron_h":
        return _nemotron_h(config, words, len(layers))
    return _RULES[family.experts](config, family, len(layers))


def _dense(config: Reader, family: Family, layers: int) -> tuple[FeedForward, ...]:
    return tuple(FeedForward(width, family.gated) for width in _widths(config, layers))


def _widths(config: Reader, layers: int) -> tuple[int, ...]:
    """`intermediate_size`: one number, or one a layer (Gemma 3n)."""
    if isinstance(config.get("intermediate_size"), list | tuple):
        widths = config.whole_numbers("intermediate_size", most=WIDTH_MAX)
        if len(widths) != layers and config.sound("intermediate_size"):
            config.wrong(
                "intermediate_size", f"names {len(widths):,} layers of {layers:,}", "one number for all"
            )
        return widths if len(widths) == layers else (1,) * layers
    keys = ("intermediate_size", "ffn_hidden_size", "n_inner")
    return (config.count(*keys, most=WIDTH_MAX),) * layers


def _routed(
    config: Reader, *, count: tuple[str, ...], width: tuple[str, ...], shared: int = 0, gated: bool = True
) -> FeedForward:
    """A layer with experts; `shared` is the width of what every token takes besides."""
    experts = config.count(*count, most=EXPERTS_MAX)
    each = config.count(*_CHOSEN, most=EXPERTS_MAX)
    if each > experts and config.sound("num_experts_per_tok", count[0]):
        config.wrong("num_experts_per_tok", f"{each:,} of {experts:,} experts", f"at most {experts:,}")
    return FeedForward(
        dense=shared,
        gated=gated,
        experts=experts,
        experts_per_token=each,
        expert_width=config.count(*width, most=WIDTH_MAX),
    )


def _all(config: Reader, _family: Family, layers: int) -> tuple[FeedForward, ...]:
    """Mixtral, GPT-OSS, Granite MoE, Phi MoE."""
    return (_routed(config, count=("num_local_experts",), width=("intermediate_size",)),) * layers


def _hybrid(config: Reader, _family: Family, layers: int) -> tuple[FeedForward, ...]:
    """Granite 4: a shared width always, experts where there are any."""
    shared = config.count("shared_intermediate_size", most=WIDTH_MAX)
    if not config.maybe("num_local_experts", most=EXPERTS_MAX, least=0):
        return (FeedForward(shared),) * layers
    return (
        _routed(config, count=("num_local_experts",), width=("intermediate_size",), shared=shared),
    ) * layers


def _sparse_step(config: Reader, family: Family, layers: int) -> tuple[FeedForward, ...]:
    """Qwen MoE: every n-th layer has experts, but for those listed."""
    if not config.maybe("num_experts", most=EXPERTS_MAX, least=0):
        return _dense(config, family, layers)
    step = config.count("decoder_sparse_step", most=LAYERS_MAX, default=1)
    listed = set(config.whole_numbers("mlp_only_layers", most=LAYERS_MAX))
    shared = config.maybe("shared_expert_intermediate_size", most=WIDTH_MAX, least=0) or 0
    routed = _routed(config, count=("num_experts",), width=("moe_intermediate_size",), shared=shared)
    sparse = [layer not in listed and (layer + 1) % step == 0 for layer in range(layers)]
    dense = (routed,) * layers if all(sparse) else _dense(config, family, layers)
    return tuple(routed if is_sparse else one for is_sparse, one in zip(sparse, dense, strict=True))


def _first_dense(config: Reader, family: Family, layers: int) -> tuple[FeedForward, ...]:
    """DeepSeek: the first layers are dense, then each has experts."""
    if not config.maybe("n_routed_experts", most=EXPERTS_MAX, least=0):
        return _dense(config, family, layers)
    first = config.count("first_k_dense_replace", most=LAYERS_MAX, least=0)
    step = config.count("moe_layer_freq", most=LAYERS_MAX, default=1)
    width = config.count("moe_intermediate_size", most=WIDTH_MAX)
    shared = (config.maybe("n_shared_experts", most=EXPERTS_MAX, least=0) or 0) * width
    routed = _routed(config, count=("n_routed_experts",), width=("moe_intermediate_size",), shared=shared)
    sparse = [layer >= first and layer % step == 0 for layer in range(layers)]
    dense = (routed,) * layers if all(sparse) else _dense(config, family, layers)
    return tuple(routed if is_sparse else one for is_sparse, one in zip(sparse, dense, strict=True))


def _interleaved(config: Reader, _family: Family, layers: int) -> tuple[FeedForward, ...]:
    """Llama 4: every n-th layer has experts and one shared of the same width."""
    step = config.count("interleave_moe_layer_step", most=LAYERS_MAX, least=0, default=1)
    width = config.count("intermediate_size", most=WIDTH_MAX)
    routed = _routed(config, count=("num_local_experts",), width=("intermediate_size",), shared=width)
    sparse = [step > 0 and (layer + 1) % step == 0 for layer in range(layers)]
    if all(sparse):
        return (routed,) * layers
    dense = FeedForward(config.count("intermediate_size_mlp", most=WIDTH_MAX))
    return tuple(routed if is_sparse else dense for is_sparse in sparse)


def _generic(config: Reader, family: Family, layers: int) -> tuple[FeedForward, ...]:
    """Nobody taught us this one: experts in every layer, if the usual keys name some."""
    keys = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    if not any(config.maybe(key, most=EXPERTS_MAX, least=0) for key in keys):
        return _dense(config, family, layers)
    named = tuple(key for key in keys if config.get(key))
    return (_routed(config, count=named, width=("moe_intermediate_size", "intermediate_size")),) * layers


def _nemotron_h(config: Reader, words: tuple[str, ...], layers: int) -> tuple[FeedForward, ...]:
    """Each layer is one thing only: attention, a state, a dense part or experts."""
    made: dict[str, FeedForward] = {}
    if "mlp" in words:
        made["mlp"] = FeedForward(config.count("intermediate_size", most=WIDTH_MAX), gated=False)
    if "moe" in words:
        shared = config.count("n_shared_experts", most=EXPERTS_MAX, least=0) * config.count(
            "moe_shared_expert_intermediate_size", most=WIDTH_MAX
        )
        made["moe"] = _routed(
            config, count=("n_routed_experts",), width=("moe_intermediate_size",), shared=shared, gated=False
        )
    return tuple(made.get(word, NOTHING) for word in words) or (NOTHING,) * layers


_RULES: dict[Experts, Callable[[Reader, Family, int], tuple[FeedForward, ...]]] = {
    "none": _dense,
    "all": _all,
    "hybrid": _hybrid,
    "sparse_step": _sparse_step,
    "first_dense": _first_dense,
    "interleaved": _interleaved,
    "generic": _generic,
}
