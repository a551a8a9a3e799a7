"""How late the client's loop was, for whoever came at any moment."""

from __future__ import annotations

import asyncio
import time

import pytest

from infctl.bench.observe import EVERY_S, Rings, Watch, everybody, lateness


def p99(lags: list[float]) -> float:
    return lags[min(len(lags) - 1, int(len(lags) * 0.99))]


def parted(rings: list[tuple[float, float]]) -> Rings:
    return [at for at, _ in rings], [lag for _, lag in rings]


def test_a_ring_in_time_stands_for_itself() -> None:
    assert everybody([0.0, 0.001, 0.0]) == [0.0, 0.0, 0.001]
    assert everybody([]) == [0.0]


def test_a_late_ring_stands_for_those_that_could_not_ring() -> None:
    assert everybody([0.02]) == pytest.approx([0.0, 0.005, 0.01, 0.015, 0.02])


def test_a_second_of_standstill_in_a_minute_is_seen_at_p99() -> None:
    """Of 60 s one was lost: who came in that second waited up to 1 s, 1 % of all 0.4 s or more."""
    rings = [0.0] * round(59 / EVERY_S) + [1.0]
    assert p99(sorted(rings)) == 0.0, "as rings it is one among thousands"
    assert p99(everybody(rings)) == pytest.approx(0.4, abs=0.01)


def test_one_hiccup_of_a_short_run_is_no_p99_of_its_own_size() -> None:
    """Of 1.7 s 20 ms: only the first quarter of them waited longer than 5 ms, 0.9 % of the run."""
    rings = [0.0] * round(1.68 / EVERY_S) + [0.02]
    assert p99(everybody(rings)) == pytest.approx(0.005, abs=1e-6)


def test_what_was_late_before_and_behind_the_requests_that_count_is_not_theirs() -> None:
    """The start's 40 ms, and 30 ms at the end; a standstill that reaches into the part that counts does."""
    rings = [(at / 100, 0.0) for at in range(5, 1000)] + [(0.04, 0.04), (9.99, 0.03)]
    assert lateness(parted(rings))["lag_max_us"] == 40_000
    assert lateness(parted(rings), 1.0, 9.0) == {"lag_p99_us": 0, "lag_max_us": 0}
    assert lateness(parted([*rings, (1.02, 0.05)]), 1.0, 9.0)["lag_max_us"] == 50_000
    assert lateness(parted([*rings, (9.02, 0.05)]), 1.0, 9.0)["lag_max_us"] == 50_000
    assert lateness(([], [])) == {"lag_p99_us": 0, "lag_max_us": 0}


def test_a_loop_that_is_blocked_is_seen() -> None:
    async def blocked() -> dict[str, int]:
        watch = Watch(asyncio.get_running_loop())
        watch.start()
        await asyncio.sleep(2 * EVERY_S)
        time.sleep(0.1)  # noqa: ASYNC251 - that is the fault
        await asyncio.sleep(2 * EVERY_S)
        watch.stop()
        return lateness(watch.rings)

    found = asyncio.run(blocked())
    assert found["lag_max_us"] >= 90_000
    assert found["lag_p99_us"] >= 50_000
