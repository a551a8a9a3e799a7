"""`quantization_config` -> Quantization: how the stored weights are packed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from infctl.models import Method, Quantization
from infctl.models.reader import WIDTH_MAX, Reader

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
        "quark": ("other", 8),
    }
)
"""The method as a config writes it -> what it is to us, and its bits where the config names none."""

MXFP4_GROUP = 32
"""Weights that share a scale."""


def quantization(outer: Reader, inner: Reader) -> Quantization | None:
    """Of the whole config, else of its text part, as vLLM looks for it. None: stored as they are."""
    for reader, key in (
        (outer, "quantization_config"),
        (outer, "compression_config"),
        (inner, "quantization_config"),
        (inner, "compression_config"),
    ):
        if (found := reader.below(key)) is not None:
            return _read(found)
    return None


def _read(config: Reader) -> Quantization | None:
    name = _name(config)
    if not name:
        config.wrong("quant_method", "is missing", f"one of {', '.join(METHODS)}")
        return None
    method, bits = METHODS.get(name, ("other", 16))
    if name == "compressed-tensors":
        return _compressed(config, name)
    if name == "bitsandbytes":
        bits = 8 if config.flag("load_in_8bit", default=False) else 4
    else:
        bits = config.count("bits", "w_bit", "wbits", most=32, default=bits)
    group = config.count("group_size", "q_group_size", most=WIDTH_MAX, least=-1, default=_group(name))
    zero = config.flag("zero_point", default=method == "awq")
    if method == "gptq":
        zero = True  # its tensors are stored with symmetric scales too
    return Quantization(method, bits, group, zero, _tile(config, "weight_block_size"), _skipped(config), name)


def _name(config: Reader) -> str:
    """In vLLM's spelling; ModelOpt writes a producer instead of a method."""
    name = config.text("quant_method").lower().replace("compressed_tensors", "compressed-tensors")
    legacy = config.tree.get("quantization")
    producer = config.tree.get("producer")
    if isinstance(legacy, Mapping) and isinstance(producer, Mapping) and producer.get("name") == "modelopt":
        return "modelopt_fp4" if str(legacy.get("quant_algo", "")).upper() == "NVFP4" else "modelopt"
    if name == "modelopt" and str(config.tree.get("quant_algo", "")).upper() == "NVFP4":
        return "modelopt_fp4"
    if not name and (
        config.flag("load_in_4bit", default=False) or config.flag("load_in_8bit", default=False)
    ):
        return "bitsandbytes"
    return name


def _group(name: str) -> int:
    return {"mxfp4": MXFP4_GROUP, "gpt_oss_mxfp4": MXFP4_GROUP, "modelopt_fp4": 16}.get(name, 0)


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
