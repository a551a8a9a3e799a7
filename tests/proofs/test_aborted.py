"""The short form of `make proof-aborted`."""

from __future__ import annotations

from pathlib import Path

from tests.proofs import aborted


def test_what_was_read_of_a_stream_that_was_left_is_what_is_counted(tmp_path: Path) -> None:
    found = aborted.run(tmp_path, streams=40, seed=1)
    assert found.wrong == []
    assert found.settled > 40 * 5
