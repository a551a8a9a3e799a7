"""The 16 bits (or 32) that `--dtype auto` chooses, as vLLM resolves it on a card that knows bfloat16."""

from __future__ import annotations

from infctl.models.reader import Reader

DTYPES = {
    "float16": "float16",
    "half": "float16",
    "bfloat16": "bfloat16",
    "float32": "float32",
    "float": "float32",
}
_OTHER_FLOATS = {"float64", "double", "float8_e4m3fn", "float8_e5m2"}
"""Torch knows them; vLLM runs no model in them and falls back."""


def auto_dtype(outer: Reader, inner: Reader, *, pooling: bool, float16: bool) -> str:
    """`float16`: the family runs in it. A float32 checkpoint is cut to 16 bits, float16 for pooling."""
    preferred = "float16" if pooling and float16 else "bfloat16"
    stored = written_dtype(outer, inner)
    if stored in {"", "float32"} or (stored == "float16" and not float16) or stored in _OTHER_FLOATS:
        return preferred
    return stored


def written_dtype(outer: Reader, inner: Reader) -> str:
    """As the config names it, in torch's words; empty where it does not."""
    vision = outer.below("vision_config") if isinstance(outer.get("vision_config"), dict) else None
    for reader in (outer, inner, vision):
        for key in ("dtype", "torch_dtype"):
            if reader is None or not (written := reader.text(key)):
                continue
            word = written.removeprefix("torch.")
            if word in DTYPES or word in _OTHER_FLOATS:
                return DTYPES.get(word, word)
            if word != "auto":
                reader.wrong(key, f'"{written[:40]}" is not a dtype', "bfloat16, float16 or float32")
    return ""
