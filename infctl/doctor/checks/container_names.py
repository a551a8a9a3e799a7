"""Are the containers' fixed names free, or held by this platform? Docker has each name once on a machine."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, ok


def look(case: Case) -> Iterator[Finding]:
    wanted = {container.name: container.service for container in case.containers if container.name}
    taken = {one.name: one.project for one in case.docker().containers(every=True)}
    yield from judge(wanted, taken, {project.name for project in case.projects})


def judge(wanted: Mapping[str, str], taken: Mapping[str, str], own: Collection[str]) -> Iterator[Finding]:
    """`wanted`: name -> service. `taken`: name -> Compose project, empty for none. `own`: this platform's."""
    others = {name: taken[name] for name in wanted if name in taken and taken[name] not in own}
    for name, project in others.items():
        whose = f"the Compose project {project}" if project else "nobody's Compose project"
        yield failure(
            f"a container named {name} exists already, of {whose}",
            why=f"{wanted[name]} is not created: Docker has each name once on a machine",
            fix=f"docker compose -p {project} down, or docker rm -f {name}; two platforms of this kind need"
            " two machines"
            if project
            else f"docker rm -f {name}, if nobody needs it",
        )
    if wanted and not others:
        held = sum(name in taken for name in wanted)
        yield ok(f"{len(wanted)} container names: {held} held by this platform, {len(wanted) - held} free")
