"""Log rotation under writers that never reopen their file, and reading across it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from infctl.engine.logs import Follower, last_lines, tail
from infctl.engine.rotate import LOG_COPIES_MAX, LOG_MAX_BYTES, rotate
from infctl.profile.schema.platform import Logs
from infctl.stack import LogLimits

WRITER = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for number in range(int(sys.argv[2])):
    os.write(fd, b"line %08d of many\\n" % number)
"""


def everything(path: Path) -> list[str]:
    parts = [path.with_name(f"{path.name}.{n}") for n in range(99, 0, -1)]
    data = b"".join(p.read_bytes() for p in [*parts, path] if p.exists())
    return data.decode().splitlines()


def test_rotation_loses_and_doubles_nothing_while_a_service_writes(tmp_path):
    """On file systems that can cut off a file's front (ext4, xfs), which is where logs live."""
    path = tmp_path / "a.log"
    count = 150_000
    follower, followed, rotations = Follower(path), [], 0
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(count)]) as writer:
        while writer.poll() is None:
            rotations += rotate(str(path), max_bytes=64 * 1024, copies=99)
            followed += follower.new_lines()
    followed += follower.new_lines()
    expected = [f"line {n:08d} of many" for n in range(count)]
    assert rotations > 3
    assert everything(path) == expected
    assert followed == expected


def test_a_small_file_is_left_alone_and_a_missing_one_is_no_error(tmp_path):
    path = tmp_path / "a.log"
    assert not rotate(str(path), max_bytes=100)
    path.write_text("x" * 99)
    assert not rotate(str(path), max_bytes=100)
    assert [p.name for p in tmp_path.iterdir()] == ["a.log"]


def test_only_so_many_copies_are_kept(tmp_path):
    path = tmp_path / "a.log"
    for _ in range(6):
        with path.open("a") as file:
            file.write("x" * 10_000)
        assert rotate(str(path), max_bytes=10_000, copies=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2", "a.log.3"]
    assert path.stat().st_size < 10_000


def test_fewer_copies_than_before_leave_no_older_ones(tmp_path):
    path = tmp_path / "a.log"
    for number in range(1, 5):
        path.with_name(f"a.log.{number}").write_text(str(number))
    path.write_text("small")
    assert not rotate(str(path), max_bytes=10_000, copies=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2"]


@pytest.mark.parametrize("collapses", [True, False])
def test_with_no_copies_the_front_is_thrown_away(tmp_path, monkeypatch, collapses):
    if not collapses:
        monkeypatch.setattr("infctl.engine.rotate._collapse", lambda *_: False)
    path = tmp_path / "a.log"
    path.write_text("x" * 10_000)
    assert rotate(str(path), max_bytes=10_000, copies=0)
    assert [p.name for p in tmp_path.iterdir()] == ["a.log"]
    assert path.stat().st_size < 10_000


def test_without_a_profile_its_defaults_hold():
    assert (
        LogLimits(LOG_MAX_BYTES, LOG_COPIES_MAX + 1) == LogLimits() == LogLimits(Logs().max_size, Logs().keep)
    )


def test_a_file_system_that_cannot_collapse_is_truncated_after_copying(tmp_path, monkeypatch):
    monkeypatch.setattr("infctl.engine.rotate._collapse", lambda *_: False)
    path = tmp_path / "a.log"
    lines = [f"line {n}" for n in range(3000)]
    path.write_text("\n".join(lines) + "\n")
    assert rotate(str(path), max_bytes=10_000)
    assert path.read_bytes() == b""
    assert everything(path) == lines


def test_a_tail_reaches_back_into_the_rotated_file(tmp_path):
    path = tmp_path / "a.log"
    path.write_text("".join(f"line {n}\n" for n in range(2000)))
    rotate(str(path), max_bytes=10_000)
    assert tail(path, 700) == [f"line {n}" for n in range(1300, 2000)]
    assert tail(path, 1) == ["line 1999"]
    assert tail(path, 0) == []
    assert tail(tmp_path / "none.log", 5) == []


def test_a_tail_shows_an_unfinished_last_line_and_odd_bytes(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"one\r\n\xff\ntwo")
    assert tail(path, 9) == ["one", "\ufffd", "two"]


def test_a_tail_of_a_long_log_reads_its_end_only(tmp_path):
    path = tmp_path / "a.log"
    path.write_text("x" * 99 + "\n")
    with path.open("r+b") as file:
        file.seek(20 << 30)
        file.write(b"\nlast\n")
    began = time.thread_time()
    assert tail(path, 1) == ["last"]
    assert time.thread_time() - began < 1


def test_a_follower_keeps_an_unfinished_line_until_it_ends(tmp_path):
    path = tmp_path / "a.log"
    follower = Follower(path)
    assert follower.new_lines() == []
    path.write_text("one\ntw")
    assert follower.new_lines() == ["one"]
    with path.open("a") as file:
        file.write("o\n")
    assert follower.new_lines() == ["two"]


def test_a_follower_goes_on_in_a_file_that_was_replaced(tmp_path):
    path = tmp_path / "a.log"
    path.write_text("old\n")
    follower = Follower.at_end(path)
    with path.open("a") as file:
        file.write("last of the old\n")
    path.rename(tmp_path / "a.log.1")
    path.write_text("first of the new\n")
    assert follower.new_lines() == ["last of the old", "first of the new"]


def test_last_lines_come_by_service(tmp_path):
    (tmp_path / "a.log").write_text("1\n2\n")
    (tmp_path / "b.log").write_text("3\n")
    assert [(x.service, x.text) for x in last_lines(tmp_path, [], 1)] == [("a", "2"), ("b", "3")]
    assert [(x.service, x.text) for x in last_lines(tmp_path, ["b"], 1)] == [("b", "3")]
