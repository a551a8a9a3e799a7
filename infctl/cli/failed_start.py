"""A service that did not start under `infctl up`: explained by its log, the profile and the plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from infctl.cli import console, machine
from infctl.errors import EngineError, InfctlError

if TYPE_CHECKING:
    from infctl.cli.assemble import Built
    from infctl.cli.project import Project
    from infctl.engine.causes import DidNotStart


def explained(error: DidNotStart, project: Project, built: Built) -> EngineError:
    """With the place in the profile and a value that was planned, where the log tells what was wrong."""
    from infctl.doctor.startup import explain
    from infctl.plan.asks import UNKNOWN_MEMORY

    kept = _keep_log(error, project) if project.docker is not None else None
    left = error.hint.removeprefix(error.do).strip()
    whole = f"all of its log: {kept}" if kept is not None else ""
    on_cpu = not built.plan.gpus
    found = explain(
        error.lines,
        error.service,
        project.loaded,
        built.plan,
        last_exit=error.why,
        machine_bytes=(machine.memory() or UNKNOWN_MEMORY) if on_cpu else UNKNOWN_MEMORY,
    )
    if not found.key:
        do = "" if whole and "infctl logs" in error.do else error.do
        error.hint = _joined(do, whole, left)
        return error
    told = found.error()
    # With its container the log that `infctl logs` reads is gone.
    said = [line for line in told.hint.splitlines() if not (whole and line.startswith("log: "))]
    return EngineError(told.message, hint=_joined(*said, whole, left), log=told.log)


def _keep_log(error: DidNotStart, project: Project) -> Path | None:
    """Undoing the change takes the container away, and its log with it."""
    from infctl.atomic import replace

    path = project.layout.logs / f"{error.service}.failed.log"
    try:
        project.layout.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace(path, ("\n".join(error.lines) + "\n").encode(), mode=0o600)
    except (OSError, InfctlError):
        console.warn(f"the log of {error.service} could not be kept")
        return None
    return path


def _joined(*parts: str) -> str:
    return "\n".join(part for part in parts if part)
