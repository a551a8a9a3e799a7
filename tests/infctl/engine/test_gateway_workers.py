"""A real gateway of several workers under the process engine: one service, whatever its processes do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from infctl.stack import Readiness, Service


def gateway(toy: Any, tmp_path: Path) -> Service:
    file = tmp_path / "gateway.yaml"
    backends = [{"id": "none", "url": "http://127.0.0.1:1"}]
    models = [{"name": "chat", "served_name": "chat", "tasks": ["chat"], "backends": backends}]
    listen = {"host": "127.0.0.1", "port": toy.port("gateway")}
    config = {"listen": listen, "workers": 2, "keys": {"shared_env": None}, "models": models}
    file.write_text(yaml.safe_dump(config))
    argv = (sys.executable, "-m", "gateway", "--config", str(file))
    ready = Readiness(f"http://127.0.0.1:{toy.port('gateway')}/health/live", 60.0)
    return toy.service("gateway", argv=argv, role="gateway", reload_signal="HUP", ready=ready)


def test_a_killed_gateway_is_back_with_its_workers_and_goes_without_a_trace(toy, tmp_path) -> None:
    service = gateway(toy, tmp_path)
    toy.up(service)
    toy.until(lambda: len(toy.alive("gateway")) == 3, "a parent and two workers")
    assert len(toy.leaders("gateway")) == 1
    before = toy.pid("gateway")
    toy.kill(before)
    toy.until(lambda: toy.pid_or_none("gateway") not in (None, before), "it was started again")
    toy.until(lambda: len(toy.alive("gateway")) == 3, "with two workers, and none of before")
    toy.until(lambda: '"event":"started"' in toy.log("gateway").split(f'"pid":{before}')[-1], "it serves")
    assert "not_started" not in toy.log("gateway")
    assert toy.up(service) == []
    list(toy.engine.down())
    assert toy.alive("gateway") == []
