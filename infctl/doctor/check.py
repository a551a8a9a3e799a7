"""Many checks at once, each within its time; their findings in the order of the list."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, of_problem, skipped, warning
from infctl.doctor.places import place
from infctl.errors import InfctlError
from infctl.in_time import asked

Need = Literal["profile", "stack", "plan", "docker", "gpus"]

TIMEOUT_S = 20.0
"""Usual, and longer than the Docker engine is given for its first answer."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    """As `--only` takes it."""
    asks: str
    """The question, in half a line."""
    look: Callable[[Case], Iterable[Finding]]
    runtime: Literal["docker", "process"] | None = None
    """None: both."""
    needs: tuple[Need, ...] = ()
    """`docker` counts where the profile starts containers."""
    timeout_s: float = TIMEOUT_S


def run(checks: Sequence[Check], case: Case) -> Iterator[Finding]:
    """All at once; findings as soon as those before them are known."""
    waiting = [(check, asked(lambda check=check: _look(check, case), check.timeout_s)) for check in checks]  # type: ignore[misc]
    for check, answer in waiting:
        try:
            found = answer()
        except TimeoutError:
            why = f"no answer within {check.timeout_s:g} s"
            found = (warning(f"{check.asks}: nobody knows", why=why, fix="look at it by hand, or try again"),)
        for finding in found:
            yield _placed(replace(finding, check=check.name), case)


def why_not(check: Check, case: Case) -> str:
    """Why it does not apply here; empty: it does."""
    needs = set(check.needs)
    if case.loaded is None and (needs - {"docker"} or check.runtime is not None):
        return "the profile cannot be read"
    if check.runtime == "docker" and case.profile.runtime == "process":
        return "runtime: process starts no containers"
    if check.runtime == "process" and case.profile.runtime == "docker":
        return "runtime: docker: the images bring their own"
    if "gpus" in needs and not case.uses_gpus:
        return "gpus: cpu: no engine runs on a GPU"
    if "plan" in needs and case.plan is None:
        return "there is no plan"
    if "stack" in needs and case.stack is None:
        return "it is not known what would run: there is no plan"
    return ""


def _look(check: Check, case: Case) -> tuple[Finding, ...]:
    if why := why_not(check, case):
        return (skipped(why),)
    if "docker" in check.needs and case.profile.runtime == "docker" and case.engine() is None:
        return (skipped("Docker does not answer"),)
    try:
        return tuple(check.look(case))
    except InfctlError as error:
        return of_error(error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return (warning(f"{check.asks}: nobody knows", why=f"{where}{error.strerror or error}"),)
    except Exception as fault:  # a fault of ours in one check must not hide what the others find
        if os.environ.get("INFCTL_DEBUG"):
            raise
        what = f"the check itself broke: {type(fault).__name__}: {fault}"
        hint = f"a fault of infctl; INFCTL_DEBUG=1 infctl doctor --only {check.name} writes a report"
        return (failure(what.splitlines()[0][:200], fix=hint),)


def of_error(error: InfctlError) -> tuple[Finding, ...]:
    """An error of another room, as what a check found."""
    if not error.problems:
        return (failure(error.message, why="; ".join(error.log[-1:]), fix=error.hint),)
    return tuple(of_problem(problem) for problem in error.problems)


def _placed(finding: Finding, case: Case) -> Finding:
    if finding.where is not None or not finding.path or case.loaded is None:
        return finding
    return replace(finding, where=place(case.loaded, finding.path))
