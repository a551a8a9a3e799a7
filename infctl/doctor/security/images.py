"""Practice 8, keep images updated: how old are those that run, and is it certain which ones they are?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from infctl.doctor.case import Case
from infctl.doctor.docker import Image, image_paths
from infctl.doctor.finding import Finding, failure, ok, skipped, warning

OLD_DAYS = 180
MOVING = ("latest", "main", "master", "nightly", "edge", "stable", "dev")
"""Tags that mean another image tomorrow."""


def look(case: Case) -> Iterator[Finding]:
    names = dict.fromkeys(container.image for container in case.containers)
    docker = case.engine()
    known = {name: docker.image(name) if docker is not None else None for name in names}
    built = {container.image for container in case.containers if container.build is not None}
    yield from judge(known, built, case.now, image_paths(case.profile))


def judge(
    images: Mapping[str, Image | None],
    built: set[str],
    now: float,
    path: Mapping[str, str],
) -> Iterator[Finding]:
    """`images`: None for one that is not on the Docker host. `built`: here, by this project."""
    good = 0
    for name, image in images.items():
        old = age_days(image, now) if image is not None else None
        plain = name.partition("@")[0]
        if moves(name):
            yield failure(
                f"{plain} means another image tomorrow",
                why="what runs after the next pull is nobody's decision",
                fix="write a version: image: repository:v1.2.3",
                path=path.get(plain, ""),
            )
        elif old is not None and old >= OLD_DAYS:
            yield warning(
                f"{plain} was built {old} days ago",
                why="holes that were found since then are open in it",
                fix="docker compose build --pull"
                if name in built
                else "write a newer version, then infctl up",
                path=path.get(plain, ""),
            )
        else:
            good += image is not None
    loose = [name for name in images if "@sha256:" not in name and name not in built and not moves(name)]
    if loose:
        yield warning(
            f"{len(loose)} of {len(images)} images are named by tag alone",
            why="a tag can be moved to another image; a digest cannot",
            fix="infctl pull writes their digests into infctl.lock, and they are rendered from there",
        )
    if good:
        yield ok(f"{good} images on the Docker host are younger than {OLD_DAYS} days")
    if images and all(image is None for image in images.values()):
        yield skipped("none of the images is on the Docker host: their age is not known")


def moves(name: str) -> bool:
    """Without a digest, and with a tag (or none) that is moved on purpose."""
    if "@sha256:" in name:
        return False
    last = name.rpartition("/")[2]
    return ":" not in last or last.rpartition(":")[2] in MOVING


def age_days(image: Image, now: float) -> int | None:
    """None: not known; some builders write the year 1, or 1970, to be reproducible."""
    try:
        made = datetime.fromisoformat(f"{image.created[:19]}+00:00").timestamp()
    except ValueError:
        return None
    return None if made <= 86_400 else int((now - made) / 86_400)
