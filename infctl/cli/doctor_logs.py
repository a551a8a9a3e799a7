"""`infctl doctor logs`: a service's log read and explained, as lines and as JSON (shapes.DOCTOR_LOGS)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infctl.cli.text import Paint
from infctl.errors import InfctlError, Location, PlanError, UsageError

if TYPE_CHECKING:
    from infctl.cli.project import Project
    from infctl.doctor.startup import Explanation
    from infctl.gpus import Gpu
    from infctl.models import ModelFacts
    from infctl.plan import Plan

LOG_BYTES_MAX = 16 * 1024 * 1024
"""Of a file that is named; its end tells."""
LINES = 400


def explained(files: list[Path] | None, service: str, log: Path | None) -> Explanation:
    """Raises ProfileError, UsageError for no such service or file, EngineError for a log out of reach."""
    from infctl.cli import machine
    from infctl.cli.project import open_project
    from infctl.doctor.startup import explain
    from infctl.plan.asks import UNKNOWN_MEMORY
    from infctl.plan.placement import services_of

    project = open_project(files)
    bare = service.removeprefix("vllm-")
    known = (*(name for _, name in services_of(project.profile)), "gateway", "nginx")
    if bare not in known:
        raise UsageError(f"there is no service {service!r}", hint=f"there are: {', '.join(known)}")
    lines = _of_file(log) if log is not None else _of_engine(project, bare)
    plan, facts, gpus = _planned(project)
    room = (machine.memory() or UNKNOWN_MEMORY) if not gpus else UNKNOWN_MEMORY
    return explain(lines, service, project.loaded, plan, facts=facts, gpus=gpus, machine_bytes=room)


def lines(found: Explanation, paint: Paint) -> Iterator[str]:
    if not found.key:
        yield f"{found.service}: {found.what}"
    else:
        yield f"{paint(found.service, 'bold')} did not start: {found.what}"
        yield from (f"  {paint(line, 'hint')}" for line in found.hint.splitlines())
    yield from (paint(f"  | {line}", "dim") for line in found.log)


def as_data(found: Explanation) -> dict[str, Any]:
    return {
        "service": found.service,
        "cause": found.key,
        "what": found.what,
        **_place(found.path, found.where),
        "proposals": [
            {"was": one.was, "becomes": one.becomes, "note": one.note, **_place(one.path, one.where)}
            for one in found.proposals
        ],
        "others": list(found.others),
        "do": found.do,
        "lasting": found.lasting,
        "log": list(found.log),
    }


def _place(path: str, where: Location | None) -> dict[str, Any]:
    return {
        "path": path,
        "file": where.file if where else None,
        "line": where.line if where else None,
        "column": where.column if where else None,
    }


def _of_file(file: Path) -> list[str]:
    if str(file) == "-":
        return sys.stdin.read(LOG_BYTES_MAX).splitlines()
    try:
        with file.open("rb") as stream:
            stream.seek(max(file.stat().st_size - LOG_BYTES_MAX, 0))
            return stream.read().decode(errors="replace").splitlines()
    except OSError as error:
        said = error.strerror or str(error)
        raise UsageError(
            f"{file} cannot be read: {said}", hint="--log names a file, or - for stdin"
        ) from None


def _of_engine(project: Project, service: str) -> list[str]:
    """Of what runs; where that tells nothing, of the start that `infctl up` has undone since."""
    from infctl.engine import causes

    now = [line.text for line in project.engine.logs((service,), lines=LINES)]
    if causes.find(now) is not None:
        return now
    kept = (project.layout.logs / f"{name}.failed.log" for name in (service, f"vllm-{service}"))
    before = next((_of_file(file) for file in kept if file.is_file()), [])
    if not now and not before:
        raise UsageError(
            f"there is no log of {service}",
            hint="nothing of it has started yet; --log FILE reads one from elsewhere",
        )
    return before or now


def _planned(project: Project) -> tuple[Plan | None, dict[str, ModelFacts] | None, tuple[Gpu, ...]]:
    """(plan, facts, cards), as far as there are any: a start that failed may have been planned otherwise."""
    from infctl.gpus import for_profile as cards
    from infctl.models.source import for_profile
    from infctl.plan import plan

    loaded = project.loaded
    try:
        gpus = cards(loaded.profile.gpus, loaded.where)
        found = for_profile(loaded.profile, folder=loaded.base, env=project.env, where=loaded.where)
    except InfctlError:
        return None, None, ()
    try:
        return plan(loaded.profile, gpus, found.facts, where=loaded.where), found.facts, gpus
    except PlanError:
        return None, found.facts, gpus
