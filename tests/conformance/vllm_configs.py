"""Run by a Python that has vLLM: configs from stdin, what vLLM reads out of each to stdout."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from vllm.config.model import _get_and_verify_dtype, _get_and_verify_max_len
from vllm.transformers_utils.config import get_config, get_hf_text_config
from vllm.transformers_utils.model_arch_config_convertor import (
    MODEL_ARCH_CONFIG_CONVERTORS,
    ModelArchConfigConvertorBase,
)


def read(case: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(case["config"]))
        outer = get_config(folder, trust_remote_code=False)
        # A folder without weights: a config that names no dtype counts as float32.
        dtype = _get_and_verify_dtype(folder, outer, "auto", is_pooling_model=case["pooling"])
    text = get_hf_text_config(outer)
    convertor = MODEL_ARCH_CONFIG_CONVERTORS.get(outer.model_type, ModelArchConfigConvertorBase)
    arch = convertor(outer, text).convert()
    window = getattr(text, "sliding_window", None) or None
    absolute = case["pooling"] and getattr(outer, "position_embedding_type", "") == "absolute"
    length = case["beside"].get("tokenizer_max_length")
    seen = case["beside"].get("max_seq_length")
    longest = _get_and_verify_max_len(
        hf_config=text,
        model_arch_config=arch,
        tokenizer_config={"model_max_length": length} if absolute and length else None,
        max_model_len=None,
        disable_sliding_window=False,
        sliding_window=window,
        encoder_config={"max_seq_length": seen} if seen else None,
    )
    return {
        "layers": arch.total_num_hidden_layers,
        "hidden": arch.hidden_size,
        "vocab": arch.vocab_size,
        "head": arch.head_size,
        "kv_heads": 1 if arch.is_deepseek_mla else arch.total_num_kv_heads,
        "mla": arch.is_deepseek_mla,
        "quantized": bool(arch.quantization_config),
        "default_context": longest,
        "dtype": str(dtype).removeprefix("torch."),
        "window": window,
        "layer_types": getattr(text, "layer_types", None),
        "tied": bool(getattr(text, "tie_word_embeddings", False)),
    }


if __name__ == "__main__":
    json.dump([read(case) for case in json.load(sys.stdin)], sys.stdout)
