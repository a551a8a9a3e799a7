"""infctl.lock, beside the profile: which digest each image's tag means, so that it means the same tomorrow.

`infctl pull` writes it; where it names an image, `repo:tag@sha256:...` is rendered. It belongs into version
control, with the profile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from infctl.atomic import replace
from infctl.errors import Location, Problem, ProfileError

FILE = "infctl.lock"
VERSION = 1
FILE_BYTES_MAX = 1024 * 1024
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HEAD = """\
# Written by `infctl pull`: the digest of each image's tag. Keep it with the profile; without it tags decide.
"""


def read(folder: Path) -> dict[str, str]:
    """`repo:tag` -> `sha256:...`; empty where there is no such file. Raises ProfileError."""
    path = folder / FILE
    try:
        with path.open("rb") as file:
            data = yaml.safe_load(file.read(FILE_BYTES_MAX))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise _unusable(path, "is not YAML") from None
    if isinstance(data, dict) and isinstance(data.get("version"), int) and data["version"] > VERSION:
        raise _unusable(path, f"has version {data['version']}; this infctl reads {VERSION}")
    return _images(path, data)


def write(folder: Path, images: Mapping[str, str]) -> Path:
    """Whole, sorted by image. Raises EngineError."""
    path = folder / FILE
    data = {"version": VERSION, "images": dict(sorted(images.items()))}
    replace(path, (_HEAD + yaml.safe_dump(data, sort_keys=False)).encode(), mode=0o644)
    return path


def _images(path: Path, data: Any) -> dict[str, str]:
    images = data.get("images", {}) if isinstance(data, dict) else None
    if not isinstance(images, dict):
        raise _unusable(path, "has no images: it is no lock file")
    for image, digest in images.items():
        if not isinstance(image, str) or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise _unusable(path, f"names no digest for {image}")
    return dict(images)


def _unusable(path: Path, what: str) -> ProfileError:
    hint = "remove it, and let `infctl pull` write it again"
    problem = Problem(what, where=Location(str(path), 1, 1), hint=hint)
    return ProfileError(f"{path} {what}", problems=[problem])
