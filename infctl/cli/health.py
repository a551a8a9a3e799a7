"""`infctl health`: a verdict, 0 or 1. JSON: shapes.HEALTH."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json
from infctl.cli.text import duration, plural

if TYPE_CHECKING:
    from infctl.api import Health
    from infctl.cli.gate import Answer

_ANSWER_S = 120.0


def health(
    *,
    files: Files = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Ask every model a real question, through the edge where there is one"),
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1, max=3600, metavar="SECONDS", help="For each answer of --deep")
    ] = _ANSWER_S,
    json_output: Json = False,
) -> int:
    """Say whether the platform serves every model: exit code 0, or 1 with the reasons.

    --deep sends a chat, a text2sql, an embedding and a rerank request and judges the answers, not only
    their status codes.

    \b
    Examples:
      infctl health && echo fine
      infctl health --deep --json
    """
    from infctl.cli import gate
    from infctl.cli.project import open_project
    from infctl.errors import GatewayError

    project = open_project(files)
    stack = project.stack()
    reach = project.reach(stack)
    with project.api(reach) as api:
        answers_at_all, why = api.reachable()
        if not answers_at_all:
            return _gone(why, json_output=json_output)
        said = api.health()
    reasons = bad(said)
    answers: list[Answer] = []
    via = None
    if deep:
        with project.api(reach, through_edge=True) as api:
            try:
                for answer in gate.ask_all(api, said.models, timeout_s=timeout):
                    answers.append(answer)
                    if not json_output:
                        show(answer)
            except GatewayError as error:
                reasons.append(error.message)
            via = api.url
        reasons += [f"{a.model} ({a.task}) did not answer: {a.text}" for a in answers if not a.answered]
        reasons += [
            f"{a.model} ({a.task}) answers, but wrongly: {a.text}"
            for a in answers
            if a.answered and a.right is False
        ]
    if json_output:
        console.data(
            {
                "healthy": not reasons,
                "status": said.status,
                "reasons": reasons,
                "answers": [answer.as_data() for answer in answers],
                "via": via,
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


def _gone(why: str, *, json_output: bool) -> int:
    """Nobody answers: a verdict as well."""
    if json_output:
        told = {"healthy": False, "status": "down", "reasons": [why], "answers": [], "via": None}
        console.data({**told, "checked_at": time.time()})
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


def show(answer: Answer) -> None:
    """Question and answer, in two lines."""
    mark = "no answer" if not answer.answered else "wrong" if answer.right is False else "ok"
    console.fact(f"{answer.model} ({answer.task}): {answer.question}")
    style = "good" if mark == "ok" else "error"
    console.fact(f"  {console.styled(mark, style)} · {duration(answer.seconds)} · {answer.text}")
