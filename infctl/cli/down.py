"""`infctl down` and `infctl restart`. JSON: shapes.DOWN, shapes.RESTART."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json, Services, WaitLock, Yes
from infctl.cli.text import plural
from infctl.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from infctl.cli.remains import Remains

_SHOWN = 20
"""Of what a purge removes; the rest is counted."""


def down(
    *,
    files: Files = None,
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Also remove volumes: compiled kernels, keys, dashboards' data")
    ] = False,
    purge: Annotated[
        bool,
        typer.Option(
            "--purge",
            help="Also remove volumes, weights, rendered files, logs and history, after asking",
        ),
    ] = False,
    yes: Yes = False,
    wait_lock: WaitLock = 0.0,
    json_output: Json = False,
) -> None:
    """Stop every service, in order, and leave no process, container, network, socket or lock behind.

    Rendered files stay, and of processes the logs; so `infctl up` starts the same again. Volumes and weights
    stay too, unless asked for. The profile and .env are never removed.

    \b
    Examples:
      infctl down
      infctl down --purge -y
    """
    from infctl.cli import purge as purging
    from infctl.cli.change import locked
    from infctl.cli.project import open_remains

    project = open_remains(files)
    doomed = purging.doomed(project) if purge else ()
    volumes = (volumes or purge) and project.docker is not None
    going = purging.volumes(project) if volumes else ()
    if purge:
        _consent((*map(str, doomed), *(f"volume {name}" for name in going)), yes=yes)
    stopped: list[str] = []
    if project.docker is not None or project.layout.home.exists():
        with locked(project, "down", wait_lock):
            stopped = _stop(project, volumes=volumes, live=console.is_tty(sys.stderr) and not json_output)
    removed = [str(path) for path in purging.remove(doomed, project.layout.base)]
    if json_output:
        console.data({"name": project.name, "stopped": stopped, "removed": [*going, *removed]})
        return
    console.fact(f"{project.name}: {plural(len(stopped), 'service')} stopped" if stopped else "nothing ran")
    for name in going:
        console.fact(f"removed volume {name}")
    if removed:
        from infctl.cli.diff import grouped

        near = f"{project.layout.base}/"
        for text in grouped([path.removeprefix(near) for path in removed]):
            console.fact(f"removed {text}")
    if not stopped:
        tell_neighbours(project)


def _stop(project: Remains, *, volumes: bool, live: bool) -> list[str]:
    """Under the lock; answers with the services that ran."""
    from infctl.cli.progress import Progress
    from infctl.cli.record import recorded

    engine = project.engine
    names = tuple(service.name for service in engine.observe().services)
    kept = recorded(project.history, "down", needed=False) if names else contextlib.nullcontext()
    stopped = []
    with kept, Progress(names, {}, live=live) as progress, _still_stopping(project):
        for event in engine.down(volumes=volumes):
            progress.take(event)
            if event.kind == "stopped":
                stopped.append(event.service)
    return stopped


def tell_neighbours(project: Remains) -> None:
    """Nothing runs under this name: say what does, for a renamed profile leaves its platform running."""
    for name in project.neighbours():
        console.warn(
            f"{name} runs from this folder too; if this profile was renamed, stop it first: "
            f"name: {name} again, and infctl down"
        )


def restart(
    services: Services = None,
    *,
    files: Files = None,
    wait_lock: WaitLock = 0.0,
    json_output: Json = False,
) -> None:
    """Stop and start services, as they run now; to take a changed profile use `infctl up`.

    \b
    Examples:
      infctl restart gateway
      infctl restart
    """
    from infctl.cli.bring_up import roles
    from infctl.cli.change import locked
    from infctl.cli.progress import Progress
    from infctl.cli.project import open_remains
    from infctl.cli.record import recorded

    project = open_remains(files)
    engine = project.engine
    names = project.named(services or ())
    known = project.service_names()
    live = console.is_tty(sys.stderr) and not json_output
    command = " ".join(("restart", *names))
    with (
        locked(project, command, wait_lock),
        recorded(project.history, command, needed=False),
        Progress(names or known, {}, live=live, roles=roles(project.applied())) as progress,
    ):
        try:
            for event in engine.restart(names):
                progress.take(event)
        except KeyboardInterrupt:
            hint = "the restart goes on without being watched: infctl status shows it"
            if project.docker is not None:
                hint = "some services may be stopped: infctl status shows them, infctl up starts them"
            raise Interrupted("interrupted", hint=hint) from None
    if json_output:
        console.data({"name": project.name, "restarted": list(names or known), "ready_s": progress.ready_s})
    else:
        console.fact(f"restarted {', '.join(names or known)}")


@contextlib.contextmanager
def _still_stopping(project: Remains) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        hint = "the services go on stopping: infctl status shows it, infctl down waits for the end"
        if project.docker is not None:
            hint = "some services are left: infctl status shows them, infctl down again stops them too"
        raise Interrupted("interrupted", hint=hint) from None


def _consent(doomed: tuple[str, ...], *, yes: bool) -> None:
    if yes or not doomed:
        return
    if not console.can_ask():
        raise UsageError("--purge removes files, and nobody can be asked here", hint="-y says yes")
    for one in doomed[:_SHOWN]:
        console.say(f"  - {one}")
    if len(doomed) > _SHOWN:
        console.say(f"  - and {len(doomed) - _SHOWN} more, all made by infctl")
    if not console.ask("stop everything and remove these?"):
        raise Interrupted("not removed", hint="nothing was changed")
