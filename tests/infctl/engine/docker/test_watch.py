"""Looks at a container that was started: what each of them means. Time is an argument."""

from __future__ import annotations

from typing import Any

import pytest

from infctl.engine.docker.watch import Failed, Watch
from infctl.engine.model import Event

LASTING = ["vllm: error: unrecognized arguments: --nonsense"]


def inspect(restarts: int = 0, health: str = "", **state: Any) -> dict[str, Any]:
    about = {"Status": "running", "ExitCode": 0, **state}
    if health:
        about["Health"] = {"Status": health, "Log": [{"ExitCode": 1, "Output": "refused\n"}]}
    return {"Name": "/vllm-chat", "RestartCount": restarts, "State": about}


def watch(**fields: Any) -> Watch:
    return Watch("id", "chat", 100.0, **{"deadline": 160.0, "restarts": 0, **fields})


def look(seen: Watch, now: float = 101.5, lines: list[str] | None = None, **state: Any) -> Event | None:
    return seen.look(inspect(**state), lambda count: (lines or ["loading 3 of 4", ""])[-count:], now)


def fails(seen: Watch, now: float = 101.5, lines: list[str] | None = None, **state: Any) -> str:
    with pytest.raises(Failed) as caught:
        look(seen, now, lines, **state)
    assert (caught.value.container_id, caught.value.name) == ("id", "vllm-chat")
    return caught.value.why


@pytest.mark.parametrize("health", ["", "healthy"])
def test_one_that_runs_and_passes_its_check_is_ready(health: str):
    assert look(watch(), health=health) == Event("chat", "ready", elapsed_s=1.5)


def test_one_that_loads_tells_its_last_line_once_a_second():
    seen = watch()
    assert look(seen, 100.5, health="starting") is None
    assert look(seen, 101.5, health="starting") == Event("chat", "loading", "loading 3 of 4", 1.5)
    assert look(seen, 102.0, health="starting") is None
    assert look(seen, 102.6, health="starting") is not None


def test_one_that_ended_has_failed():
    assert fails(watch(), Status="exited", ExitCode=1) == "exit code 1"
    assert fails(watch(), Status="exited", ExitCode=137, OOMKilled=True).endswith("out of memory")


def test_one_that_is_told_unhealthy_has_failed_with_what_the_check_said():
    assert fails(watch(), health="unhealthy") == "its health check fails: refused"


def test_one_that_was_paused_is_given_time_for_its_checks():
    assert look(watch(patient=True), health="unhealthy") is not None
    assert fails(watch(patient=True), 161.0, health="unhealthy") == "not within 60 s"


def test_the_deadline_ends_the_wait():
    assert fails(watch(), 161.0, health="starting") == "not within 60 s"


def test_a_crash_is_told_and_the_engines_own_restart_waited_for():
    seen = watch(tries=3)
    assert look(seen, restarts=1, Status="restarting", ExitCode=1) == Event("chat", "crashed", "exit code 1")
    assert look(seen, restarts=2, health="starting") == Event("chat", "crashed", "it ended")
    assert fails(seen, restarts=3, Status="restarting", ExitCode=1) == "exit code 1"


def test_a_cause_that_will_not_pass_is_not_tried_again():
    assert fails(watch(tries=3), lines=LASTING, restarts=1, Status="restarting", ExitCode=2) == "exit code 2"


def test_crashes_of_before_do_not_count():
    seen = watch(restarts=None)
    assert look(seen, restarts=7, health="starting") is not None
    assert look(seen, restarts=7, health="healthy") == Event("chat", "ready", elapsed_s=1.5)


def test_a_one_shot_is_done_at_its_end_and_not_while_it_runs():
    seen = watch(to_its_end=True)
    event = look(seen)
    assert event is not None
    assert event.kind == "loading"
    assert look(seen, Status="exited") == Event("chat", "ready", "done", 1.5)
    assert fails(watch(to_its_end=True), Status="exited", ExitCode=9) == "exit code 9"
