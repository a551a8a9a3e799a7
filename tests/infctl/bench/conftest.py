"""A stub server for each test, as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STUB = Path(__file__).with_name("stub.py")


class Stub:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, STUB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def log(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/log", timeout=10) as answer:
            return json.load(answer)

    def stop(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    started = Stub()
    yield started
    started.stop()


@pytest.fixture
def own_stub() -> Iterator[Stub]:
    """For a test that counts its requests, or ends it."""
    started = Stub()
    yield started
    started.stop()
