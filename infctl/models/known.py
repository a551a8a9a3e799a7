"""Configs of well-known models, so that a plan works with no network and no model on the disk.

Each holds the keys of the hub's config.json that matter to a plan; `known.json` lies in the package. A model
that is missing there is fetched or read from disk, never guessed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from infctl.models.context import Beside


def known(hub_id: str) -> Mapping[str, Any] | None:
    """The config of `Qwen/Qwen2.5-7B-Instruct`, whatever its letters' case; None: not among them."""
    entry = _entries().get(hub_id.lower())
    return None if entry is None else dict(entry[1]["config"])


def known_beside(hub_id: str) -> Beside:
    """What the files beside that config say. Of an unknown model: nothing."""
    entry = _entries().get(hub_id.lower())
    return Beside() if entry is None else Beside(**entry[1].get("beside", {}))


def names() -> tuple[str, ...]:
    """As the hub writes them, in alphabetical order."""
    return tuple(name for name, _ in _entries().values())


@cache
def _entries() -> dict[str, tuple[str, dict[str, Any]]]:
    text = Path(__file__).with_name("known.json").read_text(encoding="utf-8")
    return {name.lower(): (name, entry) for name, entry in json.loads(text).items()}
