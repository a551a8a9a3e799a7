"""What several workers say, as one gateway says it."""

from __future__ import annotations

from typing import Any

from gateway.control import together


def row(state: str = "ready", breaker: str = "closed", **rest: Any) -> dict[str, Any]:
    counts = {"in_flight": 0, "capacity": 4, "requests": 0, "errors": 0}
    times = {"last_probe_s_ago": 1.0, "expected_in_s": None}
    return {
        "id": "b",
        "model": "m",
        "url": "http://h:1",
        "state": state,
        "breaker": {"state": breaker, "failures": 0, "opened": 0, "retry_in_s": None},
        "why": f"it is {state}",
    } | counts | times | rest  # fmt: skip


def both(one: dict[str, Any], other: dict[str, Any], tallies: Any = None) -> dict[str, Any]:
    return together.backends({0: [one], 1: [other]}, tallies or {})[0]


def test_counts_are_added_with_those_of_workers_that_are_no_more() -> None:
    found = both(
        row(in_flight=2, requests=10, errors=1), row(in_flight=3, requests=20, errors=2), {"b": [100, 7]}
    )
    assert (found["in_flight"], found["requests"], found["errors"]) == (5, 130, 10)
    assert found["capacity"] == 8
    assert found["workers"] is None


def test_the_worst_view_is_shown_with_its_reason_and_who_has_which() -> None:
    found = both(row(), row("down", "open", expected_in_s=2.5, last_probe_s_ago=3.0))
    assert (found["state"], found["why"], found["breaker"]["state"]) == ("down", "it is down", "open")
    assert (found["expected_in_s"], found["last_probe_s_ago"]) == (2.5, 3.0)
    assert found["workers"] == [
        {"worker": 0, "state": "ready", "breaker": "closed"},
        {"worker": 1, "state": "down", "breaker": "open"},
    ]


def test_a_drain_is_done_when_the_last_worker_has_nothing_in_flight() -> None:
    assert both(row("drained"), row("draining", in_flight=1))["state"] == "draining"
    assert both(row("drained"), row("drained"))["state"] == "drained"


def test_capacity_is_unknown_when_it_is_unknown_to_one() -> None:
    assert both(row(), row(capacity=None))["capacity"] is None


def test_the_gateway_is_as_well_as_its_least_well_worker() -> None:
    model = {"name": "m", "healthy": True, "waiting": 1}

    def document(status: str, *warnings: str, **rest: Any) -> dict[str, Any]:
        whole = {"status": status, "uptime_s": 1.0, "draining": False, "warnings": list(warnings)}
        return whole | {"models": [model], "backends": [row()], "near_limits": []} | rest

    unwell = document("down", "b", "a", uptime_s=9.0, models=[model | {"healthy": False}])
    found = together.detailed({0: document("ok", "a"), 1: unwell}, [{"worker": 0}], {})
    assert (found["status"], found["uptime_s"], found["warnings"]) == ("down", 9.0, ["a", "b"])
    assert found["models"] == [{"name": "m", "healthy": False, "waiting": 2}]
    assert found["workers"] == [{"worker": 0}]


def test_of_a_limit_the_worker_is_right_that_has_heard_of_the_least() -> None:
    rows = [
        {"tenant": tenant, "code": "tokens_per_day", "limit": 100, "left": left, "reset_s": 1.0}
        for tenant, left in (("a", 9), ("b", 5), ("a", 2))
    ]
    assert together.near_limits(rows) == [rows[2], rows[1]]
