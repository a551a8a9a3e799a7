"""The header of a safetensors file: every tensor's name, type, shape and place. The weights are not read.

A file begins with the header's length (eight bytes, little-endian), then the header (JSON), then the numbers.
A checkpoint in several files has `model.safetensors.index.json`, which says which tensor is in which.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infctl.errors import PlanError, Problem

HEADER_BYTES_MAX = 100 * 2**20
"""The format's own limit."""
TENSORS_MAX = 200_000
"""In all files of a checkpoint. The largest seen has about 92,000."""
FILES_MAX = 2_000
DIMENSIONS_MAX = 16
INDEX_BYTES_MAX = 64 * 2**20
"""Of model.safetensors.index.json; the largest seen has 9 MiB."""
LENGTH_BYTES = 8
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    dtype: str
    """As the file writes it: BF16, F8_E4M3, I32."""
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Headers:
    tensors: tuple[Tensor, ...]
    bytes_by_dtype: Mapping[str, int] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        """Of all numbers."""
        return sum(self.bytes_by_dtype.values())


@dataclass(frozen=True, slots=True)
class Index:
    files: tuple[str, ...]
    """Sorted; names only, no folders."""
    total_bytes: int | None
    """As the one who saved it counted; None: not written."""


def read(file: Path) -> Headers:
    """Of one local file. Raises PlanError with the file and the reason where it is damaged."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = header_length(stream.read(LENGTH_BYTES), str(file))
            return parse(stream.read(length), str(file), size)
    except OSError as error:
        raise damaged(str(file), f"it cannot be read: {error.strerror or error}") from None


def read_index(file: Path) -> Index:
    """Raises PlanError."""
    try:
        with file.open("rb") as stream:
            return parse_index(stream.read(INDEX_BYTES_MAX + 1), str(file))
    except OSError as error:
        raise damaged(str(file), f"it cannot be read: {error.strerror or error}") from None


def merged(parts: Iterable[Headers], what: str) -> Headers:
    """The headers of a checkpoint's files as one. Raises PlanError where they hold the same tensor twice."""
    tensors: dict[str, Tensor] = {}
    for part in parts:
        for tensor in part.tensors:
            if tensor.name in tensors:
                raise damaged(what, f"{_short(tensor.name)} is in two of its files")
            tensors[tensor.name] = tensor
        if len(tensors) > TENSORS_MAX:
            raise damaged(what, f"it has more than {TENSORS_MAX:,} tensors")
    return _headers(tensors.values())


def header_length(first: bytes, file: str) -> int:
    """From the first eight bytes. Raises PlanError."""
    if len(first) < LENGTH_BYTES:
        raise damaged(file, f"it has {len(first)} bytes; the length of the header alone takes {LENGTH_BYTES}")
    length = int.from_bytes(first[:LENGTH_BYTES], "little")
    if first.startswith(b"version "):
        raise damaged(file, "it is a pointer of git-lfs, not the weights", "run git lfs pull")
    if not 2 <= length <= HEADER_BYTES_MAX:
        raise damaged(file, f"its header would have {length:,} bytes; a header has 2 to {HEADER_BYTES_MAX:,}")
    return length


def parse(header: bytes, file: str, size: int | None = None) -> Headers:
    """`header` as header_length announced it; `size`: of the whole file, None: unknown. Raises PlanError."""
    length = LENGTH_BYTES + len(header)
    # Counted before it is read: as Python's values, JSON takes many times its bytes.
    if header.count(b"{") > TENSORS_MAX + 2 or header.count(b",") > TENSORS_MAX * (DIMENSIONS_MAX + 4):
        raise damaged(file, f"it has more than {TENSORS_MAX:,} tensors")
    tree = _json(header, file)
    tensors = []
    end_max = 0
    for name, entry in tree.items():
        if name == "__metadata__":
            continue
        tensor, end = _tensor(name, entry, file)
        tensors.append(tensor)
        end_max = max(end_max, end)
    if size is not None and size < length + end_max:
        missing = length + end_max - size
        raise damaged(
            file, f"it ends {missing:,} bytes too early", "the download was cut; fetch the file again"
        )
    held = sum(tensor.bytes for tensor in tensors)
    if held != end_max:
        raise damaged(file, f"its tensors take {held:,} bytes and reach to byte {end_max:,}")
    return _headers(tensors)


def parse_index(text: bytes, file: str) -> Index:
    """Of model.safetensors.index.json. Raises PlanError."""
    if len(text) > INDEX_BYTES_MAX:
        raise damaged(file, f"it is longer than {INDEX_BYTES_MAX // 2**20} MiB")
    tree = _json(text, file)
    places = tree.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise damaged(file, '"weight_map" is not a mapping of tensors to files')
    if len(places) > TENSORS_MAX:
        raise damaged(file, f"it has more than {TENSORS_MAX:,} tensors")
    names = set(places.values()) if all(isinstance(name, str) for name in places.values()) else {""}
    if len(names) > FILES_MAX:
        raise damaged(file, f"it names more than {FILES_MAX:,} files")
    for name in names:
        if not _plain(name):
            raise damaged(file, f"{_short(str(name))} is not the name of a file beside it")
    metadata = tree.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    if isinstance(total, float) and total.is_integer():
        total = int(total)
    known = isinstance(total, int) and not isinstance(total, bool) and 0 < total < 2**60
    return Index(tuple(sorted(names)), total if known else None)


def damaged(file: str, why: str, hint: str = "") -> PlanError:
    return PlanError(
        f"{file} is damaged: {why}",
        problems=[Problem(why, path=file, hint=hint or "fetch the file again, or look whose it is")],
    )


def _tensor(name: str, entry: Any, file: str) -> tuple[Tensor, int]:
    """And where it ends, counted from the first number."""
    if not isinstance(entry, dict):
        raise damaged(file, f"the entry of {_short(name)} is not a mapping")
    dtype, shape, offsets = (
        entry.get("dtype"),
        _counts(entry.get("shape")),
        _counts(entry.get("data_offsets")),
    )
    if not isinstance(dtype, str) or shape is None or offsets is None or len(offsets) != 2:
        raise damaged(file, f"the entry of {_short(name)} lacks dtype, shape or data_offsets")
    begin, end = offsets
    bits = _BITS.get(dtype)
    if begin > end or (bits is not None and (end - begin) * 8 != math.prod(shape) * bits):
        raise damaged(file, f"{_short(name)} ({dtype[:20]}, {shape[:8]}) cannot take {end - begin:,} bytes")
    return Tensor(name, dtype, tuple(shape), end - begin), end


def _counts(value: Any) -> list[int] | None:
    """A short list of whole numbers from 0; as JSON has them, `True` is none of them."""
    if not isinstance(value, list) or len(value) > DIMENSIONS_MAX:
        return None
    fits = all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**60 for n in value)
    return value if fits else None


def _headers(tensors: Iterable[Tensor]) -> Headers:
    kept = tuple(tensors)
    by_dtype: dict[str, int] = {}
    for tensor in kept:
        by_dtype[tensor.dtype] = by_dtype.get(tensor.dtype, 0) + tensor.bytes
    return Headers(kept, by_dtype)


def _json(text: bytes, file: str) -> dict[str, Any]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        raise damaged(file, "what should be JSON is not") from None
    if not isinstance(tree, dict):
        raise damaged(file, "its JSON is not a mapping")
    return tree


def _plain(name: Any) -> bool:
    return (
        isinstance(name, str)
        and name.endswith(".safetensors")
        and len(name) <= 255
        and not {"/", "\\", "\0"} & set(name)
        and not name.startswith(".")
    )


def _short(name: str) -> str:
    shown = name if len(name) <= 80 else name[:77] + "..."
    return repr(shown)
