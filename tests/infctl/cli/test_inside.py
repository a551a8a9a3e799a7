"""Requests that are asked inside a container, by a Python that stands for the container's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from infctl.api import Api
from infctl.cli import inside
from infctl.engine.docker.hands import Ran
from infctl.errors import EngineError, GatewayError

from .conftest import KEY, Gateway


class Container:
    """In the part of the engine: `exec` runs here, with nothing but the source and standard input."""

    def __init__(self) -> None:
        self.argv: list[str] = []
        self.says: bytes | None = None

    def exec(self, service: str, argv: Sequence[str], stdin: bytes, *, timeout_s: float) -> Ran:
        assert service == "gateway"
        self.argv = list(argv)
        if self.says is not None:
            return Ran(1, self.says)
        words = [sys.executable, "-I", "-S", *argv[1:]]
        done = subprocess.run(words, input=stdin, capture_output=True, check=False, timeout=timeout_s)
        return Ran(done.returncode, done.stdout + done.stderr)


@pytest.fixture
def container() -> Container:
    return Container()


def api(container: Any, gateway: Gateway, key: str = KEY) -> Api:
    seen_as = {"http://127.0.0.1:18080": gateway.url}
    return Api("http://127.0.0.1:18080", key, transport=inside.Transport(container, seen_as))


def test_the_control_plane_and_models_are_asked_there(container: Container, gateway: Gateway) -> None:
    gateway.well()
    with api(container, gateway) as client:
        assert client.reachable() == (True, "")
        assert client.health().status == "ok"
        reply = client.post("/v1/chat/completions", {"model": "chat"}, timeout_s=5)
    assert "Paris" in reply["choices"][0]["message"]["content"]
    assert ("POST", "/v1/chat/completions", {"model": "chat"}) in gateway.asked


def test_the_key_is_in_no_argument(container: Container, gateway: Gateway) -> None:
    gateway.well()
    with api(container, gateway) as client:
        client.health()
    assert KEY not in " ".join(container.argv)


def test_a_refusal_is_the_gateways_own(container: Container, gateway: Gateway) -> None:
    gateway.well()
    with api(container, gateway, key="wrong") as client, pytest.raises(GatewayError, match="refuses the key"):
        client.health()


def test_a_gateway_that_does_not_answer_is_told_as_here(
    container: Container, gateway: Gateway, free_port: Any
) -> None:
    gateway.port = free_port()
    with api(container, gateway) as client:
        reached, why = client.reachable()
    assert not reached
    assert "nothing answers at http://127.0.0.1:18080" in why


def test_a_container_that_cannot_run_it_is_told_with_its_words(container: Container) -> None:
    container.says = b'OCI runtime exec failed: exec: "python3": executable file not found'
    with pytest.raises(EngineError, match="could not be asked") as caught:
        inside.rounds(container, {"asks": []})  # type: ignore[arg-type]
    assert "python3" in caught.value.log[0]
    transport = inside.Transport(container, {})  # type: ignore[arg-type]
    with httpx.Client(transport=transport) as client, pytest.raises(httpx.ConnectError):
        client.get("http://x/")
