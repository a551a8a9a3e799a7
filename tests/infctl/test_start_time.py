"""`infctl --help` is there before a person has taken the finger from Enter."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

LIMIT_S = 0.3
HEAVY = ("rich", "pydantic", "httpx", "yaml", "jinja2", "cryptography", "msgspec", "asyncio", "ssl")


def seconds() -> float:
    """Of CPU: what a clock shows on a machine that is doing nothing else."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "infctl", "--help"], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.serial
def test_help_takes_less_than_300_ms() -> None:
    best = min(seconds() for _ in range(5))
    assert best < LIMIT_S, f"{best:.3f} s"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from infctl.cli.app import run\n"
        "try: run(['--help'])\n"
        "finally: sys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: infctl" in done.stdout
    loaded = set(done.stderr.split())
    assert not loaded.intersection(HEAVY)
