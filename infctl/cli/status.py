"""`infctl status`: what runs, since when, how busy, and why what is not well is not. JSON: shapes.STATUS."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json
from infctl.errors import UsageError

if TYPE_CHECKING:
    from infctl.cli.facts import PlatformFacts
    from infctl.cli.remains import Remains
    from infctl.engine.model import Observed

_WATCH_S = 1.0
_WIDTH_PLAIN = 400


def status(
    *,
    files: Files = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Redraw every second; q or Ctrl-C ends it")
    ] = False,
    json_output: Json = False,
) -> None:
    """Show each service: state, process or container, memory used and planned, KV cache in use, requests,
    tokens a second, errors, restarts, and why it is not ready.

    It is a report, so the exit code is 0 whatever it says; `infctl health` gives a verdict.
    --watch: a live screen with requests and tokens a second, the time to the first token, errors of the last
    five minutes, breakers, GPUs, what clients see of each model, tenants near a limit. What cannot be asked
    is shown as such. With --json and --watch: one object a line, every second.

    \b
    Examples:
      infctl status
      infctl status --watch
      infctl status --json | jq '.services[] | select(.state != "ready")'
    """
    from infctl.cli.down import tell_neighbours
    from infctl.cli.project import open_project

    project = open_project(files)
    if not watch:
        facts = collect(project, rates=True)
        show(facts, json_output=json_output)
        if not facts.supervised:
            tell_neighbours(project)
    elif json_output:
        from infctl.cli.look import Looking

        looking = Looking(project)
        while True:
            console.data(looking.look().as_data(), indent=None)
            time.sleep(_WATCH_S)
    elif console.is_tty(sys.stdout):
        _watch(project)
    else:
        raise UsageError(
            "--watch draws on a terminal, and stdout is none", hint="--watch --json works in a pipe"
        )


def collect(
    remains: Remains,
    *,
    engines: bool = True,
    rates: bool = False,
    observed: Observed | None = None,
) -> PlatformFacts:
    """One look (see `look.Looking`)."""
    from infctl.cli.look import Looking

    return Looking(remains, engines=engines, rates=rates).look(observed)


def show(facts: PlatformFacts, *, json_output: bool) -> None:
    from infctl.cli import status_screen

    if json_output:
        console.data(facts.as_data())
        return
    for line in status_screen.lines(facts, _width(), console.styled):
        console.fact(line)


def _width() -> int:
    if console.is_tty(sys.stdout):
        return shutil.get_terminal_size().columns
    return _WIDTH_PLAIN


def _watch(project: Remains) -> None:
    from infctl.cli.live_look import LiveLook
    from infctl.cli.live_screen import screen
    from infctl.cli.watching import live

    live(LiveLook(project).view, screen, _WATCH_S)
