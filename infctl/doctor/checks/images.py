"""Are the images here, and do they run on this Docker host?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from infctl.doctor.case import Case
from infctl.doctor.docker import Image, image_paths
from infctl.doctor.finding import Finding, failure, ok, warning
from infctl.stack.containers import Container

MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def look(case: Case) -> Iterator[Finding]:
    docker = case.docker()
    images = {name: docker.image(name) for name in dict.fromkeys(c.image for c in case.containers)}
    machine = MACHINES.get(str(docker.info.get("Architecture") or "x86_64"), "amd64")
    yield from judge(
        images, case.containers, machine, pull=case.profile.engines.pull, path=image_paths(case.profile)
    )


def judge(
    images: Mapping[str, Image | None],
    containers: Sequence[Container],
    machine: str,
    *,
    pull: str,
    path: Mapping[str, str],
) -> Iterator[Finding]:
    """`images`: None for one that is not here. `machine`: amd64. `pull`: engines.pull of the profile."""
    missing = [name for name, image in images.items() if image is None]
    built = {container.image for container in containers if container.build is not None}
    for name, image in images.items():
        if image is not None and image.architecture and image.architecture != machine:
            yield failure(
                f"{name} is built for {image.architecture}, and this Docker host is {machine}",
                why="its programs do not run here",
                fix=f"docker pull --platform linux/{machine} {name}",
                path=path.get(name, ""),
            )
    fetched = [name for name in missing if name not in built]
    made = [name for name in missing if name in built]
    if fetched and pull == "never":
        yield failure(
            f"{', '.join(fetched)}: not on the Docker host, and engines.pull is never",
            why="nothing would fetch them",
            fix="docker load brings images without a registry; or engines.pull: missing",
            path="engines/pull",
        )
    elif fetched:
        yield warning(
            f"{', '.join(fetched)}: not on the Docker host yet",
            why="infctl up fetches them first, which may take minutes",
            fix="infctl pull does it beforehand",
        )
    if made:
        yield warning(
            f"{', '.join(made)}: not built yet",
            why="infctl up builds it first, which needs a base image and a package index",
            fix="docker compose build, or name an image that exists: gateway.image",
            path="gateway/image",
        )
    here = len(images) - len(missing)
    if here:
        yield ok(f"{here} of {len(images)} images are on the Docker host")
