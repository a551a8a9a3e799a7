"""`infctl pull`: images, and with --weights the models' files, before they are needed. JSON: shapes.PULL."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json, WaitLock
from infctl.cli.text import plural

if TYPE_CHECKING:
    from infctl.cli.project import Project
    from infctl.engine.docker.engine import DockerEngine
    from infctl.engine.model import Event
    from infctl.stack import Stack


def pull(
    *,
    files: Files = None,
    weights: Annotated[
        bool, typer.Option("--weights", help="Also fetch the models' files, which takes longest")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Take what each tag means today, not what infctl.lock says")
    ] = False,
    wait_lock: WaitLock = 0.0,
    json_output: Json = False,
) -> None:
    """Fetch what the platform is started from, with progress, and start nothing.

    Images are fetched or built, and their digests written to infctl.lock beside the profile: keep it with the
    profile, and the same images are taken everywhere. A file of weights that is there already is not fetched
    again, one that was cut off goes on where it ended.

    \b
    Examples:
      infctl pull
      infctl pull --weights
      infctl pull --update && infctl diff
    """
    from infctl.cli.change import locked
    from infctl.cli.project import open_project

    project = open_project(files)
    stack = project.build(pinned=not update).stack
    for text in project.warnings():
        console.warn(text)
    docker = project.docker
    with locked(project, "pull", wait_lock):
        events = project.engine.prepare(stack) if docker is None else docker.pull(stack)
        done = _watched(events, json_output=json_output)
        digests = {} if docker is None else _pin(project, docker, stack)
        if weights and docker is not None:
            project = _with_files(project)
            done += _watched(docker.fetch(project.build().stack), json_output=json_output)
    if json_output:
        console.data({"name": project.name, "fetched": done, "locked": dict(digests)})
        return
    if docker is None:
        console.fact(f"{plural(len(done), 'model')} unpacked" if done else "nothing to unpack")
        return
    console.fact(f"{plural(len(done), 'part')} fetched")
    if digests:
        console.fact(f"infctl.lock pins {plural(len(digests), 'image')}")


def _watched(events: Iterator[Event], *, json_output: bool) -> list[str]:
    """What became ready."""
    from infctl.cli.progress import Progress

    live = console.is_tty(sys.stderr) and not json_output
    with Progress((), {}, live=live, ctrl_c="Ctrl-C stops it; what is there stays") as progress:
        for event in events:
            progress.take(event)
    return list(progress.ready_s)


def _pin(project: Project, docker: DockerEngine, stack: Stack) -> Mapping[str, str]:
    """Images that a registry has; one that was built here has no digest there. Others' lines stay."""
    from infctl import image_lock

    found = {one.name.partition("@")[0]: one.digest for one in docker.images(stack) if one.digest}
    if found:
        image_lock.write(project.layout.base, {**image_lock.read(project.layout.base), **found})
    return found


def _with_files(project: Project) -> Project:
    """Rendered, with keys: the service that fetches weights mounts them."""
    from infctl.files import write

    project, added = project.with_generated_secrets()
    if added:
        console.say(f"made {', '.join(added)} in {project.layout.env_file} (only you can read it)")
    project.certificate()
    built = project.build()
    write(built.files, project.layout.rendered, project.book)
    return project
