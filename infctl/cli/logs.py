"""`infctl logs`: every service's lines, interleaved, each with its service's name before it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import console
from infctl.cli.log_lines import LogLine
from infctl.cli.options import FilesLong, Json, Services
from infctl.errors import UsageError

if TYPE_CHECKING:
    from infctl.engine.docker.engine import DockerEngine

_COLOURS = ("36", "33", "35", "32", "34", "96", "93", "95", "92", "94")
_POLL_S = 0.2
_TAIL = 100
_ALL = 10**9


def logs(
    services: Services = None,
    *,
    files: FilesLong = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as lines are written; Ctrl-C ends it")
    ] = False,
    tail: Annotated[
        str, typer.Option("--tail", "-n", metavar="N", help="Lines of each service to begin with, or `all`")
    ] = str(_TAIL),
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Lines since then: 10m, 2h, 14:30, an ISO time, or `start` of the service"
        ),
    ] = None,
    json_output: Json = False,
) -> None:
    """Show what the services write, all of them interleaved by time, each line after its service's name.

    Here -f means --follow, unless a YAML file comes after it: that is the profile. With --json: an object
    a line.

    \b
    Examples:
      infctl logs -f
      infctl logs gateway nginx --tail 20
      infctl logs chat --since start
    """
    from infctl.cli import log_lines
    from infctl.cli.project import open_remains

    project = open_remains(files)
    names = project.named(services or ()) or project.logged_names()
    now = time.time()
    floors = dict.fromkeys(names, 0.0)
    if since == "start":
        observed = project.engine.observe()
        for name in names:
            seen = observed.service(name)
            floors[name] = (seen.started_at or 0.0) if seen else 0.0
    elif since is not None:
        floors = dict.fromkeys(names, log_lines.since(since, now))
    count = _ALL if since is not None and tail == str(_TAIL) else _count(tail)
    printer = _Printer(names, json_output=json_output)
    if project.docker is not None:
        _of_containers(project.docker, printer, floors, count, follow=follow)
    else:
        paths = {name: project.layout.logs / f"{name}.log" for name in names}
        _of_files(paths, printer, floors, count, now, follow=follow)


def _of_containers(
    engine: DockerEngine, printer: _Printer, floors: Mapping[str, float], count: int, *, follow: bool
) -> None:
    """The Docker engine keeps them, each line with its time."""
    least = min(floors.values(), default=0.0) or None
    shown = False
    try:
        for line in engine.logs(tuple(floors), lines=count, follow=follow, since=least):
            if (line.at or 0.0) >= floors.get(line.service, 0.0):
                shown = True
                printer.show([LogLine(line.service, line.text, line.at)])
    except KeyboardInterrupt:
        return
    if not shown:
        console.say("no such lines" if floors else "no logs yet: infctl up starts the services")


def _of_files(
    paths: Mapping[str, Path],
    printer: _Printer,
    floors: Mapping[str, float],
    count: int,
    now: float,
    *,
    follow: bool,
) -> None:
    from infctl.cli import log_lines
    from infctl.engine.logs import Follower
    from infctl.engine.logs import tail as last_lines

    followers = {name: Follower.at_end(path) for name, path in paths.items()}
    first = {
        name: [
            line
            for line in log_lines.dated(name, last_lines(path, count), now)
            if not floors[name] or (line.at or 0.0) >= int(floors[name])
        ]
        for name, path in paths.items()
    }
    printer.show(log_lines.interleaved(first))
    if not follow:
        _tell_empty(first, paths)
        return
    try:
        while True:
            fresh = {
                name: list(log_lines.dated(name, follower.new_lines(), time.time()))
                for name, follower in followers.items()
            }
            printer.show(log_lines.interleaved(fresh))
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        return


class _Printer:
    def __init__(self, names: Sequence[str], *, json_output: bool) -> None:
        self._width = max((len(name) for name in names), default=0)
        self._colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}
        self._json = json_output
        self._colour = console.has_colour(sys.stdout)

    def show(self, lines: Sequence[LogLine]) -> None:
        for line in lines:
            if self._json:
                console.data({"service": line.service, "at": line.at, "line": line.text}, indent=None)
                continue
            head = f"{line.service:<{self._width}} |"
            if self._colour:
                head = f"\x1b[{self._colours.get(line.service, _COLOURS[0])}m{head}\x1b[0m"
            console.fact(f"{head} {line.text}")


def _count(tail: str) -> int:
    if tail == "all":
        return _ALL
    if not tail.isdigit():
        raise UsageError(f"--tail {tail!r} is not a number of lines", hint="--tail 100, or --tail all")
    return int(tail)


def _tell_empty(first: Mapping[str, Sequence[LogLine]], paths: Mapping[str, Path]) -> None:
    if any(first.values()):
        return
    written = [name for name, path in paths.items() if path.exists()]
    console.say("no such lines" if written else "no logs yet: infctl up starts the services")
