"""`infctl health`: a verdict, 0 or 1. JSON: shapes.HEALTH."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json
from infctl.cli.text import duration, plural

if TYPE_CHECKING:
    from infctl.api import Health
    from infctl.cli.gate import Answer
    from infctl.cli.project import Project
    from infctl.health.found import Found
    from infctl.history.applied import Reach

_ANSWER_S = 120.0


def health(
    *,
    files: Files = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Ask every model a real question, and look at certificate, metrics, store, disk and clocks",
        ),
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1, max=3600, metavar="SECONDS", help="For each answer of --deep")
    ] = _ANSWER_S,
    prometheus: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="With --deep: whose targets are looked at; default: the platform's own"
        ),
    ] = None,
    json_output: Json = False,
) -> int:
    """Say whether the platform serves every model: exit code 0, or 1 with the reasons.

    --deep asks as a client does, through the edge where there is one: a chat, a text2sql, an embedding and
    a rerank request, by each model's task, and judges the answers and not only their status codes. Then it
    looks at the certificate (who signed it, names, end, chain), at each /metrics and at Prometheus's targets,
    at the store of counts, the audit trail, what is free on the disks, and whether the clocks agree. Of what
    is not well it says where, why it matters, and what to do next. A warning alone leaves the exit code 0.

    \b
    Examples:
      infctl health && echo fine
      infctl health --deep --json | jq '.checks[] | select(.verdict != "ok")'
    """
    from infctl.cli.project import open_project
    from infctl.errors import UsageError

    if prometheus is not None and not deep:
        raise UsageError("--prometheus is of --deep", hint="infctl health --deep --prometheus URL")
    project = open_project(files)
    stack = project.stack()
    reach = project.reach(stack)
    with project.api(reach) as api:
        answers_at_all, why = api.reachable()
        if not answers_at_all:
            return _gone(why, json_output=json_output)
        said = api.health()
    found = _Deep()
    if deep:
        found = _look_deep(project, reach, said, prometheus, timeout_s=timeout, json_output=json_output)
    reasons = [*bad(said), *found.reasons]
    if json_output:
        console.data(
            {
                "healthy": not reasons,
                "status": said.status,
                "reasons": reasons,
                "answers": [answer.as_data() for answer in found.answers],
                "checks": [one.as_data() for one in found.checks],
                "via": found.via,
                "checked_at": time.time(),
            }
        )
    elif reasons:
        console.fact(f"not healthy: {said.status}")
        for reason in reasons:
            console.fact(f"  {reason}")
    else:
        console.fact(
            f"healthy: {plural(len(said.models), 'model')} on {plural(len(said.backends), 'server')}"
        )
    return 1 if reasons else 0


@dataclass(frozen=True, slots=True)
class _Deep:
    """What --deep adds."""

    answers: list[Answer] = field(default_factory=list)
    checks: list[Found] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    via: str | None = None
    """Where the questions went."""


def _look_deep(
    project: Project,
    reach: Reach,
    said: Health,
    prometheus: str | None,
    *,
    timeout_s: float,
    json_output: bool,
) -> _Deep:
    from infctl.cli import gate, health_deep
    from infctl.errors import GatewayError

    answers, reasons = [], []
    with project.api(reach, through_edge=True) as api:
        try:
            for answer in gate.ask_all(api, said.models, timeout_s=timeout_s):
                answers.append(answer)
                if not json_output:
                    show(answer)
        except GatewayError as error:
            reasons.append(error.message)
        via = api.url
    checks = [*health_deep.of_gateway(said, reach.gateway), *health_deep.of_answers(answers, via)]
    checks += health_deep.Deep(project, project.stack(), reach, prometheus).looks(time.time())
    if not json_output:
        _table(checks)
    reasons += [f"{a.model} ({a.task}) did not answer: {a.text}" for a in answers if not a.answered]
    reasons += [
        f"{a.model} ({a.task}) answers, but wrongly: {a.text}"
        for a in answers
        if a.answered and a.right is False
    ]
    others = [one for one in checks if one.verdict == "failure" and one.check != "models"]
    reasons += [f"{one.check}: {one.what} ({one.where})" for one in others]
    return _Deep(answers, checks, reasons, via)


def _gone(why: str, *, json_output: bool) -> int:
    """Nobody answers: a verdict as well."""
    if json_output:
        told = {
            "healthy": False,
            "status": "down",
            "reasons": [why],
            "answers": [],
            "checks": [],
            "via": None,
        }
        console.data({**told, "via": None, "checked_at": time.time()})
    else:
        console.fact("not healthy: down")
        console.fact(f"  {why}")
        console.say("infctl status shows what runs; infctl up starts it")
    return 1


def bad(said: Health) -> list[str]:
    """Why the gateway's word is not good enough; empty when it is."""
    reasons = []
    if said.draining:
        reasons.append("the gateway is draining: it is about to stop")
    for model in said.models:
        if not model.get("healthy", False):
            servers = [b for b in said.backends if b.model == model["name"]]
            why = "; ".join(f"{b.id} {b.state}" + (f" ({b.why})" if b.why else "") for b in servers)
            reasons.append(f"{model['name']} has no server that is ready" + (f": {why}" if why else ""))
    if said.status == "down" and not reasons:
        reasons.append("the gateway says it is down")
    return reasons


def _table(checks: list[Found]) -> None:
    from infctl.cli.health_screen import lines
    from infctl.cli.window import speaks_utf8, width

    for line in ("", *lines(checks, width(), utf8=speaks_utf8(), paint=console.styled), ""):
        console.fact(line)


def show(answer: Answer) -> None:
    """Question and answer, in two lines."""
    mark = "no answer" if not answer.answered else "wrong" if answer.right is False else "ok"
    console.fact(f"{answer.model} ({answer.task}): {answer.question}")
    style = "good" if mark == "ok" else "error"
    console.fact(f"  {console.styled(mark, style)} · {duration(answer.seconds)} · {answer.text}")
