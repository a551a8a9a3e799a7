"""`infctl up`: from a profile to models that answer. JSON: shapes.UP.

    profile -> warnings -> secrets -> plan -> stack -> files -> what changes -> ask -> do -> ask the models

The steps before "do" touch nothing but .env; `change.carry_out` does, and undoes.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infctl.cli import change, console, env_file
from infctl.cli.options import Files, Json, OverwriteEdits, Timeout, WaitLock, Yes
from infctl.errors import EngineError, GatewayError, ProfileError

if TYPE_CHECKING:
    from infctl.cli.actual import Start
    from infctl.cli.assemble import Built
    from infctl.cli.change import Look
    from infctl.cli.gate import Answer
    from infctl.cli.measure import Way
    from infctl.cli.project import Project
    from infctl.cli.remains import Remains
    from infctl.cli.saved import Saved
    from infctl.cli.wanted import Wanted
    from infctl.engine.model import Action
    from infctl.stack import Stack

_LINES = 2000
"""Of an engine's log, for what it measured when it started."""


@dataclass(frozen=True, slots=True)
class Done:
    """What one change did, to be told."""

    seen: Look
    answers: tuple[Answer, ...] = ()
    measured: tuple[Start, ...] = ()


def up(
    saved: Annotated[
        Path | None,
        typer.Argument(
            metavar="[SAVED_DIFF]",
            help="A file of `infctl diff -o`: apply exactly that, or nothing",
            show_default=False,
        ),
    ] = None,
    *,
    files: Files = None,
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and what would change, and stop")
    ] = False,
    overwrite_edits: OverwriteEdits = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave what was started when something fails")] = False,
    timeout: Timeout = change.TIMEOUT_S,
    wait_lock: WaitLock = 0.0,
    json_output: Json = False,
) -> None:
    """Start the platform, or change what runs to what the profile says.

    Shows what will change, why, and who is away for how long; asks before it replaces or removes anything
    (without a terminal: -y). When every service is ready, each model is asked a real question. If anything
    fails, or on Ctrl-C, what ran before runs again, and nothing half-started is left (unless --keep).

    \b
    Examples:
      infctl up
      infctl up -f base.yaml -f production.yaml --dry-run
      infctl up -y --timeout 600
      infctl diff -o change.json && infctl up change.json
    """
    from infctl.cli import project as projects
    from infctl.cli import saved as saving

    begun = time.monotonic()
    promise = None if saved is None else saving.read(saved)
    named = files if files or promise is None else list(promise.profiles)
    project, built = ready_to_go(projects.open_project(named), dry_run=dry_run)
    if dry_run:
        show_only(project, built, promise, json_output=json_output)
        return
    options = change.Options(yes, overwrite_edits, keep, timeout)
    done = apply(project, built, "up", options, promise=promise, wait_lock_s=wait_lock, begun=begun)
    report(project, project.want(built), done, json_output=json_output)
    if done.seen.is_needed:
        console.say(f"done in {_since(begun)}")


def ready_to_go(project: Project, *, dry_run: bool) -> tuple[Project, Built]:
    """Everything that can be refused before anything runs. Writes generated secrets to .env."""
    if not dry_run:
        console.goes_on()
    for text in project.warnings():
        console.warn(text)
    _refuse_other_runtime(project)
    project = _with_secrets(project, dry_run=dry_run)
    built = project.build()
    if project.runtime == "process":
        _check_machine(built.stack, dry_run=dry_run)
    if dry_run:
        project.check_certificate()
    elif made := project.certificate():
        console.say(made)
        built = project.build()  # the files' digests are in it
    for text in built.warnings:
        console.warn(text)
    for note in built.notes:
        console.say(f"note: {note}")
    return project, built


def apply(
    project: Project,
    built: Built,
    command: str,
    options: change.Options,
    *,
    promise: Saved | None = None,
    wait_lock_s: float = 0.0,
    begun: float,
    remark: Callable[[Look], None] = lambda _seen: None,
) -> Done:
    """Under the platform's lock: look, ask, do, measure. Raises what went wrong, after undoing it.

    `remark`: told of what was found, before anybody is asked.
    """
    from infctl.cli import saved, scaled
    from infctl.cli.down import tell_neighbours

    with change.locked(project, command, wait_lock_s) as waited:
        if waited:  # what ran when it was planned may not be what runs
            built = project.build()
        if project.applied() is None:
            tell_neighbours(project)
        wanted = project.want(built)
        seen = change.look(project, wanted)
        if promise is not None:
            saved.refuse_if_moved(promise, saved.of(project, wanted, seen))
        if not console.wants_json():
            for line in seen.lines():
                console.fact(line)
        remark(seen)
        answers: list[Answer] = []
        if seen.is_needed or change.is_unready(seen):
            change.consent(seen, yes=options.yes)
            left = change.Options(
                options.yes,
                options.overwrite_edits,
                options.keep,
                max(1.0, options.timeout_s - (time.monotonic() - begun)),
            )
            rescale = scaled.to_write(project.layout, project.scale)
            with _explained(project, built):
                answers = change.carry_out(project, wanted, seen, command, left, also=rescale)
        else:
            scaled.to_write(project.layout, project.scale)()
            _adopt(project, wanted)
        measured = _measure(project, built, seen.actions) if answers or console.wants_json() else ()
        return Done(seen, tuple(answers), measured)


def as_data(name: str, seen: Look) -> dict[str, Any]:
    from infctl.cli import diff

    return {"name": name, **diff.as_data(seen)}


def report(
    remains: Remains,
    wanted: Wanted,
    done: Done,
    *,
    json_output: bool,
    more: Mapping[str, Any] | None = None,
) -> None:
    """The table of `infctl status`, and what to copy. `more`: further keys of the JSON answer."""
    from infctl.cli import curls, measure, status
    from infctl.cli.actual import actual_data
    from infctl.cli.reach import curl_parts

    found = None if done.answers else done.seen.setting.observed
    facts = status.collect(remains, engines=False, observed=found)
    if json_output:
        console.data(
            {
                **as_data(wanted.stack.name, done.seen),
                "applied": True,
                "answers": [answer.as_data() for answer in done.answers],
                "measured": actual_data(done.measured),
                "status": facts.as_data(),
                **(more or {}),
            }
        )
        return
    for line in measure.lines(done.measured) if done.answers else ():
        console.fact(line)
    console.fact()
    status.show(facts, json_output=False)
    reach = wanted.applied.reach
    if not done.answers or remains.transport(reach) is not None:
        return  # on another machine, whose addresses are not those that are to be copied here
    try:
        with remains.api(reach, wanted.values) as api:
            models = api.health().models
    except GatewayError:
        return
    console.fact()
    known = reach.key_name in env_file.read(remains.layout.env_file)
    for line in curls.lines(models, **curl_parts(reach, remains.layout.env_file, known)):
        console.fact(line)


def show_only(
    project: Project,
    built: Built,
    promise: Saved | None,
    *,
    json_output: bool,
    with_plan: bool = True,
) -> None:
    """`--dry-run`: the plan, then what would change."""
    from infctl.cli import diff, plan, saved
    from infctl.cli.down import tell_neighbours

    if project.applied() is None:
        tell_neighbours(project)
    wanted = project.want(built)
    seen = change.look(project, wanted)
    if promise is not None:
        saved.refuse_if_moved(promise, saved.of(project, wanted, seen))
    if json_output:
        told = {**as_data(built.stack.name, seen), "applied": False}
        console.data({**told, "answers": [], "measured": [], "status": None})
        return
    if with_plan:
        plan.show(built.stack.name, built.plan)
        console.fact()
    for line in seen.lines():
        console.fact(line)
    diff.show(seen.changes)


# Private


def _with_secrets(project: Project, *, dry_run: bool) -> Project:
    """Raises ProfileError with all that are missing."""
    if not dry_run:
        project, added = project.with_generated_secrets()
        if added:
            console.say(f"made {', '.join(added)} in {project.layout.env_file} (only you can read it)")
    if env_file.readable_by_others(project.layout.env_file, group=project.runtime == "process"):
        console.warn(f"others on this machine can read {project.layout.env_file}: chmod 600 closes it")
    missing = project.missing_secrets()
    if missing:
        raise ProfileError(f"{len(missing)} secrets are missing", problems=missing)
    return project


def _refuse_other_runtime(project: Project) -> None:
    """One platform never runs twice: as processes and in containers."""
    done = (entry for entry in project.history.newest_first() if entry.outcome == "done")
    last = next((entry for entry in done if entry.changes_the_stack), None)
    before = last.applied.stack.runtime if last is not None and last.applied is not None else project.runtime
    if before != project.runtime:
        raise EngineError(
            f"{project.name} runs with `runtime: {before}`, and the profile now says {project.runtime}",
            hint=f"runtime: {before} again and infctl down first; then infctl up with the new one",
        )


def _check_machine(stack: Stack, *, dry_run: bool) -> None:
    """What vLLM on the CPU needs, and that each engine's Python has vLLM. Before anything is touched."""
    from infctl import cpu

    engines = [service for service in stack.services if service.role == "engine"]
    vllm = [service for service in engines if any("vllm" in word for word in service.argv)]
    if any(service.gpu is None for service in vllm):
        lack = cpu.this_machine()
        if lack is not None:
            raise EngineError(lack, hint="infctl validate, diff and render work here all the same")
    for python in dict.fromkeys(service.argv[0] for service in vllm):
        if _has_vllm(python):
            continue
        if dry_run:
            console.warn(f"vLLM is not installed for {python}: infctl up would stop here")
        else:
            raise EngineError(
                f"vLLM is not installed for {python}",
                hint="in a checkout: make up installs it; elsewhere: pip install --no-deps -r "
                "requirements/local.txt for the CPU, pip install 'infctl[gpu]' for NVIDIA GPUs",
            )


def _has_vllm(python: str) -> bool:
    """Without importing it, which takes seconds."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"
    try:
        return (
            subprocess.run([python, "-c", code], capture_output=True, timeout=30, check=False).returncode == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


@contextlib.contextmanager
def _explained(project: Project, built: Built) -> Iterator[None]:
    """A service that did not start, with the place in the profile and what would be right there."""
    from infctl.engine.causes import DidNotStart

    try:
        yield
    except DidNotStart as error:
        from infctl.cli.failed_start import explained

        raise explained(error, project, built) from None


def _adopt(project: Project, wanted: Wanted) -> None:
    """What was started otherwise, by Compose, and is as it should be: from now on it is known here."""
    if project.docker is None or project.applied() == wanted.stack:
        return
    from infctl.cli.record import recorded

    with recorded(project.history, "up", applied=wanted.applied, files=wanted.files):
        project.engine.adopt(wanted.stack)


def _measure(project: Project, built: Built, actions: Sequence[Action]) -> tuple[Start, ...]:
    """What each engine measured when it started: kept for the next plan. It never fails what runs already."""
    from infctl.cli import measure

    started = {action.service for action in actions if action.kind in {"create", "start", "replace"}}
    try:
        learned = measure.learn(
            built.stack,
            built.plan,
            project.profile,
            project.layout,
            project.want(built).secrets(),
            started=started,
            now=time.time(),
            way=_way(project),
        )
    except Exception as error:  # noqa: BLE001 - a fault of ours is not worth a platform that answers
        console.warn(f"what the engines measured could not be read: {error!r}")
        return ()
    for text in learned.warnings:
        console.warn(text)
    return learned.starts


def _way(project: Project) -> Way:
    from infctl.cli import measure

    docker = project.docker
    if docker is None:
        return measure.here(project.layout)
    return measure.Way(project.ask, lambda name: [line.text for line in docker.logs((name,), lines=_LINES)])


def _since(begun: float) -> str:
    from infctl.cli.text import duration

    return duration(time.monotonic() - begun)
