"""Does `nvidia-smi` work inside a container? It catches what looks right from outside and is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infctl.doctor.case import Case
from infctl.doctor.docker import Docker
from infctl.doctor.finding import Finding, failure, ok, skipped
from infctl.errors import EngineError
from infctl.stack.containers import Container

LABEL = "io.infctl.doctor"
RUN_S = 30.0
"""Until nvidia-smi has to have answered; a cold driver takes some seconds."""
OUTPUT_MAX = 4000
_CARD = re.compile(r"^GPU \d+: (?P<name>.*) \(UUID: (?P<uuid>[^)]*)\)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    output: str


def look(case: Case) -> Iterator[Finding]:
    container = next((c for c in case.containers if c.devices is not None), None)
    if container is None:
        yield skipped("no container asks for a GPU")
        return
    docker = case.docker()
    if docker.image(container.image) is None:
        yield skipped(f"{container.image} is not here yet: infctl pull fetches it")
        return
    try:
        yield judge(ask(docker, container), container)
    except EngineError as error:
        yield failure(
            "a container with a GPU does not start",
            why=error.message,
            fix=error.hint,
        )


def judge(answer: Answer, container: Container) -> Finding:
    wanted = len(container.devices.ids) if container.devices is not None else 0
    cards = [match["name"] for match in _CARD.finditer(answer.output)]
    if answer.code == 0 and len(cards) >= wanted > 0:
        return ok(f"nvidia-smi inside {container.image}: {', '.join(cards)}")
    said = " ".join(answer.output.split())[:300]
    if "Unknown Error" in answer.output or "Failed to initialize NVML" in answer.output:
        return failure(
            "containers lose their GPUs: NVML does not start inside one",
            why=said,
            fix="engines.gpu_driver: cdi, which a reload of systemd does not take away; or as root"
            ' {"exec-opts": ["native.cgroupdriver=cgroupfs"]} in /etc/docker/daemon.json, and restart Docker',
            path="engines/gpu_driver",
        )
    if answer.code == 0:
        return failure(
            f"a container that asks for {wanted} cards sees {len(cards)}",
            why=said,
            fix="nvidia-smi -L lists the cards of the Docker host; correct gpus in the profile",
            path="gpus",
        )
    return failure(
        f"nvidia-smi inside {container.image} ended with code {answer.code}",
        why=said or "it said nothing",
        fix="nvidia-smi on the Docker host first; then the NVIDIA Container Toolkit's version",
    )


def ask(docker: Docker, container: Container) -> Answer:
    """Run `nvidia-smi -L` with the engine's user, rights and cards, and remove it. Raises EngineError."""
    from docker.types import DeviceRequest, LogConfig  # noqa: PLC0415 - 0.1 s

    from infctl.engine.docker.refusals import told  # noqa: PLC0415

    devices = container.devices
    if docker.client is None or devices is None:
        raise EngineError("there is no Docker engine to ask")
    api: Any = docker.client.api
    request = DeviceRequest(
        driver=devices.driver, device_ids=list(devices.ids), capabilities=[list(devices.capabilities)]
    )
    with told("nvidia-smi cannot be tried in a container"):
        host = api.create_host_config(
            device_requests=[request],
            network_mode="none",
            cap_drop=list(container.cap_drop),
            security_opt=list(container.security_opt),
            read_only=container.read_only,
            log_config=LogConfig(type="json-file", config={"max-size": "1m"}),
        )
        made = api.create_container(
            container.image,
            command=["-L"],
            entrypoint=["nvidia-smi"],
            user=container.user or None,
            host_config=host,
            labels={LABEL: "nvidia-container"},
        )
        try:
            api.start(made["Id"])
            code = int(api.wait(made["Id"], timeout=RUN_S)["StatusCode"])
            output = api.logs(made["Id"], stdout=True, stderr=True, tail=200)[:OUTPUT_MAX]
        finally:
            api.remove_container(made["Id"], force=True)
    return Answer(code, output.decode(errors="replace"))
