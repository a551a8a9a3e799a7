"""A start that failed under `infctl up`: explained, and its log kept where its container goes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from infctl.cli.failed_start import explained
from infctl.cli.project import Project, open_project
from infctl.engine import causes
from infctl.engine.causes import DidNotStart

NO_MODEL = "ValueError: Model architectures ['NoSuchModel'] are not supported for now."


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    profile = {
        "name": "toy",
        "runtime": "docker",
        "gpus": "cpu",
        "models": {"chat": {"source": {"path": "weights"}, "task": "chat", "max_model_len": 1024}},
        "gateway": {"keys": {"shared": "${GATEWAY_API_KEY}"}},
        "monitoring": {"enabled": False},
    }
    (tmp_path / "weights").mkdir()
    (tmp_path / "infctl.yaml").write_text(yaml.safe_dump(profile, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    return open_project(None)


def failure(*lines: str) -> DidNotStart:
    error = causes.failed(lines, "chat", "exit code 1", "did not start")
    assert isinstance(error, DidNotStart)
    error.hint = f"{error.hint}\nwhat ran before runs again"
    return error


def test_the_place_in_the_profile_is_told(project: Project) -> None:
    told = explained(failure("INFO begins", NO_MODEL), project, project.build())
    assert told.message.startswith("chat did not start: ")
    assert "infctl.yaml:" in told.hint
    assert "what ran before runs again" in told.hint
    assert NO_MODEL in told.log
    assert told.exit_code == 5


def test_the_log_is_kept_and_named_instead_of_one_that_is_gone(project: Project) -> None:
    told = explained(failure("INFO begins", NO_MODEL), project, project.build())
    kept = project.layout.logs / "chat.failed.log"
    assert f"all of its log: {kept}" in told.hint
    assert "infctl logs" not in told.hint
    assert kept.read_text() == f"INFO begins\n{NO_MODEL}\n"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_cause_that_nobody_knows_is_left_in_its_own_words(project: Project) -> None:
    told = explained(failure("something else"), project, project.build())
    assert told.message == "chat did not start: exit code 1"
    assert told.hint.splitlines()[-1] == "what ran before runs again"
    assert "chat.failed.log" in told.hint
