"""Shared and locked memory."""

from __future__ import annotations

from infctl.doctor.checks.limits import UNLIMITED, Daemon, daemon_of, judge_machine, judge_memlock, judge_shm
from infctl.figure import GIB, MIB

LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max locked memory         8388608              {hard}              bytes
Max file locks            unlimited            unlimited            locks
"""
STATUS = "Name:\tdockerd\nCapEff:\t{caps}\nUid:\t0\n"


def test_a_daemon_without_a_limit_or_with_the_right_to_lift_it_is_well():
    assert judge_memlock(Daemon(UNLIMITED, may_raise=False)).verdict == "ok"
    assert judge_memlock(Daemon(8 * MIB, may_raise=True)).verdict == "ok"


def test_one_that_may_not_lift_it_cannot_start_engines_on_a_gpu():
    found = judge_memlock(Daemon(8 * MIB, may_raise=False))
    assert found.verdict == "failure"
    assert "LimitMEMLOCK=infinity" in found.fix
    assert judge_memlock(Daemon(8 * MIB, may_raise=True, rootless=True)).verdict == "failure"


def test_limits_and_rights_are_read_from_proc():
    text = LIMITS.format(hard="unlimited")
    assert daemon_of(text, STATUS.format(caps="000001ffffffffff"), rootless=False) == Daemon(
        UNLIMITED, may_raise=True
    )
    text = LIMITS.format(hard="8388608")
    lacking = STATUS.format(caps="000001fffeffffff")
    assert daemon_of(text, lacking, rootless=True) == Daemon(8 * MIB, may_raise=False, rootless=True)
    assert daemon_of("", "", rootless=False) is None


def test_little_shared_memory_of_a_container_is_a_warning_that_counts_ranks(case):
    two = {"models": {"chat": {"source": "org/chat", "task": "chat", "tensor_parallel": 2}}, "gpus": "2xL4"}
    for changes, size, verdict in (
        ({}, "8GiB", "ok"),
        ({}, "32MiB", "warning"),
        (two, "512MiB", "warning"),
        (two, "8GiB", "ok"),
    ):
        made = case({**changes, "runtime": "docker", "engines": {"shm_size": size}})
        (found,) = judge_shm(made.profile)
        assert found.verdict == verdict, (changes, size)


def test_on_a_machine_its_own_shared_memory_counts():
    assert [one.verdict for one in judge_machine(GIB, 8 * MIB, 1)] == ["ok"]
    assert [one.verdict for one in judge_machine(10 * MIB, 8 * MIB, 1)] == ["warning"]
    assert [one.verdict for one in judge_machine(GIB // 2, 8 * MIB, 2)] == ["warning", "warning"]
    assert [one.verdict for one in judge_machine(None, UNLIMITED, 2)] == []
