"""Does Docker answer, and is it an engine that the platform can run on?"""

from __future__ import annotations

from collections.abc import Iterator

from infctl.doctor.case import Case
from infctl.doctor.docker import Docker
from infctl.doctor.finding import Finding, failure, ok, warning


def look(case: Case) -> Iterator[Finding]:
    # Its own EngineError says what is wrong, why, and what to do.
    yield from judge(case.docker(), low_ports=_low_ports(case), gpus=case.uses_gpus)


def judge(docker: Docker, *, low_ports: tuple[int, ...], gpus: bool) -> Iterator[Finding]:
    """`low_ports`: published ones below 1024. `gpus`: engines ask for some."""
    api = ".".join(str(part) for part in docker.api)
    yield ok(f"Docker Engine {docker.version} (API {api}) at {docker.address}")
    system = str(docker.info.get("OSType") or "linux")
    machine = str(docker.info.get("Architecture") or "x86_64")
    if system != "linux" or machine not in {"x86_64", "amd64"}:
        yield failure(
            f"the Docker host is {system} {machine}",
            why="the platform's images are built for Linux x86-64",
            fix="a Linux x86-64 machine: DOCKER_HOST or `docker context use` chooses it",
        )
    if gpus and "Docker Desktop" in str(docker.info.get("OperatingSystem")) and system == "linux":
        yield warning(
            "this is Docker Desktop: on Linux its virtual machine has no GPUs",
            why="containers would start without the cards",
            fix="install Docker Engine, then: docker context use default",
        )
    if "rootless" in docker.options and low_ports:
        yield failure(
            f"Docker runs rootless, and ports {', '.join(str(port) for port in low_ports)} are published",
            why="a user may not open ports below 1024",
            fix="as root: sysctl net.ipv4.ip_unprivileged_port_start=80; or higher edge ports",
            path="edge/https_port",
        )
    if "userns" in docker.options:
        yield warning(
            "Docker maps users (userns-remap): a container's user is another one on this machine",
            why="mounted files would have to be readable for the mapped user",
            fix="check the files by hand, or run this Docker without userns-remap",
        )
    if str(docker.info.get("Driver")) == "vfs":
        yield warning(
            "Docker stores images with vfs, which copies every layer",
            why="vLLM's image then takes several times its size",
            fix="use overlay2: /etc/docker/daemon.json, storage-driver",
        )


def _low_ports(case: Case) -> tuple[int, ...]:
    found = {port.published for container in case.containers for port in container.ports}
    return tuple(sorted(port for port in found if port < 1024))
