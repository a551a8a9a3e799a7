"""A model's small files, wherever they lie: what is read of them before they become ModelFacts.

`Files` is what a folder, a cache or the hub gives; `beside` reads the ones next to config.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from infctl.errors import PlanError
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
        with file.open("rb") as stream:
            raw = stream.read(CONFIG_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise _no_config(file, error) from None
    return raw.decode("utf-8-sig", errors="replace")


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
            with (folder / name).open("rb") as stream:
                return stream.read(most + 1)
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
    if not file.exists() and folder.is_dir():
        there = {entry.suffix for entry in folder.iterdir() if entry.is_file()} if folder.is_dir() else set()
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
