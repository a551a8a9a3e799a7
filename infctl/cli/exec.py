"""`infctl exec SERVICE -- CMD`: a command where a service runs; its output and exit code are what is told."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from infctl.cli import console
from infctl.cli.options import Files, complete_service
from infctl.errors import EngineError, UsageError

if TYPE_CHECKING:
    from infctl.cli.remains import Remains
    from infctl.engine.docker.engine import DockerEngine


def exec_(
    service: Annotated[str, typer.Argument(autocompletion=complete_service, show_default=False)],
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND...", help="What to run there", show_default=False)
    ],
    *,
    files: Files = None,
) -> int:
    """Run a command where a service runs: in its container, or with its process's environment and folder.

    Exit code and output are the command's own; on a terminal it is interactive. The environment may hold
    keys: what prints it shows them.

    \b
    Examples:
      infctl exec chat0 -- nvidia-smi
      infctl exec gateway -- python -c 'from app.config import settings; settings.validate()'
      infctl exec gateway sh
    """
    from infctl.cli.project import open_remains

    remains = open_remains(files)
    (name,) = remains.named((service,))
    command = command[1:] if command[0] == "--" else command
    if not command:
        raise UsageError(f"what is to be run in {name}?", hint=f"infctl exec {name} -- COMMAND")
    if remains.docker is None:
        _as_process(remains, name, command)
    return _in_container(remains.docker, name, command)


def _in_container(engine: DockerEngine, name: str, command: list[str]) -> int:
    container = engine.container(name)
    docker = shutil.which("docker")
    if docker is not None:
        terminal = ["-t"] if console.is_tty(sys.stdin) and console.is_tty(sys.stdout) else []
        _become([docker, "exec", "-i", *terminal, container.id, *command])
    ran = engine.exec(name, command)  # no terminal then, and nothing to type into
    console.raw(ran.text)
    return ran.code


def _as_process(remains: Remains, name: str, command: list[str]) -> NoReturn:
    from infctl.engine import procfs

    seen = remains.engine.observe().service(name)
    if seen is None or seen.pid is None:
        state = f": it is {seen.state}" if seen is not None else ""
        raise EngineError(f"{name} does not run{state}", hint="infctl status shows why; infctl up starts it")
    environment = procfs.environment(seen.pid)
    if not environment:
        raise EngineError(f"{name} has just ended", hint="infctl status shows why")
    folder = Path(f"/proc/{seen.pid}/cwd")
    marks = (procfs.STACK_VARIABLE, procfs.SERVICE_VARIABLE)  # it would be taken for one of the service's own
    own = {variable: value for variable, value in environment.items() if variable not in marks}
    _become(command, environment=own, folder=folder)


def _become(
    argv: list[str], *, environment: dict[str, str] | None = None, folder: Path | None = None
) -> NoReturn:
    """Go on as that command: signals, terminal and exit code are its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        if folder is not None:
            os.chdir(folder)
        os.execvpe(argv[0], argv, dict(os.environ) if environment is None else environment)  # noqa: S606
    except OSError as error:
        raise EngineError(
            f"{argv[0]} cannot be run there: {error.strerror}", hint="is it installed, and is it a program?"
        ) from None
