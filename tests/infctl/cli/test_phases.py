"""What a starting engine's log says it is doing."""

from __future__ import annotations

import pytest

from infctl.cli.phases import FIRST, phase_after


@pytest.mark.parametrize(
    ("line", "phase"),
    [
        ("INFO 11-23 13:00:01 [utils.py:1] non-default args: {'model': 'x'}", "reading its configuration"),
        ("INFO 11-23 13:00:01 [core.py:1] Initializing a V1 LLM engine (v0.32)", "starting the engine"),
        ("INFO 11-23 13:00:01 [default_loader.py:1] Loading weights took 1.2 s", "loading weights"),
        ("INFO 11-23 13:00:01 [cpu_worker.py:1] GPU KV cache size: 23,296 tokens", "measuring memory"),
        ("INFO 11-23 [core.py] Warming up model for the compilation...", "warming up"),
        ("INFO:     Application startup complete.", "opening its port"),
        ("", FIRST),
        ("hello", FIRST),
    ],
)
def test_log_lines_tell_the_phase(line: str, phase: str) -> None:
    assert phase_after(FIRST, line) == phase


def test_a_phase_that_is_over_does_not_come_back() -> None:
    assert phase_after("warming up", "INFO [core.py] Using CPU attention backend") == "warming up"
    assert phase_after("loading weights", "a line about nothing") == "loading weights"
