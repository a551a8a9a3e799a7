"""The way to the gateways' control plane: asked inside their containers, by what leads to the Docker host."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from infctl.engine.docker import rollout_drain as drains
from infctl.engine.docker.hands import Hands
from infctl.engine.docker.rollout_drain import Said
from infctl.errors import EngineError, GatewayError
from infctl.stack.containers import Container, Project
from infctl.stack.names import CONTAINER_PORT, ETC_GATEWAY

ASK_S = 40.0
"""For one question; what it waits for comes on top."""
GATEWAY_SCRIPT = Path(__file__).with_name("rollout_inside_gateway.py")
ENGINE_SCRIPT = Path(__file__).with_name("rollout_inside_engine.py")
PROOF_S = 120.0
CONFIG = f"{ETC_GATEWAY}/gateway.yaml"


@dataclass(frozen=True, slots=True)
class Gateway:
    """One that runs."""

    hands: Hands
    id: str
    name: str
    python: str

    def look(self) -> Said:
        """Raises GatewayError."""
        return self._ask("look")

    def drain(self, backend: str) -> Said:
        return self._ask("drain", backend)

    def undrain(self, backend: str) -> Said:
        return self._ask("undrain", backend)

    def wait_idle(self, backend: str, limit_s: float) -> Said:
        """Until it has nothing in flight, or the limit; drained again where the gateway has forgotten it."""
        return self._ask("idle", backend, limit_s)

    def wait_open(self, backend: str, limit_s: float) -> Said:
        """Until it takes requests, or the limit."""
        return self._ask("open", backend, limit_s)

    def _ask(self, verb: str, backend: str = "", limit_s: float = 0.0) -> Said:
        script = GATEWAY_SCRIPT.read_text(encoding="utf-8")
        argv = (self.python, "-c", script, CONFIG, verb, backend, str(limit_s))
        ran = self.hands.exec(self.id, argv, timeout_s=limit_s + ASK_S)
        try:
            if ran.code == 0:
                return drains.read(ran.text)
            why = ran.text.strip().rpartition("\n")[2] or f"exit code {ran.code}"
        except ValueError as error:
            why = str(error)
        raise GatewayError(
            f"{self.name} could not be asked ({f'{verb} {backend}'.rstrip()}): {why}",
            hint="`infctl logs gateway --tail 20`; `infctl restart gateway` starts it again",
        )


def running(hands: Hands, projects: Iterable[Project], *, but: str = "") -> tuple[Gateway, ...]:
    """The gateways of a platform that run now, whatever names they have. `but`: an id to leave out."""
    found = []
    for project in projects:
        for container in project.containers:
            if not is_gateway(container):
                continue
            for number in range(1, container.count + 1):
                name = container.container_name(project.name, number)
                gateway = at(hands, container, name)
                if gateway is not None and gateway.id != but:
                    found.append(gateway)
    return tuple(found)


def is_gateway(container: Container) -> bool:
    """Ours, which can be asked."""
    return container.role == "gateway" and container.command[1:3] == ("-m", "gateway")


def at(hands: Hands, container: Container, name: str) -> Gateway | None:
    """The one of that name, if it runs."""
    there = hands.find(name) if is_gateway(container) else None
    if there is None or hands.inspect(there)["State"]["Status"] != "running":
        return None
    return Gateway(hands, there, name, container.command[0])


def prove(hands: Hands, container: Container, container_id: str) -> None:
    """One real request inside a vLLM. Raises EngineError where it is not answered."""
    if not any("vllm" in word for word in container.command):
        return
    script = ENGINE_SCRIPT.read_text(encoding="utf-8")
    python = container.entrypoint[0] if container.entrypoint else "python3"
    key_file = _flag(container.command, "--key-file")
    argv = (python, "-c", script, f"http://127.0.0.1:{CONTAINER_PORT}", *((key_file,) if key_file else ()))
    ran = hands.exec(container_id, argv, timeout_s=PROOF_S)
    if ran.code:
        why = ran.text.strip().rpartition("\n")[2] or f"exit code {ran.code}"
        raise EngineError(f"{container.service} is healthy, and answers no request: {why}")


def _flag(words: Sequence[str], name: str) -> str:
    """The value behind a flag; empty where there is none."""
    return next((value for flag, value in itertools.pairwise(words) if flag == name), "")
