"""What this version reads and checks but does not enforce yet. A line leaves this table with the code for it.

A profile that sets one of these gets a warning from `validate`, `up` and `status`: a limit nobody keeps is
worse than none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from infctl.errors import Problem
from infctl.profile.loading import LoadedProfile
from infctl.profile.schema import Profile

UNENFORCED: dict[str, str] = {}
"""Path of a section -> what happens instead. Empty: each section is acted on."""

_WHEN: dict[str, tuple[Callable[[Profile, Any], bool], str]] = {
    "gateway/audit/bodies": (lambda _, value: value is True, "the trail has no bodies"),
    "gateway/replicas": (
        lambda profile, value: value > 1 and profile.runtime == "process",
        "one gateway is started: runtime is process",
    ),
    "edge/http3": (
        lambda profile, value: value is True and profile.runtime == "process",
        "HTTP/1.1 and HTTP/2 are served",
    ),
    "monitoring": (
        lambda profile, value: (
            value.enabled and profile.runtime == "process" and value.model_fields_set != {"tracing"}
        ),
        "no Prometheus, Grafana or exporter is started: runtime is process",
    ),
}
"""Path -> (values that are not enforced, what happens instead)."""


def unenforced(loaded: LoadedProfile) -> tuple[Problem, ...]:
    """One warning a section or field that is set and that this version does not act on, in file order."""
    found = [*_sections(loaded), *_values(loaded)]
    order = {str(path): number for number, path in enumerate(loaded.sources)}

    def key(problem: Problem) -> tuple[int, int, int, str]:
        where = problem.where
        return (
            (len(order), 0, 0, problem.path)
            if where is None
            else (order[where.file], where.line, where.column, "")
        )

    return tuple(sorted(found, key=key))


def _sections(loaded: LoadedProfile) -> Iterator[Problem]:
    for path, instead in UNENFORCED.items():
        if path.startswith("monitoring/") and not _watched(loaded.profile):
            continue  # said of all of it
        if loaded.writes(path) and getattr(_value(loaded, path), "enabled", True):
            yield _warning(loaded, path, instead)
        else:
            for field, variable in loaded.overridden.items():
                if field.startswith(f"{path}/"):
                    yield Problem(
                        f"not enforced by this version: {instead}", field, None, f"{variable} sets it"
                    )


def _watched(profile: Profile) -> bool:
    return profile.monitoring.enabled and profile.runtime == "docker"


def _values(loaded: LoadedProfile) -> Iterator[Problem]:
    for path, (counts, instead) in _WHEN.items():
        if loaded.writes(path) and counts(loaded.profile, _value(loaded, path)):
            yield _warning(loaded, path, instead)


def _warning(loaded: LoadedProfile, path: str, instead: str) -> Problem:
    return loaded.problem(path, f"not enforced by this version: {instead}")


def _value(loaded: LoadedProfile, path: str) -> Any:
    value: Any = loaded.profile
    for step in path.split("/"):
        value = getattr(value, step)
    return value
