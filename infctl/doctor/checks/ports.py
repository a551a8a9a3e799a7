"""Are the addresses free that the platform opens on this machine, or held by itself?"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infctl.doctor.case import Case
from infctl.doctor.docker import Running
from infctl.doctor.finding import Finding, failure, ok
from infctl.doctor.ours import own_containers, own_processes
from infctl.engine import procfs
from infctl.engine.ports import overlap, who
from infctl.profile.schema import Profile

UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
NET_BIND_SERVICE = 10
"""The capability's bit: ports below 1024."""


@dataclass(frozen=True, slots=True)
class Want:
    service: str
    host: str
    port: int
    path: str
    """In the profile."""


@dataclass(frozen=True, slots=True)
class Held:
    """An address that is taken."""

    host: str
    port: int
    by: str
    """A process or a container, in words."""
    ours: bool


def look(case: Case) -> Iterator[Finding]:
    wanted = wants(case)
    in_containers = case.profile.runtime == "docker"
    lowest = 0 if in_containers else _lowest()
    yield from judge(wanted, _held(case, wanted), lowest=lowest)


def wants(case: Case) -> tuple[Want, ...]:
    """Of containers what they publish, of processes what they listen at."""
    if case.stack is None:
        return ()
    if case.profile.runtime == "docker":
        pairs = [(c.service, port.host_ip, port.published) for c in case.containers for port in c.ports]
    else:
        pairs = [(s.name, host, port) for s in case.stack.services for host, port in s.listen]
    return tuple(
        Want(service, host, port, _path(case.profile, service, port)) for service, host, port in pairs
    )


def judge(wanted: Sequence[Want], held: Sequence[Held], *, lowest: int) -> Iterator[Finding]:
    """`lowest`: the first port this user may open."""
    free: list[str] = []
    own: list[str] = []
    for want in wanted:
        taken = next((h for h in held if h.port == want.port and overlap(want.host, h.host)), None)
        if taken is not None and not taken.ours:
            yield failure(
                f"{want.host}:{want.port} ({want.service}) is held by {taken.by}",
                why=f"{want.service} does not start",
                fix=f"end what holds it, or write another port at {want.path}",
                path=want.path,
            )
        elif want.port < lowest:
            yield failure(
                f"this user may not open port {want.port} ({want.service})",
                why=f"ports below {lowest} need a privilege",
                fix=f"a port from {lowest} on, or as root: sysctl net.ipv4.ip_unprivileged_port_start="
                f"{want.port}",
                path=want.path,
            )
        else:
            (free if taken is None else own).append(str(want.port))
    told = []
    if free:
        told.append(f"free: {', '.join(sorted(free, key=int))}")
    if own:
        told.append(f"held by this platform: {', '.join(sorted(own, key=int))}")
    if told:
        yield ok(f"ports {'; '.join(told)}")


def of_containers(running: Collection[Running], own: Collection[str]) -> Iterator[Held]:
    """What containers publish. `own`: ids of this platform's."""
    for one in running:
        for host, port in one.ports:
            yield Held(host, port, f"container {one.name}", one.id in own)


def _held(case: Case, wanted: Sequence[Want]) -> list[Held]:
    """The edge. Containers first: of a published port the process is only Docker's own proxy."""
    found: list[Held] = []
    local = True
    if case.profile.runtime == "docker":
        docker = case.docker()
        local = docker.is_local
        own = {one.id for one in own_containers(case)}
        found += of_containers(docker.containers(), own)
    if not local:
        return found
    published = {(one.host, one.port) for one in found}
    ports = {want.port for want in wanted}
    ours = own_processes(case) if case.profile.runtime == "process" else frozenset()
    for listener in procfs.listeners():
        if listener.port not in ports or (listener.address, listener.port) in published:
            continue
        pid = procfs.holder_of(listener.inode)
        found.append(Held(listener.address, listener.port, who(pid), pid in ours))
    return found


def _path(profile: Profile, service: str, port: int) -> str:
    edge, monitoring = profile.edge, profile.monitoring
    fields = (
        (edge.https_port, "edge/https_port"),
        (edge.http_port, "edge/http_port"),
        (profile.gateway.listen.port, "gateway/listen/port"),
        (monitoring.prometheus.port, "monitoring/prometheus/port"),
        (monitoring.grafana.port, "monitoring/grafana/port"),
    )
    named = [path for number, path in fields if number == port]
    inside = [path for path in named if service in path]
    return next(iter(inside or named), "engines/port_base")


def _lowest() -> int:
    """The first port this user may open."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        bits = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
        if bits >> NET_BIND_SERVICE & 1:
            return 0
        return int(UNPRIVILEGED.read_text(encoding="ascii"))
    except (OSError, ValueError, StopIteration):
        return 0
