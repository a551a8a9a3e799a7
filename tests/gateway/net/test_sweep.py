"""Time-outs are decided from data; one timer carries them all out."""

from __future__ import annotations

import asyncio

import pytest

from gateway.config import Timeouts
from gateway.net.sweep import LINGER_S, Sweep, Wait, limit_s, overdue, sweep_of

T = Timeouts(connect_s=1, total_s=100, stream_idle_s=50, header_s=3, body_idle_s=7, keep_alive_s=9)


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [
        (Wait.FIRST, 3),
        (Wait.HEAD, 3),
        (Wait.BODY, 7),
        (Wait.IDLE, 9),
        (Wait.WRITE, 50),
        (Wait.PIECE, 50),
        (Wait.POOLED, 4),
        (Wait.LINGER, LINGER_S),
    ],
)
def test_each_wait_has_its_limit(wait: Wait, seconds: float) -> None:
    assert not overdue(wait, since=1000.0, now=1000.0 + seconds - 0.001, timeouts=T, pooled_s=4)
    assert overdue(wait, since=1000.0, now=1000.0 + seconds, timeouts=T, pooled_s=4)


def test_every_wait_has_a_limit_and_nothing_waits_for_ever_but_nothing() -> None:
    assert [wait for wait in Wait if limit_s(wait, T, 4) == float("inf")] == [Wait.NOTHING]


class Member:
    def __init__(self, lives: int, *, faulty: bool = False) -> None:
        self.lives = lives
        self.faulty = faulty
        self.swept = 0

    def sweep(self, now: float) -> bool:
        self.swept += 1
        if self.faulty:
            raise ValueError
        self.lives -= 1
        return self.lives > 0


def test_there_is_one_sweep_a_loop(net) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert sweep_of(loop) is sweep_of(loop)

    net.run(main)


def test_the_timer_runs_only_while_there_is_somebody_to_sweep(net) -> None:
    async def main() -> None:
        sweep = Sweep(asyncio.get_running_loop())
        member = Member(lives=2)
        sweep.add(member)
        await net.until(lambda: member.swept == 2 and sweep._timer is None)
        sweep.add(member)
        sweep.discard(member)
        assert sweep._timer is None

    net.run(main)


def test_a_fault_in_one_member_does_not_end_the_time_outs_of_the_others(net) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        faults: list[object] = []
        loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
        sweep = Sweep(loop)
        bad, good = Member(lives=9, faulty=True), Member(lives=9)
        sweep.add(bad)
        sweep.add(good)
        await net.until(lambda: bad.swept >= 2)
        sweep.discard(bad)
        before = good.swept
        await net.until(lambda: good.swept > before)
        sweep.discard(good)
        assert isinstance(faults[0], ValueError)

    net.run(main)
