"""`calibration.json`: the edge of this folder. Replaced whole; two writers at once lose at most one start."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

from infctl import __version__
from infctl.atomic import cannot, replace
from infctl.calibration.known import ENTRIES_MAX, MEASURED_FIELDS, Calibration, Entry, canonical
from infctl.errors import EngineError, PlanError
from infctl.sizing import Measured

VERSION = 1
FILE_BYTES_MAX = 4 * 1024 * 1024
NUMBER_MAX = 2**60
"""Bytes, tokens or blocks: above it nobody measured anything."""


def load(path: Path) -> Calibration:
    """What the file holds; nothing where there is none. One that is damaged is moved to `<name>.corrupt`.

    Raises PlanError for a file that a newer infctl wrote, EngineError for one that cannot be read.
    """
    if path.exists() and not path.is_file():
        raise EngineError(
            f"{path} cannot be read: it is no file", hint="move it away: engines are measured again"
        )
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return Calibration()
    except OSError as error:
        raise cannot("read", path, error) from None
    try:
        return read(raw, str(path))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Calibration(warning=_set_aside(path))


def save(path: Path, calibration: Calibration) -> None:
    """Readable by its owner alone. Raises EngineError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise cannot("written", path, error) from None
    replace(path, written(calibration), mode=0o600)


def written(calibration: Calibration) -> bytes:
    book = {
        "version": VERSION,
        "writer": __version__,
        "engines": [_as_data(entry) for entry in calibration.entries],
    }
    return (json.dumps(book, indent=1) + "\n").encode()


def read(raw: bytes, name: str = "calibration.json") -> Calibration:
    """Raises PlanError for a newer one; ValueError, KeyError, TypeError, AttributeError for a damaged one."""
    if len(raw) > FILE_BYTES_MAX:
        raise ValueError("too long")
    book = json.loads(raw)
    version = book["version"]
    if not isinstance(version, int):
        raise TypeError("version")
    if version > VERSION:
        raise PlanError(
            f"{name} has format {version}, written by infctl {str(book.get('writer', '?'))[:40]}; this one "
            f"reads {VERSION}",
            hint="use that infctl, or move the file away: engines are measured again when they start",
        )
    found = {entry.key: entry for entry in map(_entry, book["engines"])}
    return Calibration(tuple(sorted(found.values(), key=lambda one: one.at)[-ENTRIES_MAX:]))


def _entry(data: Any) -> Entry:
    known = data["engine"]
    if not isinstance(known, dict) or not isinstance(known["args"], dict):
        raise TypeError("engine")
    planned = data.get("planned", {})
    at = float(data["at"])
    if not math.isfinite(at):
        raise ValueError("at")
    return Entry(
        key=canonical(known),
        measured=_measured(data["measured"]),
        at=at,
        vllm=str(data.get("vllm", "")),
        planned_tokens=_whole(planned.get("kv_tokens")),
        planned_blocks=_whole(planned.get("num_gpu_blocks")),
    )


def _measured(data: dict[str, Any]) -> Measured:
    """Fields that this version does not know are passed over."""
    concurrency = data.get("concurrency")
    if concurrency is not None and not (isinstance(concurrency, int | float) and math.isfinite(concurrency)):
        raise ValueError("concurrency")
    whole = {name: _whole(data[name]) for name in MEASURED_FIELDS if name in data and name != "concurrency"}
    starts = whole.pop("starts", None) or 1
    return Measured(**whole, concurrency=concurrency, starts=starts)


def _whole(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not -NUMBER_MAX < value < NUMBER_MAX:
        raise ValueError(repr(value)[:40])
    return value


def _as_data(entry: Entry) -> dict[str, Any]:
    said = {name: getattr(entry.measured, name) for name in MEASURED_FIELDS}
    data: dict[str, Any] = {
        "engine": json.loads(entry.key),
        "at": entry.at,
        "vllm": entry.vllm,
        "measured": {name: value for name, value in said.items() if value is not None},
    }
    if entry.planned_tokens is not None:
        data["planned"] = {"kv_tokens": entry.planned_tokens, "num_gpu_blocks": entry.planned_blocks}
    return data


def _set_aside(path: Path) -> str:
    aside = path.with_name(f"{path.name}.corrupt")
    # Another one who read it was faster, or the folder is not ours to change: nothing is lost by that.
    with contextlib.suppress(OSError):
        path.replace(aside)
        return f"{path.name} was damaged and was moved to {aside.name}; engines are measured again"
    return f"{path} is damaged and is not used; engines are measured again"
