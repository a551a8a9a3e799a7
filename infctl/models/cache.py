"""Models that are on this machine already: the Hugging Face cache, and the configs infctl has fetched before.

Nothing here asks the network, and nothing that cannot be read is an error: it is as if it were not there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from infctl import atomic
from infctl.errors import EngineError
from infctl.models.config import Beside
from infctl.models.document import BYTES_MAX
from infctl.models.files import Files
from infctl.packaged import cache_dir

VERSION = 1
"""Of a kept entry; another version is fetched again."""
REVISION_BYTES_MAX = 200

_COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_folder(env: Mapping[str, str]) -> Path:
    """Where huggingface_hub keeps models: HF_HUB_CACHE, else HF_HOME, else XDG_CACHE_HOME, else ~/.cache."""
    if named := env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE"):
        return Path(named).expanduser()
    if home := env.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    base = env.get("XDG_CACHE_HOME")
    root = Path(base).expanduser() if base else Path(env.get("HOME") or Path.home()) / ".cache"
    return root / "huggingface" / "hub"


def snapshot(hub_id: str, revision: str, env: Mapping[str, str]) -> Path | None:
    """The folder of one revision of a model, if its config.json is there."""
    folder = hub_folder(env) / f"models--{hub_id.replace('/', '--')}"
    if ".." in Path(revision).parts:
        return None
    commit = revision
    if not _COMMIT.fullmatch(revision):
        try:
            with (folder / "refs" / revision).open("rb") as stream:
                commit = stream.read(REVISION_BYTES_MAX).decode(errors="replace").strip()
        except OSError:
            return None
    if not re.fullmatch(r"[0-9A-Za-z]{1,64}", commit):
        return None
    found = folder / "snapshots" / commit
    return found if (found / "config.json").is_file() else None


def kept_file(hub_id: str, revision: str, env: Mapping[str, str]) -> Path:
    """Where infctl keeps what it fetched of a model: `<org>--<name>@<revision>.json`."""
    name = f"{hub_id.replace('/', '--')}@{revision.replace('/', '--')}.json"
    return cache_dir(env).parent / "configs" / name


def kept(hub_id: str, revision: str, env: Mapping[str, str]) -> Files | None:
    """What was fetched before; None where there is nothing that this version can read."""
    file = kept_file(hub_id, revision, env)
    try:
        with file.open("rb") as stream:
            entry = json.loads(stream.read(2 * BYTES_MAX + 1))
        beside = entry["beside"]
        if entry["version"] != VERSION or not isinstance(entry["config"], str):
            return None
        stored = entry["stored_bytes"]
        return Files(
            config=entry["config"],
            place=f"{hub_id}@{revision}/config.json",
            origin=f"fetched earlier ({file}), {'weights from headers' if stored else 'weights computed'}",
            beside=Beside(
                _whole(beside["max_seq_length"]),
                _whole(beside["tokenizer_max_length"]),
                True if beside["pooling"] else None,
            ),
            stored_bytes=_whole(stored),
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def keep(hub_id: str, revision: str, env: Mapping[str, str], files: Files) -> str:
    """Write what was fetched, whole or not at all. Answers with why it could not be; empty: it is kept."""
    file = kept_file(hub_id, revision, env)
    beside = files.beside
    entry = {
        "version": VERSION,
        "model": hub_id,
        "revision": revision,
        "stored_bytes": files.stored_bytes,
        "beside": {
            "max_seq_length": beside.max_seq_length,
            "tokenizer_max_length": beside.tokenizer_max_length,
            "pooling": beside.pooling,
        },
        "config": files.config,
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        atomic.replace(file, (json.dumps(entry, indent=1) + "\n").encode(), mode=0o644)
    except (OSError, EngineError) as error:
        return f"the config was not kept for the next time: {error}"
    return ""


def _whole(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ValueError(value)
    return value
