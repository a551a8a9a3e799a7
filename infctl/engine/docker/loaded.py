"""What a container has read of the files it mounts, against what they hold now. Pure; `disk` looks.

Not in a label, because Compose would recreate a container whose labels changed: in a book of infctl's own,
.infctl/<name>/state/loaded.json, by container id. Of a container that is not in it (Compose started it), or
that was started again since, a file older than that start counts as read as it is.

A single file that is mounted stays the file it was: replaced by a new one, the container goes on seeing the
old one, and only a new container helps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from infctl.engine.docker import keys
from infctl.engine.docker.fields import Brought
from infctl.engine.docker.observed import Seen
from infctl.engine.docker.reconcile import News
from infctl.stack import ConfigFile, Stack
from infctl.stack.containers import Container, Project

NO_IMAGES: Mapping[str, Brought] = MappingProxyType({})
GONE = "gone"
"""The digest of a file that is not there."""


@dataclass(frozen=True, slots=True)
class OnDisk:
    sha256: str = GONE
    changed_at: float = 0.0
    inode: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """What one container had read when infctl last started or reloaded it."""

    started: str
    """The engine's own word for when it was started: another one means that it was started again since."""
    files: dict[str, str] = field(default_factory=dict)
    """Path -> SHA-256."""
    inodes: dict[str, int] = field(default_factory=dict)
    """Of single files that are mounted, as they were at its start."""
    secrets: dict[str, str] = field(default_factory=dict)
    """Variable -> digest."""


Book = Mapping[str, Entry]
"""By container id."""


@dataclass(frozen=True, slots=True)
class Now:
    """The world outside the Docker host."""

    disk: Mapping[str, OnDisk] = field(default_factory=dict)
    """Of every path that `watched` names."""
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of `.env`."""
    key: bytes = field(default=b"", repr=False)
    env_file: str = ""
    scanned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Folder -> the files below it, of each that `folders` names."""
    coming: Mapping[str, str] = field(default_factory=dict)
    """Path -> SHA-256 of files that are about to be written."""
    contexts: Mapping[str, str] = field(default_factory=dict)
    """Image -> digest of the files it is built from now."""


def folders(stack: Stack) -> tuple[str, ...]:
    """Whose files matter, and are named nowhere else: those of the monitoring."""
    found = (
        mount.source
        for project in stack.projects
        for container in project.containers
        if container.role == "monitoring"
        for mount in _binds(container)
    )
    return tuple(dict.fromkeys(found))


def paths(stack: Stack, now: Now) -> tuple[str, ...]:
    """All files that matter to some container."""
    return tuple(
        dict.fromkeys(
            file.path
            for project in stack.projects
            for container in project.containers
            for file in watched(stack, container, now)
        )
    )


def watched(stack: Stack, container: Container, now: Now) -> tuple[ConfigFile, ...]:
    """Files whose contents matter to it while it runs."""
    if container.role == "monitoring":
        found = dict.fromkeys(
            path
            for mount in _binds(container)
            for path in (
                *now.scanned.get(mount.source, ()),
                *(path for path in now.coming if _covers(mount.source, path)),
            )
        )
        return tuple(ConfigFile(path, "", _on_change(container, path)) for path in found if _matters(path))
    named = tuple(
        file for service in stack.services if service.name == container.service for file in service.files
    )
    return tuple(file for file in named if any(_covers(m.source, file.path) for m in _binds(container)))


def _matters(path: str) -> bool:
    """Grafana itself looks for changed boards."""
    return not path.endswith(".json")


def _on_change(container: Container, _path: str) -> Literal["reload", "restart"]:
    return "reload" if container.service in {"prometheus", "alertmanager"} else "restart"


def builds(stack: Stack) -> dict[str, str]:
    """Image -> the folder it is built from."""
    every = (container for project in stack.projects for container in project.containers)
    return {one.image: one.build.context for one in every if one.build is not None}


def news(
    stack: Stack,
    containers: tuple[Seen, ...],
    book: Book,
    now: Now,
    images: Mapping[str, Brought] = NO_IMAGES,
) -> dict[str, News]:
    """By container id, of those for which there are any. `images`: by name, as they are."""
    there = {(one.project, one.service, one.number): one for one in containers}
    found = {}
    for project in stack.projects:
        for container in project.containers:
            for number in range(1, container.count + 1):
                seen = there.get((project.name, container.service, number))
                if seen is None:
                    continue
                entry = book.get(seen.id)
                if entry is not None and entry.started != seen.started:
                    entry = None
                told = _news(stack, project, container, seen, entry, now)
                if _is_stale(images.get(container.image), now.contexts.get(container.image)):
                    more = f"image {container.image} is built anew: its files changed"
                    told = replace(told, replace=(more, *told.replace))
                if told != News():
                    found[seen.id] = told
    return found


def _is_stale(image: Brought | None, context: str | None) -> bool:
    return image is not None and context is not None and image.context not in ("", context)


def entry(stack: Stack, project: Project, container: Container, seen: Seen, now: Now) -> Entry:
    """Of a container that was started or reloaded just now."""
    wanted = watched(stack, container, now)
    variables = keys.variables(project, container)
    singles = {file.path for file in wanted} & {mount.source for mount in _binds(container)}
    return Entry(
        started=seen.started,
        files={file.path: _wanted(file, now) for file in wanted},
        inodes={path: now.disk.get(path, OnDisk()).inode for path in sorted(singles)},
        secrets=keys.digests(variables, now.values, now.key),
    )


def to_json(book: Book) -> dict[str, Any]:
    return {container_id: asdict(entry) for container_id, entry in book.items()}


def from_json(data: Mapping[str, Any]) -> dict[str, Entry]:
    """Raises KeyError or TypeError where it is none."""
    return {container_id: Entry(**entry) for container_id, entry in data.items()}


def _news(
    stack: Stack, project: Project, container: Container, seen: Seen, entry: Entry | None, now: Now
) -> News:
    reload, replace = [], []
    service = next((one for one in stack.services if one.name == container.service), None)
    signal = container.role == "monitoring" or (service is not None and service.reload_signal is not None)
    singles = {mount.source for mount in _binds(container)}
    for file in watched(stack, container, now):
        if not _is_new(file, seen, entry, now):
            continue
        leaf = file.path.rpartition("/")[2]
        known = entry.inodes.get(file.path) if entry is not None else None
        if file.on_change != "reload" or not signal:
            replace.append(f"{leaf} changed")
        elif file.path in singles and known != now.disk.get(file.path, OnDisk()).inode:
            replace.append(f"{leaf} changed, and the container has the old one")
        else:
            reload.append(f"{leaf} changed")
    replace += _secrets(project, container, seen, entry, now)
    return News(tuple(reload), tuple(replace))


def _is_new(file: ConfigFile, seen: Seen, entry: Entry | None, now: Now) -> bool:
    """Whether what is wanted differs from what it has read."""
    disk = now.disk.get(file.path, OnDisk())
    read: str | None = None
    if entry is not None and file.path in entry.files:
        read = entry.files[file.path]
    elif seen.started_at is not None and disk.changed_at <= seen.started_at:
        read = disk.sha256
    return read != _wanted(file, now)


def _wanted(file: ConfigFile, now: Now) -> str:
    """As it will be written; of a file that nobody renders, as it is."""
    return file.sha256 or now.coming.get(file.path) or now.disk.get(file.path, OnDisk()).sha256


def _secrets(
    project: Project, container: Container, seen: Seen, entry: Entry | None, now: Now
) -> Iterator[str]:
    variables = keys.variables(project, container)
    if not variables:
        return
    if entry is not None and entry.secrets:
        for name, digest in keys.digests(variables, now.values, now.key).items():
            if entry.secrets.get(name, digest) != digest:
                yield f"secret {name} changed"
    elif container.role == "prepare":
        # Nobody noted what it read; to run it again costs a second and changes nothing that is right.
        env = now.disk.get(now.env_file, OnDisk())
        if seen.started_at is not None and env.changed_at > seen.started_at:
            yield ".env changed since it ran"


def _binds(container: Container) -> Iterator[Any]:
    return (mount for mount in container.mounts if mount.kind == "bind")


def _covers(source: str, path: str) -> bool:
    return path == source or path.startswith(f"{source.rstrip('/')}/")
