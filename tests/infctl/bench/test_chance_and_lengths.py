"""What is drawn from a seed: always the same, and distributed as it was written."""

from __future__ import annotations

import statistics
from itertools import islice, pairwise

import pytest

from infctl.bench import arrivals, lengths
from infctl.bench.chance import Chance


def test_a_seed_draws_the_same_numbers_for_ever() -> None:
    chance = Chance(7, "text")
    assert [round(chance.uniform(), 12) for _ in range(2)] == [0.860280071674, 0.010533864729]
    assert Chance(7, "text").uniform() != Chance(7, "arrivals").uniform()
    assert Chance(7, "text").uniform() != Chance(8, "text").uniform()


@pytest.mark.parametrize(("shape", "scale"), [(0.5, 2.0), (1.0, 1.0), (4.0, 0.25)])
def test_gamma_has_its_mean_and_its_variance(shape: float, scale: float) -> None:
    chance = Chance(1, "gamma")
    drawn = [chance.gamma(shape, scale) for _ in range(20_000)]
    assert statistics.fmean(drawn) == pytest.approx(shape * scale, rel=0.05)
    assert statistics.variance(drawn) == pytest.approx(shape * scale**2, rel=0.1)


@pytest.mark.parametrize(
    ("text", "mean", "deviation"),
    [
        ("128", 128, 0),
        ("fixed:5", 5, 0),
        ("uniform:64-256", 160, 55.7),
        ("normal:128,32", 128, 32),
        ("lognormal:128,64", 128, 64),
        ("0.7*100+0.3*200", 130, 45.8),
    ],
)
def test_lengths_are_distributed_as_written(text: str, mean: float, deviation: float) -> None:
    chance = Chance(3, "lengths")
    read = lengths.read(text)
    drawn = [read.draw(chance) for _ in range(20_000)]
    assert min(drawn) >= 1
    assert statistics.fmean(drawn) == pytest.approx(mean, rel=0.02)
    assert statistics.pstdev(drawn) == pytest.approx(deviation, rel=0.06)


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "uniform:9-1", "normal:1", "zipf:3", "1+2", "0*3+0*4", "uniform:1-99999999", "nan*3"],
)
def test_what_is_no_distribution_is_told_with_those_that_are(text: str) -> None:
    with pytest.raises(ValueError, match=r"lognormal|weights"):
        lengths.read(text)


def test_poisson_arrivals_have_their_rate_and_constant_ones_are_exact() -> None:
    assert list(islice(arrivals.read("constant", 4.0, None)(1), 4)) == [0.0, 0.25, 0.5, 0.75]
    came = list(islice(arrivals.read("poisson", 50.0, None)(1), 20_000))
    gaps = [after - before for before, after in pairwise(came)]
    assert statistics.fmean(gaps) == pytest.approx(0.02, rel=0.03)
    assert statistics.pstdev(gaps) == pytest.approx(0.02, rel=0.05)
    assert came == list(islice(arrivals.read("poisson", 50.0, None)(1), 20_000))


def rate_between(came: list[float], start: float, end: float) -> float:
    return sum(start <= at < end for at in came) / (end - start)


def test_gamma_arrivals_cluster_and_bursts_come_together_at_the_same_rate() -> None:
    clustered = list(islice(arrivals.read("gamma:0.25", 50.0, None)(1), 20_000))
    gaps = [after - before for before, after in pairwise(clustered)]
    assert statistics.fmean(gaps) == pytest.approx(0.02, rel=0.05)
    assert statistics.pstdev(gaps) == pytest.approx(0.04, rel=0.1)  # the shape's root times the mean
    burst = list(islice(arrivals.read("bursts:10", 50.0, None)(1), 30))
    assert burst == [0.0] * 10 + [0.2] * 10 + [0.4] * 10


def test_a_ramp_rises_to_its_rate_and_stays_there() -> None:
    came = list(islice(arrivals.read("ramp:10", 100.0, 60.0)(1), 10_000))
    assert rate_between(came, 0, 6) == pytest.approx(14.5, rel=0.2)
    assert rate_between(came, 27, 33) == pytest.approx(55, rel=0.15)
    assert rate_between(came, 60, 90) == pytest.approx(100, rel=0.06)
    assert all(before <= after for before, after in pairwise(came))


@pytest.mark.parametrize("text", ["often", "gamma", "gamma:0", "bursts:x", "ramp:1", "poisson:2", ""])
def test_what_is_no_way_to_arrive_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"gamma:0\.5|needs --duration"):
        arrivals.read(text, 1.0, None)
