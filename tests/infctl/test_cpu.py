"""The local stack's demand on the CPU."""

from __future__ import annotations

import pytest

from infctl.cpu import cpu_flags, cpu_problem, this_machine

NEW = "processor\t: 0\nmodel name\t: x\nflags\t\t: fpu sse2 avx avx2 avx512f\n"
OLD = "processor\t: 0\nflags\t\t: fpu sse2 avx\n"


def test_flags_are_those_of_the_first_core() -> None:
    assert cpu_flags(NEW + OLD) == {"fpu", "sse2", "avx", "avx2", "avx512f"}


@pytest.mark.parametrize("cpuinfo", [NEW, "flags : avx2", "", "processor : 0"])
def test_a_cpu_with_avx2_or_an_unknown_one_is_let_through(cpuinfo: str) -> None:
    assert cpu_problem(cpuinfo) is None


def test_an_old_cpu_is_told_what_it_lacks() -> None:
    problem = cpu_problem(OLD)
    assert problem is not None
    assert "AVX2" in problem


@pytest.mark.parametrize(
    ("machine", "system"), [("aarch64", "Linux"), ("arm64", "Darwin"), ("x86_64", "Darwin")]
)
def test_other_machines_are_named(machine: str, system: str) -> None:
    problem = cpu_problem(NEW, machine, system)
    assert problem is not None
    assert f"{system} {machine}" in problem


def test_this_machine_is_read_without_an_error() -> None:
    assert this_machine() is None or isinstance(this_machine(), str)
