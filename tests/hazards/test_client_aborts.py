"""Clients that leave in any phase of their request: the backend knows within a second. `make proof-abort`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.gateway.process import Gateway
from tests.hazards.aborts import LIMIT_S, PHASES, Outcome, Phase, leave_in_all

COUNT = 12


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    started: list[Gateway] = []

    def start(config):
        started.append(Gateway(tmp_path_factory.mktemp("aborts"), config))
        return started[0]

    try:
        yield asyncio.run(leave_in_all(start, COUNT))
    finally:
        for gateway in started:
            assert gateway.stop() == 0


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_client_that_leaves_is_gone_at_the_backend_within_a_second(
    outcome: Outcome, phase: Phase, stream: bool
) -> None:
    tally = next(each for each in outcome.tallies if (each.phase, each.stream) == (phase, stream))
    assert tally.count == COUNT
    assert tally.late == 0, f"the slowest took {tally.slowest_s:.3f} s, allowed is {LIMIT_S} s"
    assert tally.stray == 0


def test_each_of_them_is_a_499_and_none_holds_a_place_or_counts_against_a_backend(outcome: Outcome) -> None:
    assert (outcome.logged, outcome.counted) == (outcome.count, outcome.count)
    assert (outcome.in_flight, outcome.failures) == (0, 0)
