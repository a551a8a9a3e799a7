"""What this machine is, what it suits, and how much memory a service's family uses."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from infctl.cli import env_file, machine, processes
from infctl.cli.init import suited
from infctl.errors import ProfileError
from infctl.gpus import Gpu

BARE = machine.Machine("Linux x86_64", 2, 8 * 2**30, "avx2", (), docker=False)


@pytest.mark.parametrize(
    ("text", "vector"),
    [
        ("flags\t\t: fpu sse avx avx2 avx512f", "avx512"),
        ("processor : 0\nflags\t: fpu avx2\n", "avx2"),
        ("flags : fpu avx", None),
        ("Features : neon", None),
        ("", None),
    ],
)
def test_the_widest_vector_instructions_are_found(text: str, vector: str | None) -> None:
    assert machine.vector_of(text) == vector


def test_each_machine_gets_the_profile_that_suits_it() -> None:
    l4 = Gpu(0, "L4", "", 23034 * 2**20)
    assert suited(BARE) == "local"
    assert suited(replace(BARE, gpus=(l4,))) == "one-gpu"
    assert suited(replace(BARE, gpus=(l4,) * 4)) == "l4x4"


def test_looking_at_this_machine_works() -> None:
    seen = machine.look()
    assert seen.cpus >= 1
    assert seen.system


def test_memory_of_a_family_counts_children_in_other_sessions() -> None:
    code = "import subprocess, sys; subprocess.run(['sleep', '60'], start_new_session=True)"
    parent = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        while True:
            found = processes.table()
            if len(processes.family(parent.pid, found)) == 2:
                break
        both = processes.rss_bytes(parent.pid, found)
        assert both is not None
        assert both > found[parent.pid].rss_bytes > 0
    finally:
        for pid in processes.family(parent.pid, processes.table()):
            os.kill(pid, 9)
        parent.wait()
    assert processes.rss_bytes(parent.pid, processes.table()) is None


def test_a_process_name_with_brackets_is_read() -> None:
    line = "7 (a) b (c) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 4096 25 " + "0 " * 20
    assert processes.parse_stat(line, 4096) == processes.Process(7, 1, 7, 7, 25 * 4096)
    assert processes.parse_stat("", 4096) is None


def test_keys_are_appended_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    assert env_file.add_keys(file, ["A_KEY", "B_KEY"]) == ("A_KEY", "B_KEY")
    first = env_file.read(file)
    assert len(first["A_KEY"]) == 43
    assert first["A_KEY"] != first["B_KEY"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert env_file.add_keys(file, ["A_KEY", "C_KEY"]) == ("C_KEY",)
    assert env_file.read(file)["A_KEY"] == first["A_KEY"]
    assert [p.name for p in tmp_path.iterdir()] == [".env"]


def test_what_a_person_wrote_in_env_stays(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# mine\nHF_TOKEN=x")
    env_file.add_keys(file, ["A_KEY"])
    assert file.read_text().startswith("# mine\nHF_TOKEN=x\nA_KEY=")


def test_an_env_that_cannot_be_read_is_a_profile_error(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(ProfileError, match="cannot be read"):
        env_file.read(tmp_path / ".env")
