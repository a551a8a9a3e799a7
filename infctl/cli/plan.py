"""`infctl plan`: which model runs where, in bytes and tokens. JSON: shapes.PLAN. Never opens Docker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json

if TYPE_CHECKING:
    from infctl.cli.planning import Planned
    from infctl.plan import Plan

_GPUS = "Instead of the profile's: 4xL4, h100:2, 2xL4,1xH100, cpu, detect, or a file"


def plan(
    *,
    files: Files = None,
    gpus: Annotated[str | None, typer.Option("--gpus", metavar="GPUS", help=_GPUS)] = None,
    why: Annotated[bool, typer.Option("--why", help="Each engine's flags, and the reason of each")] = False,
    actual: Annotated[
        bool,
        typer.Option("--actual", help="Beside what is planned, what engines measured when they started here"),
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the hub for a model's config, whatever is missing")
    ] = False,
    json_output: Json = False,
) -> None:
    """Plan the GPUs' memory: what each engine takes, and how many tokens its KV cache holds.

    Needs no GPU, no Docker, no weights and no secrets. A model's config.json is read where its weights lie,
    in the Hugging Face cache, or from the hub. vLLM is the one that is deployed, 0.32; `infctl size` answers
    for one model alone.

    \b
    Examples:
      infctl plan
      infctl plan -f l4x4.yaml --gpus 2xH100 --why
      infctl plan --actual
    """
    from infctl.cli.planning import make

    planned = make(files, gpus, offline=offline, actual=actual)
    for text in planned.warnings:
        console.warn(text)
    if json_output:
        _data(planned, actual=actual)
    else:
        _show(planned, why=why, actual=actual)


def _data(planned: Planned, *, actual: bool) -> None:
    from infctl.cli.actual import actual_data
    from infctl.cli.plan_data import plan_data

    told = plan_data(planned.name, planned.plan, memory_bytes=planned.memory_bytes)
    console.data({**told, "actual": actual_data(planned.starts) if actual else None})


def show(name: str, plan: Plan) -> None:
    """The screen of a plan that was made elsewhere, as `infctl up --dry-run` shows it."""
    from infctl.cli import machine, plan_screen
    from infctl.cli.window import speaks_utf8, width

    memory = machine.memory() if not plan.gpus else None
    for line in plan_screen.lines(
        name, plan, width(), memory_bytes=memory, utf8=speaks_utf8(), paint=console.styled
    ):
        console.fact(line)


def _show(planned: Planned, *, why: bool, actual: bool) -> None:
    from infctl.cli import actual as actual_screen
    from infctl.cli import plan_screen
    from infctl.cli.window import speaks_utf8, width

    room, utf8 = width(), speaks_utf8()
    told = plan_screen.lines(
        planned.name,
        planned.plan,
        room,
        memory_bytes=planned.memory_bytes,
        utf8=utf8,
        paint=console.styled,
    )
    if actual:
        told += ["", *actual_screen.lines(planned.starts, room, utf8=utf8, paint=console.styled)]
    if why:
        told += plan_screen.why_lines(planned.plan, room, utf8=utf8, paint=console.styled)
    for line in told:
        console.fact(line)
