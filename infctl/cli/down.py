"""`infctl down` and `infctl restart`. JSON: shapes.DOWN, shapes.RESTART."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json, Services, WaitLock, Yes
from infctl.cli.text import plural
from infctl.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from infctl.cli.remains import Remains


def down(
    *,
    files: Files = None,
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Also remove volumes (of containers; local processes have none)")
    ] = False,
    purge: Annotated[
        bool,
        typer.Option(
            "--purge", help="Also remove rendered files, logs, state and unpacked weights, after asking"
        ),
    ] = False,
    yes: Yes = False,
    wait_lock: WaitLock = 0.0,
    json_output: Json = False,
) -> None:
    """Stop every service, in order, and leave no process, socket or lock behind.

    Logs and rendered files stay, so that `infctl logs` still works and `infctl up` starts the same again.
    The profile and .env are never removed.

    \b
    Examples:
      infctl down
      infctl down --purge -y
    """
    from infctl.cli.change import locked
    from infctl.cli.progress import Progress
    from infctl.cli.project import open_remains
    from infctl.cli.record import recorded

    project = open_remains(files)
    engine = project.engine
    doomed = _doomed(project) if purge else ()
    if doomed:
        _consent(doomed, yes=yes)
    if volumes:
        console.say("local processes have no volumes")
    stopped = []
    if project.layout.home.exists():
        with locked(project, "down", wait_lock):
            names = tuple(service.name for service in engine.observe().services)
            live = console.is_tty(sys.stderr) and not json_output
            kept = recorded(project.history, "down", needed=False) if names else contextlib.nullcontext()
            with kept, Progress(names, {}, live=live) as progress, _still_stopping():
                for event in engine.down():
                    progress.take(event)
                    if event.kind == "stopped":
                        stopped.append(event.service)
    removed = [str(path) for path in doomed if _remove(path)]
    if json_output:
        console.data({"name": project.name, "stopped": stopped, "removed": removed})
        return
    console.fact(f"{project.name}: {plural(len(stopped), 'service')} stopped" if stopped else "nothing ran")
    for path in removed:
        console.fact(f"removed {path}")
    if not stopped:
        tell_neighbours(project)


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
        Progress(names or known, {}, live=live) as progress,
    ):
        try:
            for event in engine.restart(names):
                progress.take(event)
        except KeyboardInterrupt:
            raise Interrupted(
                "interrupted", hint="the restart goes on without being watched: infctl status shows it"
            ) from None
    if json_output:
        console.data({"name": project.name, "restarted": list(names or known), "ready_s": progress.ready_s})
    else:
        console.fact(f"restarted {', '.join(names or known)}")


@contextlib.contextmanager
def _still_stopping() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        hint = "the services go on stopping: infctl status shows it, infctl down waits for the end"
        raise Interrupted("interrupted", hint=hint) from None


def _doomed(project: Remains) -> tuple[Path, ...]:
    """What --purge removes, as far as it is there: this platform's folder and the weights unpacked for it."""
    running = project.applied()
    weights = [Path(step.creates) for step in running.prepare] if running else []
    return tuple(path for path in dict.fromkeys((project.layout.home, *weights)) if path.exists())


def _consent(doomed: tuple[Path, ...], *, yes: bool) -> None:
    if yes:
        return
    if not console.can_ask():
        raise UsageError("--purge removes files, and nobody can be asked here", hint="-y says yes")
    for path in doomed:
        console.say(f"  - {path}")
    if not console.ask("stop everything and remove these?"):
        raise Interrupted("not removed", hint="nothing was changed")


def _remove(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return not path.exists()
