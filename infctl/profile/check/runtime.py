"""What the chosen runtime has no use for."""

from __future__ import annotations

from collections.abc import Iterator

from infctl.profile.check.finding import Finding
from infctl.profile.schema import Profile

_IMAGES = ("engines/image", "gateway/image", "edge/image")
_DOCKER_ONLY = (
    "engines/cache",
    "engines/shm_size",
    "engines/gpu_driver",
    "engines/pull",
    "networks",
    "hardening",
)


def check(profile: Profile) -> Iterator[Finding]:
    if profile.runtime == "process":
        for path in _IMAGES:
            if _set(profile, path):
                yield Finding(
                    path, "processes have no image: runtime is process", "leave it out, or runtime: docker"
                )


def warn(profile: Profile) -> Iterator[Finding]:
    if profile.runtime == "process":
        for path in _DOCKER_ONLY:
            if _set(profile, path):
                yield Finding(path, "has no effect: runtime is process", "leave it out, or runtime: docker")


def _set(profile: Profile, path: str) -> bool:
    section, _, field = path.partition("/")
    if section not in profile.model_fields_set:
        return False
    return not field or field in getattr(profile, section).model_fields_set
