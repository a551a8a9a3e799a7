"""The state that a mamba-like layer keeps a request, under each family's own keys."""

from __future__ import annotations

from infctl.models import StateCache
from infctl.models.families import Family
from infctl.models.reader import HEADS_MAX, WIDTH_MAX, Reader


def state_cache(config: Reader, family: Family, hidden: int) -> StateCache | None:
    """None: the family has none. Sizes whole, as vLLM's state shapes take them."""
    if family.state == "gdn":
        return _gdn(config)
    if family.state == "mamba1":
        return _mamba1(config, hidden)
    if family.state == "mamba2":
        return _mamba2(config, hidden)
    if family.state == "bamba":
        return _bamba(config, hidden)
    if family.state == "nemotron_h":
        return _nemotron_h(config)
    return None


def _gdn(config: Reader) -> StateCache:
    values = config.count("linear_num_value_heads", most=HEADS_MAX)
    keys = config.count("linear_num_key_heads", most=HEADS_MAX)
    if values % keys:
        config.wrong("linear_num_key_heads", f"{values:,} value heads cannot share {keys:,} key heads evenly")
    return StateCache(
        "gdn",
        conv_kernel=config.count("linear_conv_kernel_dim", most=WIDTH_MAX),
        heads=values,
        head_dim=config.count("linear_value_head_dim", most=WIDTH_MAX),
        groups=keys,
        state=config.count("linear_key_head_dim", most=WIDTH_MAX),
        dtype=_dtype(config, "mamba_ssm_dtype"),
    )


def _mamba1(config: Reader, hidden: int) -> StateCache:
    inner = config.count(
        "intermediate_size", most=WIDTH_MAX, default=config.count("expand", most=64) * hidden
    )
    return StateCache(
        "mamba1",
        conv_kernel=config.count("conv_kernel", most=WIDTH_MAX),
        state=config.count("state_size", most=WIDTH_MAX),
        inner=inner,
    )


def _mamba2(config: Reader, hidden: int) -> StateCache:
    return StateCache(
        "mamba2",
        conv_kernel=config.count("conv_kernel", most=WIDTH_MAX),
        heads=config.count("num_heads", most=HEADS_MAX),
        head_dim=config.count("head_dim", most=WIDTH_MAX),
        groups=config.count("n_groups", most=HEADS_MAX),
        state=config.count("state_size", most=WIDTH_MAX),
        inner=config.count("expand", most=64) * hidden,
    )


def _bamba(config: Reader, hidden: int) -> StateCache:
    """Bamba, Granite 4, Falcon H1."""
    heads = config.count("mamba_n_heads", most=HEADS_MAX)
    inner = config.maybe("mamba_d_ssm", most=WIDTH_MAX) or int(config.number("mamba_expand", 2) * hidden)
    if config.get("mamba_d_head") == "auto":
        if inner % heads:
            config.wrong("mamba_n_heads", f"{heads:,} heads cannot share a width of {inner:,} evenly")
        head_dim = max(1, inner // heads)
    else:
        head_dim = config.count("mamba_d_head", most=WIDTH_MAX)
    return StateCache(
        "mamba2",
        conv_kernel=config.count("mamba_d_conv", most=WIDTH_MAX),
        heads=heads,
        head_dim=head_dim,
        groups=config.count("mamba_n_groups", most=HEADS_MAX),
        state=config.count("mamba_d_state", most=WIDTH_MAX),
        inner=inner,
    )


def _nemotron_h(config: Reader) -> StateCache:
    heads = config.count("mamba_num_heads", most=HEADS_MAX)
    head_dim = config.count("mamba_head_dim", most=WIDTH_MAX)
    return StateCache(
        "mamba2",
        conv_kernel=config.count("conv_kernel", most=WIDTH_MAX),
        heads=heads,
        head_dim=head_dim,
        groups=config.count("n_groups", most=HEADS_MAX),
        state=config.count("ssm_state_size", most=WIDTH_MAX),
        inner=heads * head_dim,
        dtype=_dtype(config, "mamba_ssm_cache_dtype"),
    )


def _dtype(config: Reader, key: str) -> str:
    value = config.text(key, "auto")
    if value not in {"auto", "float32", "float16", "bfloat16"}:
        config.wrong(key, f'"{value[:40]}" is not a dtype', "float32, bfloat16, float16 or auto")
        return "auto"
    return value
