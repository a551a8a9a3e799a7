"""When a worker is started again."""

from __future__ import annotations

from gateway.workers.restart import FIRST_S, LONGEST_S, STEADY_S, Pace


def test_who_lived_is_back_at_once_and_who_dies_at_starting_later_and_later() -> None:
    pace = Pace()
    assert [pace.after(lived_s) for lived_s in (3600, 1, 1, 1, 1)] == [
        0,
        0,
        FIRST_S,
        2 * FIRST_S,
        4 * FIRST_S,
    ]
    assert [pace.after(0.1) for _ in range(2000)][-1] == LONGEST_S
    assert pace.after(STEADY_S) == 0
    assert pace.after(0.1) == 0
