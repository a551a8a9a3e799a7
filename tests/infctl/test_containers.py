"""Containers as values: what their hash covers, and that they survive a trip through JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import Any

import pytest

from infctl.stack.containers import (
    Attachment,
    Build,
    Container,
    Devices,
    Healthcheck,
    Limit,
    Mount,
    Needs,
    Network,
    Port,
    Project,
    Volume,
    from_json,
    spec_hash,
)

FULL = Container(
    service="chat0",
    role="engine",
    image="vllm/vllm-openai:v0.32.0",
    name="vllm-chat0",
    entrypoint=("python3", "/infctl/start.py"),
    command=("--model", "a/b"),
    env=(("A", "1"),),
    user="1000:1000",
    networks=(Attachment("backend", ("chat",)),),
    mounts=(Mount("bind", "/srv/p/nginx", "/etc/nginx"), Mount("volume", "cache", "/cache", read_only=False)),
    ports=(Port(443, 443),),
    healthcheck=Healthcheck(("CMD", "true")),
    devices=Devices("nvidia", ("0",)),
    needs=(Needs("weights", "service_completed_successfully"),),
    tmpfs=(("/tmp", "size=1"),),
    limits=(Limit("stack", 1, 2),),
    build=Build("/srv/p/gateway", (("BASE", "x"),)),
    labels=(("io.infctl.role", "engine"),),
    reasons=(("shm_size", "why"),),
)
PROJECT = Project(
    "p", "docker-compose.yml", "/srv/p", (FULL,), (Network("backend", "p_backend", internal=True),),
    (Volume("cache", "p_cache"),),
)  # fmt: skip


def test_a_project_is_the_same_after_a_trip_through_json() -> None:
    assert from_json(json.loads(json.dumps(asdict(PROJECT)))) == PROJECT


OTHER: dict[str, Any] = {
    "service": "x", "role": "edge", "image": "y", "name": "z", "entrypoint": (), "command": ("--a",),
    "env": (), "user": "", "networks": (), "mounts": (), "ports": (), "healthcheck": None, "devices": None,
    "read_only": False, "cap_drop": (), "cap_add": ("A",), "security_opt": (), "pids_limit": 1,
    "shm_bytes": 1, "tmpfs": (), "limits": (), "sysctls": (("a", "b"),), "memory_bytes": 1, "cpus": 1.0,
    "stop_signal": "SIGQUIT", "stop_grace_s": 11.0, "restart": "no", "log_max_bytes": 1, "log_keep": 1,
    "init": True, "labels": (),
}  # fmt: skip
UNHASHED: dict[str, Any] = {"needs": (), "build": None, "reasons": (), "count": 2, "pull": "always"}


def test_every_field_is_in_one_of_the_two_tables() -> None:
    assert {field.name for field in fields(Container)} == set(OTHER) | set(UNHASHED)


@pytest.mark.parametrize("name", OTHER)
def test_what_needs_a_new_container_changes_the_hash(name: str) -> None:
    assert spec_hash(replace(FULL, **{name: OTHER[name]})) != spec_hash(FULL)


@pytest.mark.parametrize("name", UNHASHED)
def test_what_is_no_part_of_a_container_does_not(name: str) -> None:
    assert spec_hash(replace(FULL, **{name: UNHASHED[name]})) == spec_hash(FULL)
