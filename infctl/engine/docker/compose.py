"""The Compose that people will use on the rendered file: which one, and what it calls each service's state.

Containers carry Compose's own hash of their service; with it `docker compose up -d` leaves them alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infctl.stack.containers import Project

ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Compose:
    argv: tuple[str, ...]
    """`docker compose`, or `docker-compose`."""
    version: str
    """`5.6.1`."""


def find(environment: Mapping[str, str]) -> Compose | None:
    """The plug-in first. None: there is none, or only the old one written in Python."""
    path = os.pathsep.join((environment.get("PATH", ""), os.path.dirname(sys.executable)))
    for words in (("docker", "compose"), ("docker-compose",)):
        program = shutil.which(words[0], path=path)
        if program is None:
            continue
        argv = (program, *words[1:])
        said = _ask((*argv, "version", "--short"), environment).strip().removeprefix("v")
        if said and said[0].isdigit() and int(said.partition(".")[0]) >= 2:
            return Compose(argv, said)
    return None


def hashes(compose: Compose | None, project: Project, environment: Mapping[str, str]) -> dict[str, str]:
    """Service -> Compose's hash of it, from the file as it lies in the project's folder.

    Empty where there is no Compose, no such file, or Compose does not read it.
    """
    file = os.path.join(project.folder, project.file)
    if compose is None or not os.path.isfile(file):
        return {}
    # As a person calls it there: no -p, since the file has its name.
    said = _ask((*compose.argv, "-f", project.file, "config", "--hash", "*"), environment, project.folder)
    pairs = (line.split() for line in said.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _ask(argv: Sequence[str], environment: Mapping[str, str], folder: str | None = None) -> str:
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
