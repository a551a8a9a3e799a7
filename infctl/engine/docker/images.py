"""Images: whether they are there, fetched with progress, or built from a folder of the project.

Which are needed is in the containers: `image`, `pull`, and `build` for the gateway's.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infctl.engine.docker import disk, fields
from infctl.engine.docker.client import Client
from infctl.engine.docker.refusals import Gone, ImageMissing, of_text, told
from infctl.engine.model import Event
from infctl.errors import EngineError, Problem
from infctl.stack import Stack
from infctl.stack.containers import Container

BUILD_LINES_SHOWN = 20
BUILD_LINES_KEPT = 200
LINE_MAX_CHARACTERS = 200
GB = 1e9


@dataclass(frozen=True, slots=True)
class Wanted:
    """One image, and how it comes here."""

    name: str
    """As it is asked for."""
    container: Container
    services: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageFact:
    """For `infctl images`."""

    name: str
    services: tuple[str, ...]
    id: str = ""
    """Empty: it is not there."""
    digest: str = ""
    """`sha256:...` of the registry; empty: built here, or not there."""
    bytes: int = 0
    created: str = ""


def wanted(stack: Stack) -> tuple[Wanted, ...]:
    """Each once, in the order of the containers."""
    users: dict[str, list[Container]] = {}
    for project in stack.projects:
        for container in project.containers:
            users.setdefault(container.image, []).append(container)
    return tuple(
        Wanted(
            name,
            next((one for one in containers if one.build is not None), containers[0]),
            tuple(dict.fromkeys(one.service for one in containers)),
        )
        for name, containers in users.items()
    )


def facts(client: Client, stack: Stack) -> tuple[ImageFact, ...]:
    found = []
    for image in wanted(stack):
        data = inspect(client, image.name)
        if data is None:
            found.append(ImageFact(image.name, image.services))
            continue
        digest = digest_of(image.name, data)
        size, created = int(data.get("Size") or 0), str(data.get("Created") or "")
        found.append(ImageFact(image.name, image.services, str(data["Id"]), digest, size, created))
    return tuple(found)


def inspect(client: Client, image: str) -> dict[str, Any] | None:
    """None: it is not on the Docker host."""
    try:
        with told(f"the image {image} cannot be looked at"):
            return dict(client.api.inspect_image(image))
    except (ImageMissing, Gone):
        return None


def digest_of(image: str, data: Mapping[str, Any]) -> str:
    """The registry's digest of this repository's image."""
    repository = split(image)[0]
    for known in data.get("RepoDigests") or ():
        name, _, digest = str(known).partition("@")
        if name in (repository, repository.removeprefix("docker.io/").removeprefix("library/")):
            return digest
    return ""


def missing(client: Client, stack: Stack) -> tuple[str, ...]:
    """Names of the images that `fetch` would fetch, as its events call them."""
    return tuple(label(image) for image in wanted(stack) if _is_to_fetch(client, image))


def label(image: Wanted) -> str:
    return f"image {image.name}"


def fetch(
    client: Client, stack: Stack, *, again: bool = False, only: Collection[str] | None = None
) -> Iterator[Event]:
    """Fetch what is not there, or may be older than the registry's; with `again` all (`infctl pull`).

    `only`: images of these names.

    Raises EngineError; of images that may not be fetched (`pull: never`), with all of them.
    """
    images = [one for one in _of(wanted(stack), only) if one.container.build is None]
    barred = [one for one in images if one.container.pull == "never" and inspect(client, one.name) is None]
    if barred and not again:
        raise EngineError(
            f"{len(barred)} images are not on the Docker host, and `pull: never` forbids to fetch them",
            problems=[Problem("not there", path=one.name) for one in barred],
            hint="`docker load` brings them from a file; `infctl pull` fetches them once",
        )
    for image in images:
        if again or _is_to_fetch(client, image):
            yield from pull(client, image)


def make(
    client: Client, stack: Stack, *, again: bool = False, only: Collection[str] | None = None
) -> Iterator[Event]:
    """Build what is not there, or was built of other files than lie in its folder now."""
    for image in _of(wanted(stack), only):
        folder = image.container.build.context if image.container.build is not None else ""
        if not folder:
            continue
        if again and not is_there(folder):
            yield Event(label(image), "note", "built when its files are there: `infctl up`, `infctl render`")
        elif again or _is_to_make(client, image, folder):
            yield from build(client, image)


def _of(images: Iterable[Wanted], only: Collection[str] | None) -> Iterator[Wanted]:
    return (image for image in images if only is None or image.name in only)


def _is_to_fetch(client: Client, image: Wanted) -> bool:
    if image.container.build is not None:
        return False
    return image.container.pull == "always" or inspect(client, image.name) is None


def _is_to_make(client: Client, image: Wanted, folder: str) -> bool:
    data = inspect(client, image.name)
    if data is None:
        return True
    built_of = fields.brought(data).context
    return bool(built_of) and built_of != disk.digest(folder)


def is_there(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "Dockerfile"))


# Fetching


def pull(client: Client, image: Wanted) -> Iterator[Event]:
    name = label(image)
    repository, tag = split(image.name)
    doing = f"the image {image.name} cannot be fetched"
    yield Event(name, "started", f"fetching {image.name}")
    layers: dict[str, tuple[int, int]] = {}
    said = failed = ""
    with told(doing):
        for line in client.api.pull(repository, tag=tag, stream=True, decode=True):
            failed = str(line.get("error") or failed)  # read to its end: else the connection stays open
            text = _progress(layers, line)
            if text and text != said:
                said = text
                yield Event(name, "loading", text)
    if failed:
        raise of_text(doing, failed)
    yield Event(name, "ready", said)


def _progress(layers: dict[str, tuple[int, int]], line: Mapping[str, Any]) -> str:
    """`3.1 of 9.8 GB`; empty where this line tells nothing of it."""
    detail = line.get("progressDetail") or {}
    if line.get("status") != "Downloading" or not detail.get("total"):
        return ""
    layers[str(line.get("id"))] = (int(detail.get("current") or 0), int(detail["total"]))
    done, total = (sum(part) for part in zip(*layers.values(), strict=True))
    return f"{done / GB:.1f} of {total / GB:.1f} GB"


def split(image: str) -> tuple[str, str]:
    """`repo:tag@sha256:...` -> (repository, digest or tag)."""
    name, _, digest = image.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:  # a colon of the registry's port
        repository, tag = name, "latest"
    return repository, digest or tag


# Building


def build(client: Client, image: Wanted) -> Iterator[Event]:
    """From the folder that the Compose file names as well. The last lines are the error's log."""
    made = image.container.build
    if made is None:
        return
    name = label(image)
    doing = f"the image {image.name} cannot be built"
    if not is_there(made.context):
        raise EngineError(
            f"{doing}: there is no Dockerfile in {made.context}", hint="`infctl render` writes it there"
        )
    yield Event(name, "started", f"building {image.name}")
    lines: list[str] = []
    failed = ""
    with told(doing):
        output = client.api.build(
            path=made.context,
            tag=image.name,
            rm=True,
            forcerm=True,
            decode=True,
            buildargs=dict(made.args),
            labels={fields.CONTEXT_LABEL: disk.digest(made.context)},
        )
        for line in output:
            failed = str(line.get("error") or failed)
            text = str(line.get("stream") or "").strip()
            if text:
                lines += text.splitlines()
                del lines[:-BUILD_LINES_KEPT]
                yield Event(name, "loading", lines[-1][:LINE_MAX_CHARACTERS])
    if failed:
        raise _failed(doing, failed, lines)
    yield Event(name, "ready")


def _failed(doing: str, said: str, lines: Iterable[str]) -> EngineError:
    error = of_text(doing, said)
    shown = [*lines][-BUILD_LINES_SHOWN:]
    return EngineError(error.message, hint=error.hint, log=(*shown, *said.splitlines()[-3:]))
