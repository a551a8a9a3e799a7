"""One log of several processes: whole lines, whatever their length, also on a pipe that is read slowly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from tests.gateway.process import ROOT

LINES, WRITERS = 40, 3
WRITER = """
import sys, time
from gateway.config import Log
from gateway.log import Journal
journal = Journal(Log(), time.time, worker=int(sys.argv[1]), lock=int(sys.argv[2]))
for number in range(%d):
    journal.event("info", "long", number=number, text="x" * 9000)
journal.close()
"""


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="a nameless file is Linux's")
def test_lines_longer_than_a_pipe_takes_at_once_do_not_interleave():
    reader, writer = os.pipe()
    lock = os.memfd_create("lock")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER % LINES, str(number), str(lock)],
            cwd=ROOT,
            stdout=writer,
            pass_fds=(lock,),
        )
        for number in range(WRITERS)
    ]
    os.close(writer)
    os.close(lock)
    text = b""
    while piece := os.read(reader, 4096):
        text += piece
        time.sleep(0.0002)
    os.close(reader)
    assert [process.wait() for process in processes] == [0] * WRITERS
    lines = [json.loads(line) for line in text.splitlines()]
    for number in range(WRITERS):
        assert [line["number"] for line in lines if line["worker"] == number] == list(range(LINES))
