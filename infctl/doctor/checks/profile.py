"""Is the profile sound, are its secrets set, and does this version do all that it says?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, of_problem, ok, warning
from infctl.errors import Problem
from infctl.profile.enforcement import unenforced
from infctl.profile.secrets import missing_secrets

NAMED = 4
"""Paths that are written out in the one warning about settings without effect."""


def look(case: Case) -> Iterator[Finding]:
    loaded = case.loaded
    if loaded is None:
        raise case.wrong["profile"]
    profile = loaded.profile
    files = ", ".join(str(file) for file in loaded.sources)
    models = f"{len(profile.models)} model{'s' * (len(profile.models) != 1)}"
    yield ok(f"{files}: {profile.name}, {models}, runtime {profile.runtime}")
    yield from judge(missing_secrets(loaded, case.env), loaded.warnings, unenforced(loaded))


def judge(
    missing: Sequence[Problem], odd: Sequence[Problem], without_effect: Sequence[Problem]
) -> Iterator[Finding]:
    yield from (of_problem(problem) for problem in missing)
    yield from (of_problem(problem, "warning") for problem in odd)
    if without_effect:
        paths = [problem.path for problem in without_effect]
        named = ", ".join(paths[:NAMED]) + (f" and {len(paths) - NAMED} more" if len(paths) > NAMED else "")
        many = "settings are" if len(paths) > 1 else "setting is"
        yield warning(
            f"{len(paths)} {many} read and not enforced by this version: {named}",
            why="a limit that is written and not kept is worse than none",
            fix="infctl validate says of each what happens instead",
            path=paths[0],
        )
