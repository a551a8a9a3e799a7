"""What this version reads and checks but does not enforce yet. A line leaves this table with the code for it.

A profile that sets one of these gets a warning from `validate`, `up` and `status`: a limit nobody keeps is
worse than none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from infctl.errors import Problem
from infctl.profile.loading import LoadedProfile

UNENFORCED: dict[str, str] = {
    "gateway/limits": "no tenant is held back",
    "gateway/quotas": "nothing is counted against a quota",
    "gateway/tenants": "all callers are one tenant",
    "gateway/keys/file": "the shared key alone is known",
    "gateway/keys/tenant": "all callers are one tenant",
    "gateway/redaction": "no bodies are logged, so nothing is redacted",
    "gateway/audit": "no trail is written",
    "gateway/store": "nothing is kept between starts",
    "monitoring": "no Prometheus, Grafana or exporter is started",
}
"""Path -> what happens instead."""

_WHEN: dict[str, tuple[Callable[[Any], bool], str]] = {
    "runtime": (
        lambda value: value == "docker",
        "validate and render work; containers are not started",
    ),
    "gateway/replicas": (lambda value: value > 1, "one gateway is started"),
    "gateway/workers": (lambda value: value > 1, "the gateway is one process"),
    "edge/http3": (lambda value: value is True, "HTTP/1.1 and HTTP/2 are served"),
    "networks": (lambda _: True, "containers are not started"),
    "hardening": (lambda _: True, "containers are not started"),
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
        if loaded.writes(path) and getattr(_value(loaded, path), "enabled", True):
            yield _warning(loaded, path, instead)
        else:
            for field, variable in loaded.overridden.items():
                if field.startswith(f"{path}/"):
                    yield Problem(
                        f"not enforced by this version: {instead}", field, None, f"{variable} sets it"
                    )


def _values(loaded: LoadedProfile) -> Iterator[Problem]:
    for path, (counts, instead) in _WHEN.items():
        # Docker is the one default that matters here: a profile without `runtime` asks for it too.
        if (loaded.writes(path) or path == "runtime") and counts(_value(loaded, path)):
            yield _warning(loaded, path, instead)


def _warning(loaded: LoadedProfile, path: str, instead: str) -> Problem:
    return loaded.problem(path, f"not enforced by this version: {instead}")


def _value(loaded: LoadedProfile, path: str) -> Any:
    value: Any = loaded.profile
    for step in path.split("/"):
        value = getattr(value, step)
    return value
