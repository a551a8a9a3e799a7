"""`infctl images`: what containers are made from, and whether the lock file pins it. JSON: shapes.IMAGES."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from infctl.cli import console
from infctl.cli.options import Files, Json
from infctl.cli.text import Column, duration, size, table

if TYPE_CHECKING:
    from infctl.engine.docker.images import ImageFact

_DIGEST_SHOWN = 19
"""Characters: `sha256:` and twelve more."""


def images(*, files: Files = None, json_output: Json = False) -> None:
    """Show each image: its tag, digest, size, age, and whether infctl.lock pins it.

    \b
    Example:
      infctl images
    """
    from infctl import image_lock
    from infctl.cli.project import open_remains

    remains = open_remains(files)
    found: tuple[ImageFact, ...] = ()
    if remains.docker is not None:
        found = remains.docker.images(remains.stack())
    locked = image_lock.read(remains.layout.base)
    now = time.time()
    if json_output:
        console.data({"name": remains.name, "images": [as_data(one, locked, now) for one in found]})
    elif not found:
        console.say("local processes have no images")
    else:
        for line in screen(found, locked, now):
            console.fact(line)


def screen(found: Sequence[ImageFact], locked: Mapping[str, str], now: float) -> list[str]:
    from infctl.cli.window import width

    rows = [as_data(one, locked, now) for one in found]
    columns = (
        Column("image", tuple(str(row["image"]) for row in rows)),
        Column("services", tuple(", ".join(row["services"]) for row in rows), sacrifice=2),
        Column("digest", tuple(str(row["digest"] or "-")[:_DIGEST_SHOWN] for row in rows), sacrifice=1),
        Column("size", tuple(size(row["bytes"]) for row in rows), right=True),
        Column("made", tuple(_age(row["age_s"]) for row in rows), right=True),
        Column("in infctl.lock", tuple(_pinned(row) for row in rows)),
    )
    return table(columns, width(), console.styled)


def as_data(one: ImageFact, locked: Mapping[str, str], now: float) -> dict[str, Any]:
    from infctl.engine.docker.observed import when

    tag, _, _ = one.name.partition("@")
    made = when(one.created)
    pinned = locked.get(tag)
    return {
        "image": tag,
        "services": list(one.services),
        "here": bool(one.id),
        "id": one.id,
        "digest": one.digest or None,
        "bytes": one.bytes if one.id else None,
        "age_s": None if made is None else round(now - made),
        "locked": pinned,
        "as_locked": None if pinned is None or not one.digest else pinned == one.digest,
    }


def _age(seconds: int | None) -> str:
    return "-" if seconds is None else f"{duration(seconds)} ago"


def _pinned(row: Mapping[str, Any]) -> str:
    if not row["here"]:
        return "not there: infctl pull fetches it" if not row["locked"] else "yes, not fetched yet"
    if row["locked"] is None:
        return "no: local" if row["digest"] is None else "no"
    return "yes" if row["as_locked"] else "another digest is here: infctl pull"
