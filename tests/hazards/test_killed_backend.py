"""One of two backends is killed under load: what sent no byte is saved, and it is over within a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.load import Kind, Target, under_load
from tests.gateway.process import KEY, Gateway, config_for, until
from tests.proofs.processes import Engine

ERRORS_S_MAX = 1.0
CLIENTS = tuple(
    Kind(f"{what} {number}", stream=what == "stream", keep=number % 3 > 0, pause_s=0.01, tokens=20)
    for number in range(16)
    for what in ("plain", "stream")
)
"""About 15 requests are at each backend."""


@pytest.fixture
def engine() -> Iterator[Callable[[], Engine]]:
    made: list[Engine] = []

    def make() -> Engine:
        made.append(Engine())
        made[-1].wait_ready()
        return made[-1]

    yield make
    for each in made:
        each.process.kill()
        each.process.wait()


@pytest.mark.serial
def test_a_backend_that_is_killed_under_load_fails_nothing_that_had_sent_no_byte(
    engine: Callable[[], Engine], tmp_path: Path
) -> None:
    engines = [engine(), engine()]
    gateway = Gateway(tmp_path, config_for(*engines))
    try:
        gateway.wait_ready(3)
        with under_load(Target("127.0.0.1", gateway.port, KEY, "chat"), CLIENTS, limit_s=60) as load:
            until(lambda: min(gateway.backend(f"chat{n}")["in_flight"] for n in (0, 1)) >= 8)
            killed_at = time.monotonic()
            engines[1].kill()
            until(lambda: gateway.backend("chat1")["state"] == "down")
            answered = load.tally.total
            until(lambda: load.tally.total > answered + 200)
        tally = load.tally
        assert tally.failed == 0, "\n".join([str(tally), *tally.failures])
        assert len(tally.failed_at) == tally.broken <= len(CLIENTS) / 2
        assert all(0 <= at - killed_at < ERRORS_S_MAX for at in tally.failed_at)
        until(lambda: gateway.backend("chat0")["in_flight"] == 0)
        assert gateway.backend("chat1")["in_flight"] == 0
    finally:
        gateway.stop()
