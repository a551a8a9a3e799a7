"""health --deep, top, doctor metrics of a platform that runs: the real gateway and nginx, a toy as vLLM."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from infctl.cli.live_look import LiveLook
from infctl.cli.project import open_project

from .conftest import Run
from .toy import pids, read, write


def test_a_real_platform_is_looked_at_whole_and_what_is_wrong_is_told(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = read(folder)
    profile["gateway"]["keys"]["admin"] = "${ADMIN_API_KEY}"
    profile["gateway"]["metrics_open_to"] = ["10.99.0.0/16"]  # so that this address needs the key
    profile["secrets"]["ADMIN_API_KEY"] = {"generate": True}
    write(folder, profile)
    assert run("up").returncode == 0

    done = run("health", "--deep", "--json")
    told = {one["check"]: one for one in json.loads(done.stdout)["checks"]}
    assert done.returncode == 0, done.stdout
    assert {check: one["verdict"] for check, one in told.items()} == {
        "gateway": "ok", "models": "ok", "tls": "ok", "metrics": "ok", "store": "ok", "audit": "ok",
        "disk": "ok", "time": "ok",
    }  # fmt: skip
    assert "trusted for localhost" in told["tls"]["what"]
    assert told["store"]["where"] == "gateway (SQLite)"
    assert {"gateway", "store"} <= set(told["time"]["where"].split(", "))

    names = json.loads(run("doctor", "metrics", "--json").stdout)
    assert {one["told_by"] for one in names["missing"]} == {"vllm"}, "the gateway tells every name"

    view = LiveLook(open_project(None)).view()
    assert [(row.model, row.backend, row.state) for row in view.rows] == [("chat", "vllm-chat", "ready")]
    assert view.down == ()
    (busy,) = json.loads(run("top", "--seconds", "0.2", "--json", "--by", "model").stdout)["busiest"]
    assert (busy["name"], busy["requests"]) == ("chat", 2), "one of up, one of health"

    # A wrong key: nothing is told to who has it, and the reason to who looks.
    monkeypatch.setenv("ADMIN_API_KEY", "not-the-one")
    done = run("health", "--deep")
    assert done.returncode == 1
    assert "gateway refuses to tell its figures (401)" in " ".join(done.stdout.split())
    assert "the key comes from ADMIN_API_KEY" in " ".join(done.stdout.split())
    assert "it refuses the key (401)" in run("top", "--seconds", "0.2").stdout
    assert "not-the-one" not in done.stdout + done.stderr
    monkeypatch.delenv("ADMIN_API_KEY")

    # An engine that hangs: its page is missing, the rest is there.
    engine = pids(run)["chat"]
    os.kill(engine, signal.SIGSTOP)
    try:
        view = LiveLook(open_project(None)).view()
        assert dict(view.down) == {"chat": "no answer in time"}
        assert view.clients[0].model == "chat"
    finally:
        os.kill(engine, signal.SIGCONT)
