"""`infctl --help` is there before a person has taken the finger from Enter."""

from __future__ import annotations

import subprocess
import sys

import pytest

from . import cpu_time

LIMIT_S = 0.3
HEAVY = ("rich", "pydantic", "httpx", "yaml", "jinja2", "cryptography", "msgspec", "asyncio", "ssl")


def show_help() -> None:
    subprocess.run([sys.executable, "-m", "infctl", "--help"], check=True, capture_output=True)


@pytest.mark.serial
def test_help_takes_less_than_300_ms() -> None:
    best = cpu_time.best(show_help, LIMIT_S)
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
