"""A case is what a check looks at: made here of a few lines of profile, without a machine behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from infctl.doctor.case import Case
from infctl.doctor.docker import Docker
from infctl.doctor.once import Once
from infctl.profile.loading import load
from infctl.stack import Layout
from tests.infctl.models.conftest import builders, fake_hub, new_hub

__all__ = ["builders", "fake_hub", "new_hub"]
"""Fixtures: a hub on loopback."""

NOW = 1_800_000_000.0
"""15 January 2027."""
Make = Callable[..., Case]

LOCAL: Mapping[str, Any] = {
    "name": "p",
    "runtime": "process",
    "gpus": "cpu",
    "models": {"chat": {"source": "org/chat", "task": "chat"}},
    "edge": {"bind": "127.0.0.1"},
    "monitoring": {"enabled": False},
}


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """`case({changes of LOCAL}, env={...}, docker=Docker(...), **fields of Case)`; ./p.yaml is the file."""
    monkeypatch.chdir(tmp_path)

    def make(
        changes: Mapping[str, Any] | None = None,
        *,
        env: Mapping[str, str] | None = None,
        docker: Docker | None = None,
        **fields: Any,
    ) -> Case:
        text = {**LOCAL, **(changes or {})}
        file = Path("p.yaml")
        file.write_text(yaml.safe_dump(text, sort_keys=False))
        env = {"GATEWAY_API_KEY": "k" * 30, **(env or {})}
        loaded = load((file,), env)
        layout = Layout(
            tmp_path, tmp_path / ".infctl" / loaded.profile.name, beside=loaded.profile.runtime == "docker"
        )
        found = Case((file,), env, loaded=loaded, layout=layout, now=NOW, offline=True)
        if docker is not None:
            found = replace(found, docker=Once(lambda: docker))
        return replace(found, **fields)

    return make


@pytest.fixture
def engine() -> Callable[..., Docker]:
    """A local Docker engine that is as it should be, but for what is named."""

    def make(**changes: Any) -> Docker:
        info = {"OSType": "linux", "Architecture": "x86_64", "Driver": "overlay2", **changes.pop("info", {})}
        kept = {
            "address": "unix:///var/run/docker.sock",
            "is_local": True,
            "version": "28.2.2",
            "api": (1, 50),
        }
        return Docker(**{**kept, **changes}, info=info)

    return make
