"""`infctl unlock` of processes: the kernel's lock goes with its holder, so there is only whom to name."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from infctl.cli import shapes
from infctl.engine.process import ProcessEngine
from infctl.stack import Layout

from .conftest import Run
from .test_commands import same_keys


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[ProcessEngine]:
    profile = {
        "name": "tiny",
        "runtime": "process",
        "gpus": "cpu",
        "models": {"chat": {"source": {"path": "chat"}, "task": "chat"}},
        "monitoring": {"enabled": False},
    }
    (tmp_path / "infctl.yaml").write_text(yaml.safe_dump(profile))
    return ProcessEngine(Layout(tmp_path, tmp_path / ".infctl" / "tiny"))


def test_nobody_holds_it_at_first(run: Run, engine: ProcessEngine) -> None:
    assert run("unlock").stdout == "tiny is not locked\n"
    told = json.loads(run("unlock", "--json").stdout)
    assert same_keys({**told, "holder": None}, {**shapes.UNLOCK, "holder": ""})
    assert told["unlocked"] is False


def test_the_holder_is_named_with_its_age(run: Run, engine: ProcessEngine) -> None:
    with engine.lock("ann@box: infctl up"):
        done = run("unlock", "--show")
        assert done.returncode == 0
        assert re.fullmatch(
            rf"locked: ann@box: infctl up on \S+ \(pid {os.getpid()}\), since [-\d]+ [:\d]+: \d\.\d s\n",
            done.stdout,
        )
        told = json.loads(run("unlock", "--show", "--json").stdout)
        assert told["holder"]["pid"] == os.getpid()


def test_a_holder_that_lives_keeps_it(run: Run, engine: ProcessEngine) -> None:
    with engine.lock("ann@box: infctl up"):
        done = run("unlock", "-y")
    assert done.returncode == 7
    assert f"kill {os.getpid()}" in done.stderr
