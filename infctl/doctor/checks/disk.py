"""Is there room for the weights and the images that are still to be fetched?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infctl import packaged
from infctl.doctor.case import Case
from infctl.doctor.checks.hub import cache_env
from infctl.doctor.finding import Finding, failure, ok, warning
from infctl.figure import GIB, gib
from infctl.models import cache
from infctl.models.source import MAIN
from infctl.sizing.weights import stored

IMAGES = (
    ("vllm/", 30 * GIB),
    ("dcgm-exporter", 2 * GIB),
    ("grafana", GIB),
    ("prometheus", GIB // 2),
    ("nginx", GIB // 4),
)
"""What an image takes once it is unpacked, by a part of its name; nobody says so before it is fetched."""
OTHER_IMAGE = GIB // 2
SPARE = 5 * GIB
"""Logs, figures and caches of compiled kernels grow; below this a person should know."""
REST_OF_A_MODEL = 64 * 2**20
"""Tokenizer, config and the like, beside the weights."""


@dataclass(frozen=True, slots=True)
class Take:
    """Something that is still to be fetched."""

    what: str
    bytes: int
    device: int
    """Of the file system it goes to."""


@dataclass(frozen=True, slots=True)
class Room:
    """One file system."""

    device: int
    folder: str
    """One that lies on it, and whose name a person knows."""
    free: int


def look(case: Case) -> Iterator[Finding]:
    found = _Look(case)
    found.weights()
    if case.profile.runtime == "docker":
        found.images()
    elif case.layout is not None:
        found.room(case.layout.home)
    yield from judge(found.takes, tuple(found.rooms.values()))
    if found.unknown:
        yield warning(
            f"nobody knows how large {', '.join(found.unknown)} will be",
            why="its config could not be read",
            fix="the check plan says why",
        )


def judge(takes: Sequence[Take], rooms: Sequence[Room]) -> Iterator[Finding]:
    for room in rooms:
        here = sorted((take for take in takes if take.device == room.device), key=lambda take: -take.bytes)
        need = sum(take.bytes for take in here)
        named = ", ".join(f"{take.what} {gib(take.bytes)}" for take in here[:3])
        named += f" and {len(here) - 3} more" if len(here) > 3 else ""
        fetched = f"{gib(need)} are still to be fetched ({named})" if here else "nothing is to be fetched"
        if need > room.free:
            yield failure(
                f"{room.folder}: {gib(room.free)} free, {fetched}: {gib(need - room.free)} too little",
                why="the start would stop with a full disk",
                fix="free some space (df -h, docker system df), or write engines.cache on a larger disk",
                path="engines/cache",
            )
        elif room.free - need < SPARE:
            yield warning(
                f"{room.folder}: {gib(room.free)} free, {fetched}",
                why=f"{gib(room.free - need)} are left for logs, figures and compiled kernels",
                fix="free some space: df -h, docker system df",
            )
        else:
            yield ok(f"{room.folder}: {gib(room.free)} free, {fetched}")


class _Look:
    """The edge: what is missing, and where it would go."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.takes: list[Take] = []
        self.rooms: dict[int, Room] = {}
        self.unknown: list[str] = []

    def weights(self) -> None:
        case = self.case
        facts = case.plan.facts if case.plan is not None else {}
        env = cache_env(case)
        seen: set[tuple[str | None, str | None]] = set()
        for name, model in case.profile.models.items():
            source = model.source
            if source.package is not None:
                self._package(source.package)
            if source.hub is None or (source.hub, source.revision) in seen:
                continue
            seen.add((source.hub, source.revision))
            folder = cache.hub_folder(env)
            device = self.room(folder)
            if name not in facts:
                self.unknown.append(source.hub)
                continue
            whole = facts[name].stored_bytes or stored(facts[name])
            snapshot = cache.snapshot(source.hub, source.revision or MAIN, env)
            left = whole + REST_OF_A_MODEL - fetched(folder, source.hub, snapshot)
            # A whole snapshot may be a little less than was counted for it.
            if left > (whole // 50 + REST_OF_A_MODEL if snapshot is not None else 0):
                self.takes.append(Take(source.hub, left, device))

    def _package(self, name: str) -> None:
        folder = packaged.folder(name, self.case.env)
        device = self.room(folder)
        if not folder.exists():
            self.takes.append(Take(name, packaged.find(name).unpacked_bytes, device))

    def images(self) -> None:
        docker = self.case.engine()
        if docker is None or not docker.is_local or not docker.root:
            return
        device = self.room(Path(docker.root))
        for image in dict.fromkeys(container.image for container in self.case.containers):
            if docker.image(image) is None:
                self.takes.append(Take(image, image_bytes(image), device))

    def room(self, folder: Path) -> int:
        """The file system of a folder that may not be there yet."""
        nearest = folder
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        device = nearest.stat().st_dev
        if device not in self.rooms:
            found = os.statvfs(nearest)
            self.rooms[device] = Room(device, str(folder), found.f_bavail * found.f_frsize)
        return device


def fetched(folder: Path, hub_id: str, snapshot: Path | None) -> int:
    """Bytes of one model that are in the cache already, whole or in part.

    A cache on a file system without links keeps the files themselves in the snapshot.
    """
    blobs = folder / f"models--{hub_id.replace('/', '--')}" / "blobs"
    return max(_bytes_in(blobs), _bytes_in(snapshot) if snapshot is not None else 0)


def _bytes_in(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    except OSError:
        return 0


def image_bytes(name: str) -> int:
    return next((size for part, size in IMAGES if part in name), OTHER_IMAGE)
