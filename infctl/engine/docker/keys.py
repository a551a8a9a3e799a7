"""Which variables of `.env` a container has taken in, told by digest, so that a changed one is noticed. Pure.

No key is in a container's environment: `prepare` writes them as files into volumes, and engines read those
when they start. What it writes where is in its own command, as `--key VARIABLE=/path/in/the/volume`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infctl.engine.codec import secret_digest
from infctl.stack.containers import Container, Project


def variables(project: Project, container: Container) -> tuple[str, ...]:
    """Of a one-shot that writes keys, those; of an engine, those whose files its command or env names."""
    if container.role == "prepare":
        return tuple(name for name, _ in _written(container))
    if container.role != "engine":
        return ()
    told = " ".join((*container.command, *(value for _, value in container.env)))
    return tuple(
        name
        for prepare in project.containers
        if prepare.role == "prepare"
        for name, file in _written(prepare)
        if any(path in told for path in _seen_as(file, prepare, container))
    )


def digests(names: tuple[str, ...], values: Mapping[str, str], key: bytes) -> dict[str, str]:
    """One that has no value has a digest as well: it may get one."""
    return {name: secret_digest(key, values.get(name, "")) for name in names}


def _written(prepare: Container) -> Iterator[tuple[str, str]]:
    """(variable, file)."""
    for flag, value in zip(prepare.command, prepare.command[1:], strict=False):
        name, equals, file = value.partition("=")
        if flag == "--key" and equals:
            yield name, file


def _seen_as(file: str, prepare: Container, container: Container) -> Iterator[str]:
    """The same file, by the paths of another container that has its volume."""
    for mount in prepare.mounts:
        if mount.kind == "volume" and file.startswith(f"{mount.target}/"):
            for other in container.mounts:
                if (other.kind, other.source) == ("volume", mount.source):
                    yield other.target + file.removeprefix(mount.target)
