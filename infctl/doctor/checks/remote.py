"""Docker on another machine: is everything there that is mounted from this one?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from infctl.doctor.case import Case
from infctl.doctor.docker import Docker
from infctl.doctor.finding import Finding, failure, ok, warning
from infctl.errors import EngineError

LABEL = "io.infctl.doctor"
SHOWN = 5


def look(case: Case) -> Iterator[Finding]:
    docker = case.docker()
    if docker.is_local:
        yield ok("Docker runs on this machine")
        return
    binds = sorted({m.source for c in case.containers for m in c.mounts if m.kind == "bind"})
    image = next((c.image for c in case.containers if docker.image(c.image) is not None), "")
    missing = missing_on_host(docker, image, binds) if image else None
    yield judge(docker.address, binds, missing)


def judge(address: str, binds: Sequence[str], missing: Sequence[str] | None) -> Finding:
    """`missing`: of the binds; None: nobody could look."""
    if not binds:
        return ok(f"Docker runs on {address}, and nothing is mounted from this machine")
    named = ", ".join(binds[:SHOWN]) + (f" and {len(binds) - SHOWN} more" if len(binds) > SHOWN else "")
    if missing is None:
        return warning(
            f"Docker runs on {address}: these must be there, under the same paths: {named}",
            why="files are mounted from the machine that Docker runs on, and no image is there to look with",
            fix="copy the folder of the profile there (rsync -a), or run infctl on that machine",
        )
    if missing:
        lacking = ", ".join(missing[:SHOWN])
        lacking += f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        return failure(
            f"{address} does not have {lacking}",
            why="files are mounted from the machine that Docker runs on",
            fix="copy the folder of the profile there (rsync -a), or run infctl on that machine",
        )
    return ok(f"Docker runs on {address}, and has all {len(binds)} mounted paths")


def missing_on_host(docker: Docker, image: str, binds: Sequence[str]) -> list[str]:
    """Paths that the engine does not find: it looks when a container is created. None is ever started."""
    from infctl.engine.docker.refusals import told  # noqa: PLC0415

    if docker.client is None:
        raise EngineError("there is no Docker engine to ask")
    api: Any = docker.client.api
    found = []
    for path in binds:
        mount = {"Type": "bind", "Source": path, "Target": "/infctl-doctor", "ReadOnly": True}
        try:
            with told("a mount cannot be tried"):
                host = api.create_host_config(mounts=[mount], network_mode="none")
                made = api.create_container(
                    image, command=["true"], host_config=host, labels={LABEL: "remote"}
                )
                api.remove_container(made["Id"], force=True)
        except EngineError as error:
            if not any("bind source path does not exist" in line for line in error.log):
                raise
            found.append(path)
    return found
