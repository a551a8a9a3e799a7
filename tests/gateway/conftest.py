"""A real gateway process in front of real stub backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.process import Gateway, config_for
from tests.gateway.stub import Stub


@pytest.fixture(scope="module")
def shared_stub() -> Iterator[Any]:
    made = Stub()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def shared(shared_stub: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway for the tests of a file that leave it as it was."""
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), config_for(shared_stub)).wait_ready(2)
    yield gateway
    assert gateway.stop() == 0
    assert gateway.errors == b""


@pytest.fixture
def stub(shared_stub: Any) -> Iterator[Any]:
    """The shared stub, as new."""
    shared_stub.mode, shared_stub.delay_s = "plain", 0.0
    shared_stub.seen.clear()
    shared_stub.closed_at.clear()
    yield shared_stub
    shared_stub.mode, shared_stub.delay_s = "plain", 0.0


@pytest.fixture
def make_stub() -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(name: str = "stub") -> Any:
        made.append(Stub(name))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Starts a gateway of the test's own."""
    started: list[Gateway] = []

    def go(config: dict[str, Any], env: dict[str, str] | None = None) -> Gateway:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Gateway(folder, config, env))
        return started[-1]

    yield go
    for gateway in started:
        gateway.stop()
