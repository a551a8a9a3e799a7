"""The token bucket against exact arithmetic: never more than the amount plus what time has brought."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy.bucket import Bucket
from tests.examples import examples


class Exact:
    """The same bucket in fractions, the usual way: a level that grows."""

    def __init__(self, amount: int, per_s: int) -> None:
        self.amount, self.per_s = amount, per_s
        self.level, self.at = Fraction(amount), Fraction(0)

    def fits(self, wanted: int, now: Fraction) -> bool:
        self.level = min(Fraction(self.amount), self.level + (now - self.at) * self.per_s)
        self.at = now
        return wanted <= self.level


def test_a_full_bucket_gives_its_amount_at_once_and_then_its_rate():
    bucket = Bucket(100, 50.0)
    for _ in range(100):
        assert bucket.fits(1, 10.0)
        bucket.take(1, 10.0)
    assert not bucket.fits(1, 10.0)
    assert not bucket.fits(1, 10.019)
    assert bucket.fits(1, 10.02)


def test_the_wait_it_tells_is_the_wait_there_is():
    bucket = Bucket(10, 4.0)
    bucket.take(10, 0.0)
    wait_s = bucket.wait_s(3, 0.0)
    assert wait_s == 0.75
    assert not bucket.fits(3, 0.74)
    assert bucket.fits(3, 0.75)
    assert bucket.wait_s(11, 0.0) is None


def test_a_clock_that_goes_back_brings_nothing():
    bucket = Bucket(10, 1.0)
    bucket.take(10, 100.0)
    assert not bucket.fits(1, 50.0)
    bucket.take(1, 50.0)
    assert bucket.level(101.0) == 0
    assert bucket.level(102.0) == 1


def test_what_was_not_used_comes_back_and_no_more():
    bucket = Bucket(1000, 1.0)
    bucket.take(900, 0.0)
    bucket.give(850)
    assert bucket.level(0.0) == 950
    bucket.give(10_000)
    assert bucket.level(0.0) == 1000


def test_new_figures_give_nothing_away():
    bucket = Bucket(100, 1.0)
    bucket.take(90, 0.0)
    bucket.resized(200, 10.0, 0.0)
    assert bucket.level(0.0) == 110
    bucket.resized(50, 10.0, 0.0)
    assert bucket.level(0.0) == 0


@settings(max_examples=examples(200))
@given(
    st.integers(1, 50),
    st.integers(1, 64),
    st.lists(st.tuples(st.integers(0, 512), st.integers(1, 60)), max_size=60),
)
def test_it_gives_what_an_exact_bucket_gives(amount: int, per_s: int, steps: list[tuple[int, int]]):
    """Times in 1/256 s and whole rates: floats hold them exactly up to the division."""
    bucket, exact, now = Bucket(amount, float(per_s)), Exact(amount, per_s), Fraction(0)
    for pause, wanted in steps:
        now += Fraction(pause, 256)
        should = exact.fits(wanted, now)
        assert bucket.fits(wanted, float(now)) == should
        assert abs(bucket.level(float(now)) - float(exact.level)) < 1e-6
        if should:
            bucket.take(wanted, float(now))
            exact.level -= wanted
