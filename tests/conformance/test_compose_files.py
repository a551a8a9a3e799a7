"""The Compose files of every profile that comes with infctl: Compose takes them, and so does the schema."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from infctl.profile.builtin import builtin_profiles
from tests.conformance import compose_files
from tests.infctl.render.conftest import render_profile

CASES = tuple(name for name in builtin_profiles() if name != "local")  # that one runs processes


@pytest.mark.parametrize("case", CASES)
def test_compose_takes_them_without_a_warning(case: str, tmp_path: Path) -> None:
    files = compose_files.written(render_profile(builtin_profiles()[case]).files, tmp_path)
    assert [file.name for file in files] == ["docker-compose.yml", "docker-compose.monitoring.yml"]
    for file in files:
        assert compose_files.refused(file) == ""


@pytest.mark.parametrize("case", CASES)
def test_they_keep_to_the_published_schema(case: str, tmp_path: Path) -> None:
    for file in compose_files.written(render_profile(builtin_profiles()[case]).files, tmp_path):
        assert compose_files.against_schema(file.read_text()) == []


def test_both_judges_would_notice(tmp_path: Path) -> None:
    (file, _) = compose_files.written(render_profile(builtin_profiles()["l4x4"]).files, tmp_path)
    text = file.read_text()
    for bad in (
        text.replace("stop_grace_period: 163s", "stop_grace_period: soon"),
        text.replace("networks: [egress]", "networks: [nowhere]"),
        text.replace("pids_limit: 4096", "pids_limit: [4096]"),
        text.replace("type: volume, source: gpu-locks", "type: volume, source: gpu-lock"),
    ):
        assert bad != text
        file.write_text(bad)
        assert compose_files.refused(file)
    assert compose_files.against_schema(text.replace("pids_limit: 4096", "pids_limit: [4096]"))
    assert compose_files.against_schema(text.replace("container_name:", "container-name:"))


@pytest.mark.parametrize("case", CASES)
def test_no_port_is_published_twice(case: str, tmp_path: Path) -> None:
    files = compose_files.written(render_profile(builtin_profiles()[case]).files, tmp_path)
    assert compose_files.clashes([yaml.safe_load(file.read_text()) for file in files]) == []
