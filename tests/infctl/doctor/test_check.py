"""Many checks at once: order, time, faults, and what does not apply."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from infctl.doctor.case import Case
from infctl.doctor.check import Check, of_error, run, why_not
from infctl.doctor.checks import CHECKS
from infctl.doctor.finding import failure, ok, warning
from infctl.doctor.once import Once
from infctl.doctor.security import CHECKS as SECURITY
from infctl.errors import EngineError, Location, Problem
from infctl.plan import Plan
from infctl.stack import Stack


def no_docker():
    raise EngineError("Docker cannot be used: there is no Docker engine here")


def test_findings_come_in_the_order_of_the_list_whoever_is_first(case):
    first, second = threading.Event(), threading.Event()

    def slow(_case: Case):
        assert second.wait(20)
        first.set()
        return [ok("slow")]

    def fast(_case: Case):
        second.set()
        assert first.wait(20)
        return [ok("fast"), warning("and more")]

    found = list(run([Check("a", "a", slow), Check("b", "b", fast)], case()))
    assert [(one.check, one.what) for one in found] == [("a", "slow"), ("b", "fast"), ("b", "and more")]


def test_one_that_hangs_is_a_warning_and_is_left_behind(case):
    hung = threading.Event()
    try:
        checks = [
            Check("a", "does it end", lambda _: hung.wait(30), timeout_s=0.05),
            Check("b", "b", lambda _: [ok("b")]),
        ]  # type: ignore[arg-type, return-value]
        found = list(run(checks, case()))
    finally:
        hung.set()
    assert [one.verdict for one in found] == ["warning", "ok"]
    assert "no answer within 0.05 s" in found[0].why


def test_a_fault_of_one_check_does_not_hide_the_others(case, monkeypatch):
    def broken(_case: Case):
        raise KeyError("x")

    def disk(_case: Case):
        raise PermissionError(13, "Permission denied", "/etc/shadow")

    monkeypatch.delenv("INFCTL_DEBUG", raising=False)
    checks = [Check("a", "a", broken), Check("b", "b", disk), Check("c", "c", lambda _: [ok("c")])]
    found = list(run(checks, case()))
    assert [(one.check, one.verdict) for one in found] == [("a", "failure"), ("b", "warning"), ("c", "ok")]
    assert "KeyError" in found[0].what
    assert "infctl doctor --only a" in found[0].fix
    assert found[1].why == "/etc/shadow: Permission denied"
    monkeypatch.setenv("INFCTL_DEBUG", "1")
    with pytest.raises(KeyError):
        list(run(checks, case()))


def test_an_error_of_another_room_keeps_its_words_its_place_and_what_to_do():
    where = Location("p.yaml", 2, 3)
    error = EngineError("two", problems=[Problem("one", "a/b", where, "do"), Problem("other")])
    assert [(one.what, one.where, one.fix) for one in of_error(error)] == [
        ("one", where, "do"),
        ("other", None, ""),
    ]
    (found,) = of_error(EngineError("down", hint="start it", log=("a", "b")))
    assert (found.what, found.why, found.fix) == ("down", "b", "start it")


def test_a_path_gets_its_place_only_where_its_section_is_written(case):
    check = Check(
        "a", "a", lambda _: [failure("x", path="edge/https_port"), failure("y", path="engines/image")]
    )
    found = list(run([check], case({"edge": {"bind": "127.0.0.1", "https_port": 8443}})))
    assert found[0].where == Location("p.yaml", 10, 15)
    assert found[1].where is None


@pytest.mark.parametrize(
    ("changes", "needs", "runtime", "why"),
    [
        ({}, (), "docker", "starts no containers"),
        ({"runtime": "docker"}, (), "process", "images bring their own"),
        ({}, ("gpus",), None, "no engine runs on a GPU"),
        ({}, ("plan",), None, "there is no plan"),
        ({}, ("stack",), None, "not known what would run"),
        ({}, ("docker",), None, ""),
    ],
)
def test_what_does_not_apply_says_why(case, changes, needs, runtime, why):
    found = why_not(Check("a", "a", lambda _: (), runtime, needs), case(changes))
    assert why in found
    assert bool(found) is bool(why)


def test_docker_counts_only_where_the_profile_starts_containers(case):
    check = Check("a", "a", lambda _: [ok("looked")], needs=("docker",))
    away = Once(no_docker)
    assert [one.verdict for one in run([check], replace(case(), docker=away))] == ["ok"]
    assert [one.verdict for one in run([check], replace(case({"runtime": "docker"}), docker=away))] == [
        "skipped"
    ]


def test_without_anything_every_check_says_something_and_none_breaks(case, monkeypatch):
    """No profile, no plan, no Docker: a person who has nothing yet."""
    monkeypatch.setenv("INFCTL_DEBUG", "1")
    error = EngineError("nothing there")
    bare = replace(
        case(), loaded=None, layout=None, wrong={"profile": error, "plan": error}, docker=Once(no_docker)
    )
    for checks in (CHECKS, SECURITY):
        found = list(run(checks, bare))
        assert {one.check for one in found} == {check.name for check in checks}
    for changes in ({"runtime": "docker"}, {}):
        made = replace(case(changes), docker=Once(no_docker), plan=Plan(()), stack=Stack("p", "docker", ()))
        for checks in (CHECKS, SECURITY):
            list(run(checks, made))


def test_names_are_unique_and_fit_a_command_line():
    for checks in (CHECKS, SECURITY):
        names = [check.name for check in checks]
        assert len(set(names)) == len(names)
        assert all(name.replace("-", "").isalpha() and name == name.lower() for name in names)


def test_something_is_looked_for_once_and_so_is_what_is_not_there():
    asked = []
    found = Once(lambda: asked.append(1) or "it")
    assert found.found() is None
    threads = [threading.Thread(target=found) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found(), found.found(), len(asked)) == ("it", "it", 1)
    away = Once(no_docker)
    for _ in range(2):
        with pytest.raises(EngineError):
            away()
    assert away.found() is None
