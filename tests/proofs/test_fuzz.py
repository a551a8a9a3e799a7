"""The time-boxed form of `make proof-fuzz`, and that a failing request can be had again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.proofs import fuzz
from tests.proofs.mutations import REQUESTS, cases

SECONDS = 6.0
SLACK_MB = 20.0
"""In seconds nothing has settled yet; it is the whole proof that shows memory to be flat."""
CASES_MIN = 300
"""However busy the machine is; usually it is a few thousand."""


def test_random_changes_of_valid_requests_bring_no_crash_no_hang_and_no_5xx(tmp_path: Path) -> None:
    figures = asyncio.run(fuzz.run(tmp_path, 1_000_000, seed=5, clients=100, seconds=SECONDS))
    assert figures.short(SLACK_MB) == []
    assert figures.fuzz.sent >= CASES_MIN
    assert {200, 400, 401, 404} <= figures.fuzz.statuses.keys()


def test_a_seed_and_a_block_give_the_same_bytes() -> None:
    assert cases(7, 11) == cases(7, 11)
    assert cases(7, 11) != cases(7, 12)
    assert cases(7, 11) != cases(8, 11)


def test_every_request_is_among_them_whole_and_changed() -> None:
    found = [data for block in range(100) for data in cases(1, block)]
    for method, target, _ in REQUESTS:
        assert any(
            data.startswith(b"%b %b HTTP/1.1\r\nHost: localhost\r\n" % (method, target)) for data in found
        )
    assert len(set(found)) > len(found) / 2
