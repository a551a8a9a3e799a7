"""`quantization_config` -> Quantization: how the stored weights are packed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from infctl.models import Method, Quantization
from infctl.models.reader import BESIDE, WIDTH_MAX, Reader

METHODS: Mapping[str, tuple[Method, int]] = MappingProxyType(
    {
        "awq": ("awq", 4),
        "awq_marlin": ("awq", 4),
        "gptq": ("gptq", 4),
        "gptq_marlin": ("gptq", 4),
        "fp8": ("fp8", 8),
        "fbgemm_fp8": ("fp8", 8),
        "mxfp4": ("mxfp4", 4),
        "gpt_oss_mxfp4": ("mxfp4", 4),
        "compressed-tensors": ("compressed-tensors", 8),
        "bitsandbytes": ("bitsandbytes", 4),
        "modelopt": ("other", 8),
        "modelopt_fp4": ("other", 4),
        "modelopt_mxfp8": ("other", 8),
        "quark": ("other", 8),
    }
)
"""The method as a config writes it -> what it is to us, and its bits where the config names none."""

GROUPS: Mapping[str, int] = MappingProxyType(
    {"mxfp4": 32, "gpt_oss_mxfp4": 32, "modelopt_fp4": 16, "modelopt_mxfp8": 32}
)
"""Weights that share a scale, where the format fixes it."""


MODELOPT: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "FP8": ("modelopt", 8),
        "FP8_PER_CHANNEL_PER_TOKEN": ("modelopt", 8),
        "FP8_PB_WO": ("modelopt", 8),
        "MXFP8": ("modelopt_mxfp8", 8),
        "NVFP4": ("modelopt_fp4", 4),
        "MIXED_PRECISION": ("modelopt_mixed", 8),
    }
)
"""ModelOpt's `quant_algo` -> vLLM's name of it, and its bits."""


def four_bits(method: Literal["awq", "gptq"] = "awq") -> Quantization:
    """As the checkpoints that the hub has most of."""
    return Quantization(method, bits=4, group_size=128, zero_points=True, name=method)


def quantization(
    outer: Reader, inner: Reader, beside: Mapping[str, Any] | None = None
) -> Quantization | None:
    """Of the whole config, else of a file beside it, else of its text part, as vLLM looks for it.

    None: the weights are stored as they are.
    """
    apart = None if beside is None else Reader(beside, outer.problems, BESIDE)
    for found in (
        outer.below("quantization_config"),
        outer.below("compression_config"),
        apart,
        inner.below("quantization_config"),
        inner.below("compression_config"),
    ):
        if found is not None:
            return _read(found)
    return None


def _read(config: Reader) -> Quantization | None:
    if algorithm := _modelopt(config):
        return _of_modelopt(config, algorithm)
    name = config.text("quant_method").lower().replace("compressed_tensors", "compressed-tensors")
    if not name and any(config.flag(key, default=False) for key in ("load_in_4bit", "load_in_8bit")):
        name = "bitsandbytes"
    if not name:
        config.wrong("quant_method", "is missing", f"one of {', '.join(METHODS)}")
        return None
    if name == "compressed-tensors":
        return _compressed(config, name)
    method, bits = METHODS.get(name, ("other", 16))
    if name == "bitsandbytes":
        bits = 8 if config.flag("load_in_8bit", default=False) else 4
    else:
        bits = config.count("bits", "w_bit", "wbits", most=32, default=bits)
    group = config.count("group_size", "q_group_size", most=WIDTH_MAX, least=-1, default=GROUPS.get(name, 0))
    # GPTQ stores zero points, symmetric or not.
    zero = method == "gptq" or config.flag("zero_point", default=method == "awq")
    return Quantization(method, bits, group, zero, _tile(config, "weight_block_size"), _skipped(config), name)


def _modelopt(config: Reader) -> str:
    """Its algorithm, written at the top or below `quantization`; empty where ModelOpt did not make it."""
    name = config.text("quant_method")
    if name and not name.startswith("modelopt"):
        return ""
    nested = config.tree.get("quantization")
    written = nested.get("quant_algo") if isinstance(nested, Mapping) else config.tree.get("quant_algo")
    return str(written).upper()[:40] if isinstance(written, str) else ""


def _of_modelopt(config: Reader, algorithm: str) -> Quantization:
    name, bits = MODELOPT.get(algorithm, (algorithm.lower(), 16))
    inner = config.below("quantization") or config
    group = inner.count("group_size", most=WIDTH_MAX, least=-1, default=GROUPS.get(name, 0))
    return Quantization("other", bits, group, skip=_skipped(inner), name=name)


def _tile(config: Reader, key: str) -> tuple[int, int] | None:
    tile = config.whole_numbers(key, most=WIDTH_MAX)
    if not tile:
        return None
    if len(tile) != 2 or 0 in tile:
        config.wrong(key, "is not a tile", "two whole numbers: [128, 128]")
        return None
    return tile[0], tile[1]


def _skipped(config: Reader) -> tuple[str, ...]:
    for key in (
        "modules_to_not_convert",
        "ignored_layers",
        "ignore",
        "llm_int8_skip_modules",
        "exclude_modules",
    ):
        if found := config.words(key):
            return found
    return ()


def _compressed(config: Reader, name: str) -> Quantization:
    """Of the first group that speaks of weights: where there are several, they differ in what they skip."""
    skip = _skipped(config)
    groups = config.below("config_groups")
    for key in groups.tree if groups else ():
        group = groups.below(key) if groups else None
        weights = group.below("weights") if group else None
        if weights is None:
            continue
        bits = weights.count("num_bits", most=32, default=8)
        size = weights.count("group_size", most=WIDTH_MAX, least=-1, default=0)
        symmetric = weights.flag("symmetric", default=True)
        block = (
            _tile(weights, "block_structure") if isinstance(weights.get("block_structure"), list) else None
        )
        return Quantization("compressed-tensors", bits, size, not symmetric, block, skip, name)
    return Quantization(
        "compressed-tensors", 16 if groups is None else 8, 0, zero_points=False, skip=skip, name=name
    )
