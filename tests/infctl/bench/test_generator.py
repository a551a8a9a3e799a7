"""What the client costs itself, in CPU: the short form of `make bench-generator`.

CPU time is counted, not the clock: on a machine that is busy with other things a core's worth of chunks
takes longer, and costs the same.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infctl.bench import session
from infctl.bench.session import Measured

from .virtual import config

HERE = Path(__file__).parents[3] / "bench" / "generator"
TABLE = runpy.run_path(str(HERE / "table.py"))
GOALS: dict[str, int] = TABLE["GOALS"]
BEAT_MS = 10


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    argv = [sys.executable, HERE / "stub.py", str(BEAT_MS)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as stub:
        try:
            assert stub.stdout is not None
            yield f"http://127.0.0.1:{int(stub.stdout.readline())}"
        finally:
            stub.kill()


def asked(url: str, streams: int, tokens: int, requests: int) -> tuple[Measured, float]:
    """The run, and the CPU seconds it took of the client."""
    settings = config(
        lengths_in="64", lengths_out=str(tokens), concurrency=streams, requests=requests, warmup="0"
    )
    found = session.measure(settings, session.target(url, None))
    assert [record.outcome for record in found.records] == ["ok"] * requests
    return found, found.ran.watched["cpu_share"] * found.ran.took_us / 1e6


@pytest.mark.serial
def test_a_core_is_enough_for_the_chunks_of_the_benchmark(url: str) -> None:
    found, cpu_s = asked(url, streams=200, tokens=128, requests=400)
    assert found.figures.pieces == 400 * 128
    assert 400 * 128 / cpu_s >= GOALS["chunks"]


@pytest.mark.serial
def test_a_core_is_enough_for_the_requests_of_the_benchmark(url: str) -> None:
    _, cpu_s = asked(url, streams=64, tokens=1, requests=5000)
    assert 5000 / cpu_s >= GOALS["requests"]


def test_what_the_stub_sent_is_counted_from_when_the_load_had_settled_to_its_end() -> None:
    """Ten seconds, after 5 s in which one probe came; for the first 1.5 of them nothing is answered."""

    def sample(at: float) -> tuple[dict[str, float], float]:
        asked = min(max(0.0, at - 5.0), 10.0) * 100
        done = min(max(0.0, at - 6.5), 8.5) * 400
        counts = {"at": at, "requests": 1 + asked, "answers": done / 4, "chunks": done}
        return counts | {"paced": done / 4, "gaps_s": done / 4 * 0.016}, done * 0.3 / 400

    found = TABLE["rates"]([sample(step / 4) for step in range(80)], before=1, seconds=10.0)
    assert found == pytest.approx(
        {"chunks_per_s": 400.0, "requests_per_s": 100.0, "cpu_share": 0.3, "tpot_ms": 16.0}
    )


def test_a_tool_that_is_not_there_keeps_its_row_with_the_reason() -> None:
    said = {"chunks_per_s": 25_000.0, "requests_per_s": 6000.0, "failed": 0, "tpot_ms": 16.1}
    said |= {"verdict": "valid", "why": ""}
    seen = {"chunks_per_s": 25_000.0, "requests_per_s": 6000.0, "cpu_share": 0.3, "tpot_ms": 16.0}
    rows = [
        {"tool": "ours", "version": "1", "load": load, "said": said, "seen": seen}
        for load in ("chunks", "requests")
    ]
    rows += [
        {"tool": "theirs", "version": "2", "load": load, "error": "not installable here: no wheel"}
        for load in ("chunks", "requests")
    ]
    kept = {"date": "2026-01-01", "machine": "2 cores", "seconds": 10.0, "load_average": 0.1, "rows": rows}
    made = TABLE["table"](kept).splitlines()
    assert made[-2:] == [
        "| ours 1 | 25,000 | 30% | 12 | 16.1 / 16.0 | 6,000 | 30% | 50 | valid, valid |",
        "| theirs 2 | - | - | - | - | - | - | - | not installable here: no wheel |",
    ]
