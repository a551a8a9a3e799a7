"""Configs on stdin; on stdout the tensors of transformers' own model classes, without any bytes.

Run by a Python that has transformers and torch; see test_parameters.py.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any


def tensors(config: dict[str, Any]) -> dict[str, list[Any]]:
    """Name without the layer's number -> [numbers in all, shape]."""
    import torch
    import transformers

    told = {key: value for key, value in config.items() if key not in {"architectures", "model_type"}}
    made = transformers.CONFIG_MAPPING[config["model_type"]](**told)
    with torch.device("meta"):
        model = getattr(transformers, config["architectures"][0])(made)
    found: dict[str, list[Any]] = {}
    kept = [(name, value) for name, value in model.named_buffers() if "correction_bias" in name]
    for name, value in [*model.named_parameters(), *kept]:
        entry = found.setdefault(re.sub(r"\.\d+\.", ".*.", name), [0, list(value.shape)])
        entry[0] += value.numel()
    return found


if __name__ == "__main__":
    json.dump([tensors(config) for config in json.load(sys.stdin)], sys.stdout)
