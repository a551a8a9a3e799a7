"""A model's small files, wherever they lie: what is read of them before they become ModelFacts.

`Files` is what a folder, a cache or the hub gives; `beside` reads the ones next to config.json.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from infctl.errors import Location, PlanError, Problem
from infctl.models import ModelFacts, headers
from infctl.models.config import Beside, facts, read_config
from infctl.models.document import BYTES_MAX as CONFIG_BYTES_MAX

CONFIG = "config.json"
TOKENIZER_BYTES_MAX = 16 * 2**20
"""Of tokenizer_config.json, which may list added tokens."""
LENGTH_MAX = 2**31
"""Tokens; tokenizers write 10^30 for "no limit"."""

SENTENCE_FILES = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
"""Where sentence-transformers keeps max_seq_length, in the order vLLM looks."""

WHAT_TO_NAME = "name a config.json, a folder with one, or a hub id such as Qwen/Qwen2.5-7B-Instruct"

Fetch = Callable[[str, int], bytes | None]
"""(name, bytes at most) -> the file beside config.json; None: not there."""


@dataclass(frozen=True, slots=True)
class Files:
    """What was found of one model."""

    config: str
    """The text of config.json."""
    place: str
    """Its path or address, for messages."""
    origin: str
    """In words for a person."""
    beside: Beside = field(default_factory=Beside)
    stored_bytes: int | None = None
    """Of all tensors; None: not looked at."""
    warnings: tuple[str, ...] = ()


def to_facts(files: Files, name: str) -> ModelFacts:
    """Raises PlanError with the places in config.json of what is wrong."""
    tree, where = read_config(files.config, files.place)
    found = facts(tree, name=name, where=where, beside=files.beside)
    return replace(
        found,
        stored_bytes=files.stored_bytes,
        origin=files.origin,
        warnings=(*found.warnings, *files.warnings),
    )


def read_folder(folder: Path, origin: str) -> Files:
    """A model's folder: config.json, and the headers of its safetensors files where they are there.

    Raises PlanError where config.json is missing, cannot be read or weights are damaged.
    """
    config = read_text(folder / CONFIG)
    stored, said = stored_bytes(folder)
    return Files(
        config=config,
        place=str(folder / CONFIG),
        origin=f"{origin}, {said}",
        beside=beside(local(folder), config),
        stored_bytes=stored,
    )


def read_text(file: Path) -> str:
    """A config.json, bounded. Raises PlanError."""
    try:
        raw = read_bytes(file, CONFIG_BYTES_MAX)
    except (OSError, ValueError) as error:
        raise _no_config(file, error) from None
    return decoded(raw, str(file))


def read_bytes(file: Path, most: int) -> bytes:
    """One byte more than `most` where the file is longer. Raises OSError, for a pipe or a device as well."""
    # Whoever opens a pipe waits for its writer, unless told not to.
    opened = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(opened, "rb") as stream:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise OSError(errno.EINVAL, "not a file, but a folder, a pipe or a device")
        return stream.read(most + 1)


def decoded(raw: bytes, place: str) -> str:
    """As UTF-8, which alone vLLM reads: with anything else the engine would not start. Raises PlanError."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(raw) > CONFIG_BYTES_MAX:  # cut inside a character, perhaps; its length is told instead
            return raw.decode("utf-8-sig", errors="replace")
        before = raw[: error.start]
        where = Location(place, before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        problem = Problem(f"not UTF-8: byte 0x{raw[error.start]:02x}", where=where, hint="save it as UTF-8")
        raise PlanError(f"{place} is not a model config", problems=[problem]) from None


def stored_bytes(folder: Path) -> tuple[int | None, str]:
    """Of all tensors, and how that is known, in words. A checkpoint that is not all there is not counted."""
    index = folder / headers.INDEX
    if index.is_file():
        found = headers.read_index(index)
        parts = [folder / name for name in found.files]
        if all(part.is_file() for part in parts):
            return headers.merged(map(headers.read, parts), str(index)).total_bytes, "weights from headers"
        return found.total_bytes, "weights from the index" if found.total_bytes else "weights computed"
    parts = [folder / headers.SINGLE]
    if not parts[0].is_file():
        every = sorted(folder.glob("*.safetensors"))[: headers.FILES_MAX]
        # Mistral's own form of the same weights lies beside the hub's.
        parts = [part for part in every if not part.name.startswith("consolidated")] or every
    if not parts:
        return None, "weights computed"
    return headers.merged(map(headers.read, parts), str(folder)).total_bytes, "weights from headers"


def local(folder: Path) -> Fetch:
    def fetch(name: str, most: int) -> bytes | None:
        try:
            return read_bytes(folder / name, most)
        except OSError:
            return None

    return fetch


def beside(fetch: Fetch, config: str) -> Beside:
    """What the files beside config.json say. A file that is damaged says nothing, as for vLLM."""
    pooled = fetch("modules.json", CONFIG_BYTES_MAX) is not None
    if not pooled and not _encodes(config):
        return Beside()
    length = None
    for name in SENTENCE_FILES:
        if (found := _tree(fetch(name, CONFIG_BYTES_MAX))) is not None:
            length = _length(found.get("max_seq_length"))
            break
    tokenizer = _tree(fetch("tokenizer_config.json", TOKENIZER_BYTES_MAX)) or {}
    return Beside(length, _length(tokenizer.get("model_max_length")), True if pooled else None)


def _encodes(config: str) -> bool:
    """Worth looking for a sentence encoder's files: no generating architecture is named."""
    architectures = (_tree(config.encode()) or {}).get("architectures")
    return not isinstance(architectures, list) or not any(
        isinstance(name, str) and name.endswith(("ForCausalLM", "ForConditionalGeneration"))
        for name in architectures
    )


def _tree(text: bytes | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return tree if isinstance(tree, dict) else None


def _length(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < LENGTH_MAX:
        return None
    return int(value)


def _no_config(file: Path, error: Exception) -> PlanError:
    folder = file.parent
    why = getattr(error, "strerror", None) or str(error)
    if isinstance(error, FileNotFoundError) and folder.is_dir():
        there = {entry.suffix for entry in folder.iterdir() if entry.is_file()}
        if ".gguf" in there:
            return PlanError(
                f"{folder} holds a GGUF file and no {CONFIG}",
                hint="vLLM reads GGUF with a plug-in only; plan the model by its hub id",
            )
        why = "there is none" if file.name == CONFIG else "no such file"
    return PlanError(
        f"{file} cannot be read: {why}",
        hint=WHAT_TO_NAME,
    )
