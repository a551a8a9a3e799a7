"""What a check found. A value only: the words are all there is to print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from infctl.errors import Location, Problem

Verdict = Literal["ok", "warning", "failure", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is as it should be, or is not."""

    verdict: Verdict
    what: str
    """What was seen, in a line."""
    why: str = ""
    """Why it matters, or why nothing was looked at."""
    fix: str = ""
    """What to do, or what to write; may hold several lines."""
    path: str = ""
    """In the profile: `engines/image`."""
    where: Location | None = None
    """Filled in from `path` by whoever knows the profile."""
    check: str = ""
    """Which check found it; filled in by `infctl.doctor.check`."""


def ok(what: str, why: str = "") -> Finding:
    return Finding("ok", what, why)


def warning(what: str, *, why: str = "", fix: str = "", path: str = "") -> Finding:
    """Something works, or may work, and is not as it should be."""
    return Finding("warning", what, why, fix, path)


def failure(what: str, *, why: str = "", fix: str = "", path: str = "") -> Finding:
    """The platform does not start, or does not do what the profile says."""
    return Finding("failure", what, why, fix, path)


def skipped(why: str) -> Finding:
    """Nothing was looked at."""
    return Finding("skipped", "not looked at", why)


def of_problem(problem: Problem, verdict: Verdict = "failure") -> Finding:
    """What another room found, with its place."""
    return Finding(verdict, problem.message, "", problem.hint, problem.path, problem.where)
