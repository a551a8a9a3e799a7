"""Whether there is a Compose that understands the rendered files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from infctl.doctor.checks.compose import FIELDS, Seen, judge, seen, used

PLUGIN = ("docker", "compose")
FILE = """
name: a
services:
  one:
    image: x:1
    depends_on: {two: {condition: service_completed_successfully}}
    devices: ["nvidia.com/gpu=0"]
  two: {image: x:1, gpus: all}
"""


def test_the_fields_of_a_file_are_seen_where_they_are_used():
    assert [name for name, _ in used([yaml.safe_load(FILE)])] == [name for name, *_ in FIELDS]
    assert used([yaml.safe_load("services: {one: {image: x, devices: [/dev/fuse]}}")]) == []
    assert used(["no mapping", None]) == []


def test_none_is_a_warning_because_infctl_needs_none():
    assert judge(Seen(), []).verdict == "warning"


@pytest.mark.parametrize(
    ("version", "verdict"),
    [((1, 29, 2), "failure"), ((2, 29, 7), "failure"), ((2, 30), "ok"), ((5, 6, 1), "ok")],
)
def test_one_that_does_not_know_a_field_is_a_failure_that_names_it(version, verdict):
    found = judge(Seen(PLUGIN, version, {}), used([yaml.safe_load(FILE)]))
    assert found.verdict == verdict
    if verdict == "failure":
        assert "devices by CDI (since 2.30)" in found.what


def test_what_compose_says_against_a_file_is_told():
    refused = {"docker-compose.yml": "services.one must be a mapping", "docker-compose.monitoring.yml": ""}
    found = judge(Seen(PLUGIN, (5, 6, 1), refused), [])
    assert (found.verdict, found.why) == ("failure", "services.one must be a mapping")
    assert judge(Seen(PLUGIN, (5, 6, 1), {"docker-compose.yml": ""}), []).what.endswith(
        "takes docker-compose.yml"
    )


def test_the_old_one_is_known_by_its_version(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert seen({}, str(tmp_path), {"PATH": str(tmp_path)}) == Seen()
    old = tmp_path / "docker-compose"
    old.write_text("#!/bin/sh\necho 1.29.2\n")
    old.chmod(0o755)
    found = seen({"a": "x"}, str(tmp_path), {"PATH": str(tmp_path)})
    assert (found.command, found.version, found.refused) == (("docker-compose",), (1, 29, 2), None)
    assert judge(found, used([yaml.safe_load(FILE)])).verdict == "failure"


def test_the_real_one_is_asked(docker_host, tmp_path: Path):
    files = {"good.yml": "services: {one: {image: x}}", "bad.yml": "services: {one: 7}"}
    found = seen(files, str(tmp_path), os.environ)
    assert found.version >= (2,)
    assert found.refused is not None
    assert found.refused["good.yml"] == ""
    assert "one" in found.refused["bad.yml"]
