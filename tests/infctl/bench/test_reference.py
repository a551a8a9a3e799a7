"""Claims beside measurements: what holds, what falls short, and what is not measured."""

from __future__ import annotations

from typing import Any

import pytest

from infctl.bench import reference
from infctl.bench.reference import Hardware, Outcome, falls_short, outcomes

L4X4 = Hardware(("L4",) * 4, 2)


def figures(**more: Any) -> dict[str, Any]:
    return {
        "counted": 600,
        "failed": 0,
        "failures": {},
        "details": [],
        "requests_per_s": 150.0,
        "tokens_out_per_s": 140.0,
        "in_flight": 119.4,
        "latencies_ms": {"ttft": {"p50": 400.0, "p95": 1900.0}},
        **more,
    }


def told(hardware: Hardware, **more: Any) -> dict[str, Outcome]:
    runs = {load.name: figures(**more) for load in reference.loads(hardware)}
    return {outcome.claim.name: outcome for outcome in outcomes(runs, hardware)}


def test_on_the_pages_hardware_each_claim_is_judged() -> None:
    found = told(L4X4)
    assert {name: outcome.grade for name, outcome in found.items()} == dict.fromkeys(found, "holds")
    assert found["tokens a second, a GPU"].measured == 70.0  # two of the four serve it
    assert found["users at once, of one address"].measured == 120
    assert not falls_short(list(found.values()))


@pytest.mark.parametrize(
    ("more", "name", "grade"),
    [
        ({"tokens_out_per_s": 99.0}, "tokens a second, a GPU", "short"),
        ({"tokens_out_per_s": 300.0}, "tokens a second, a GPU", "better"),
        ({"requests_per_s": 99.0}, "requests a second", "short"),
        ({"requests_per_s": 201.0}, "requests a second", "better"),
        (
            {"latencies_ms": {"ttft": {"p50": 501.0, "p95": 900.0}}},
            "latency p50, without generation",
            "short",
        ),
        ({"latencies_ms": {"ttft": {"p50": 5.0, "p95": 2001.0}}}, "latency p95, without generation", "short"),
        ({"latencies_ms": {"ttft": {"p50": 5.0}}}, "latency p95, without generation", "not measured"),
        ({"failed": 60, "failures": {"http": 60}}, "users at once, of one address", "short"),
    ],
)
def test_what_falls_short_is_told(more: dict[str, Any], name: str, grade: str) -> None:
    found = told(L4X4, **more)
    assert found[name].grade == grade
    assert falls_short(list(found.values())) == (grade == "short")


def test_a_refusal_is_told_in_the_servers_words() -> None:
    details = [{"outcome": "http", "said": "429: too many requests a second", "count": 60}]
    found = told(L4X4, failed=60, failures={"http": 60}, details=details)
    assert "60 of 600 failed (429: too many requests a second)" in found["requests a second"].why


@pytest.mark.parametrize(
    "hardware", [Hardware(("H100",), 1), Hardware(("L4",) * 3, 2), Hardware(known=False)]
)
def test_on_other_hardware_nothing_is_claimed_to_be_measured_but_what_is_here_is_told(
    hardware: Hardware,
) -> None:
    found = told(hardware)
    assert found["requests a second"].measured is None
    assert found["requests a second"].here == 150.0
    assert found["requests a second"].why == f"it takes 4 x L4, here is {hardware}"
    assert found["users at once, of one address"].grade == "holds"


def test_without_a_gpu_the_short_requests_alone_are_run() -> None:
    cpu = Hardware(of_model=0)
    assert reference.loads(cpu) == (reference.SHORT_LOAD,)
    found = told(cpu)
    assert found["tokens a second, a GPU"].here is None
    assert found["tokens a second, a GPU"].why == "it takes 4 x L4, here is a CPU"
    assert found["users at once, of one address"].grade == "holds"


def test_a_run_that_is_not_the_servers_measures_no_claim() -> None:
    runs = {load.name: None for load in reference.loads(L4X4)}
    found = outcomes(runs, L4X4)
    assert {outcome.grade for outcome in found} == {"not measured"}


def test_hardware_is_told_by_its_cards() -> None:
    assert str(Hardware(("L4", "H100", "L4"), 2)) == "2 x L4, 1 x H100"
    assert str(Hardware()) == "a CPU"
    assert str(Hardware(known=False)) == "unknown hardware"
