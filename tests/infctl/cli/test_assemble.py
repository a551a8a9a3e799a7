"""From a profile to what would run: what the shell's environment changes of it, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from infctl.cli.project import open_project
from infctl.profile.builtin import builtin_profiles

KEYS = {"GATEWAY_API_KEY": "sk-one", "BACKEND_API_KEY": "sk-two"}


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GATEWAY_API_KEY", "ADMIN_API_KEY", "BACKEND_API_KEY", "MAX_REQUEST_SECS"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "local.yaml"
    file.write_bytes(builtin_profiles()["local"].read_bytes())
    text = "".join(f"{name}={value}\n" for name, value in KEYS.items())
    (tmp_path / ".env").write_text(f"{text}MAX_REQUEST_SECS=77\n")
    return file


def passed(profile: Path) -> tuple[set[str], dict[str, str]]:
    """What the gateway's process gets from us: names of secrets, and variables."""
    gateway = open_project([profile]).build().stack.service("gateway")
    return {variable for variable, _ in gateway.secret_env}, dict(gateway.env)


def test_a_shell_that_has_sourced_env_asks_for_nothing_new(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = passed(profile)
    for name, value in {**KEYS, "MAX_REQUEST_SECS": "77"}.items():
        monkeypatch.setenv(name, value)
    assert passed(profile) == before


def test_another_value_than_that_of_env_is_passed_and_wins(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_API_KEY", "sk-other")
    monkeypatch.setenv("MAX_REQUEST_SECS", "78")
    secrets, variables = passed(profile)
    assert secrets == {"GATEWAY_API_KEY"}
    assert variables["MAX_REQUEST_SECS"] == "78"
