"""History, rollback, scale and saved diffs of a platform that really runs (see `toy`)."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from infctl.cli import shapes

from .conftest import Run
from .test_commands import same_keys
from .toy import change, pids, read, write


def ok(run: Run, *args: str) -> subprocess.CompletedProcess[str]:
    done = run(*args)
    assert done.returncode == 0, done.stderr
    return done


def entries(run: Run) -> list[dict[str, Any]]:
    told = json.loads(ok(run, "history", "--json").stdout)
    assert same_keys(told, shapes.HISTORY)
    return list(told["entries"])


def replicas(folder: Path, count: int) -> None:
    """Services with numbers; threads that do not depend on how many engines share the CPU."""
    change(folder, replicas=count)
    profile = read(folder)
    profile["engines"]["env"] = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    write(folder, profile)


# History and rollback


def test_rollback_applies_what_ran_before_without_its_profile(run: Run, folder: Path) -> None:
    ok(run, "up")
    config = folder / ".infctl/toy/rendered/gateway.yaml"
    first = config.read_text()
    change(folder, max_model_len=512)
    ok(run, "up", "-y")
    assert config.read_text() != first
    before = pids(run)
    profile = read(folder)
    (folder / "infctl.yaml").write_text("name: [broken\n")

    shown = ok(run, "rollback", "--dry-run")
    assert "--max-model-len 512 -> 1024" in shown.stdout
    assert "going on with toy" in shown.stderr
    asked = run("rollback")
    assert asked.returncode == 64, "nobody can be asked, and -y was not said"
    assert "chat is away for about" in asked.stderr
    done = ok(run, "rollback", "-y")
    assert "The capital of France is Paris." in done.stdout
    assert config.read_text() == first

    told = entries(run)
    assert [(one["command"], one["outcome"], one["runs_now"]) for one in told] == [
        ("rollback 1", "done", True),
        ("up", "done", False),
        ("up", "done", False),
    ]
    assert "--max-model-len 512 -> 1024" in told[0]["actions"][0]["cause"]
    whole = ok(run, "history", "3").stdout
    assert "rollback 1 · done · runs now" in whole

    again = json.loads(ok(run, "rollback", "-y", "--json").stdout)
    assert list(again) == list(shapes.ROLLBACK)
    assert again["to"] == 2, "the one before what runs now"
    write(folder, profile)
    after = pids(run)
    assert (after["gateway"], after["nginx"]) == (before["gateway"], before["nginx"])


def test_there_is_nothing_to_go_back_to_at_first(run: Run, folder: Path) -> None:
    assert "nothing was done here yet" in ok(run, "history").stderr
    for words in (["rollback"], ["rollback", "7"], ["history", "7"]):
        done = run(*words)
        assert done.returncode == 64, words
        assert "there is" in done.stderr
    ok(run, "up")
    done = run("rollback")
    assert done.returncode == 64
    assert "no other stack was applied" in done.stderr


def test_what_failed_is_told_and_is_none_to_go_back_to(run: Run, folder: Path) -> None:
    ok(run, "up")
    change(folder, extra_args=["--broken"], max_model_len=512)
    assert run("up", "-y").returncode == 5
    told = entries(run)[0]
    assert (told["command"], told["outcome"], told["can_be_applied"]) == ("up", "failed", False)
    assert "chat did not start" in told["why"]
    assert "what ran before runs again" in told["why"]
    assert [one["runs_now"] for one in entries(run)] == [False, True]
    done = run("rollback", "2", "-y")
    assert done.returncode == 64
    assert "entry 2 applied nothing (up, failed)" in done.stderr


def test_restart_and_down_are_in_the_history_and_nothing_to_do_is_not(run: Run, folder: Path) -> None:
    ok(run, "up")
    ok(run, "up")
    ok(run, "restart", "chat")
    ok(run, "down")
    ok(run, "down")
    assert [one["command"] for one in entries(run)] == ["down", "restart chat", "up"]
    assert not any(one["runs_now"] for one in entries(run))


def test_no_secret_is_in_the_history_or_a_saved_diff(run: Run, folder: Path) -> None:
    (folder / ".env").write_text("GATEWAY_API_KEY=very-secret-indeed\nBACKEND_API_KEY=quite-as-secret\n")
    ok(run, "diff", "-o", "change.json")
    ok(run, "up")
    for file in (folder / "change.json", *(folder / ".infctl/toy/history").rglob("*")):
        if file.is_file():
            assert "secret-indeed" not in file.read_text()
            assert "as-secret" not in file.read_text()


# Scale


def test_scale_adds_and_removes_the_highest_number_and_leaves_the_profile_alone(
    run: Run, folder: Path
) -> None:
    replicas(folder, 1)
    ok(run, "up")
    before = pids(run)
    text = (folder / "infctl.yaml").read_text()

    dry = json.loads(ok(run, "scale", "chat=2", "--dry-run", "--json").stdout)
    assert same_keys({**dry, "status": None}, {**shapes.SCALE, "status": "null"})
    assert not (folder / ".infctl/toy/scaled.yaml").exists()
    done = ok(run, "scale", "chat=2")
    assert "+ chat1    start" in done.stdout
    after = pids(run)
    assert set(after) == {*before, "chat1"}
    assert after["chat0"] == before["chat0"], "what stays is not touched"
    assert (folder / "infctl.yaml").read_text() == text

    again = ok(run, "up")
    assert "nothing to change" in again.stdout
    assert "infctl scale asked for 2, the profile says 1" in again.stderr
    assert entries(run)[0]["command"] == "scale chat=2"

    asked = run("scale", "chat=1")
    assert asked.returncode == 64, "one is removed, and nobody can be asked"
    ok(run, "scale", "chat=1", "-y")
    assert pids(run) == before
    assert not (folder / ".infctl/toy/scaled.yaml").exists()


def test_what_else_a_scale_would_apply_is_told(run: Run, folder: Path) -> None:
    replicas(folder, 1)
    ok(run, "up")
    change(folder, max_model_len=512)
    asked = run("scale", "chat=2")
    assert asked.returncode == 64
    assert "more than the number of replicas changes: chat0" in asked.stderr


def test_the_overlay_goes_when_the_profile_says_the_same(run: Run, folder: Path) -> None:
    replicas(folder, 1)
    ok(run, "up")
    ok(run, "scale", "chat=2")
    replicas(folder, 2)
    done = ok(run, "up")
    assert "nothing to change" in done.stdout
    assert "infctl scale" not in done.stderr
    assert not (folder / ".infctl/toy/scaled.yaml").exists()


def test_a_scale_that_fails_is_forgotten(run: Run, folder: Path) -> None:
    replicas(folder, 1)
    ok(run, "up")
    with socket.socket() as other:  # the port that the second replica would take
        other.bind(("127.0.0.1", read(folder)["engines"]["port_base"] + 1))
        other.listen()
        done = run("scale", "chat=2")
    assert done.returncode == 5, done.stderr
    assert "is held by process" in done.stderr
    assert not (folder / ".infctl/toy/scaled.yaml").exists()
    assert set(pids(run)) == {"chat0", "gateway", "nginx"}


def test_more_than_fit_is_a_plan_error_at_its_place(run: Run, folder: Path) -> None:
    profile = {
        "name": "cards",
        "runtime": "process",
        "gpus": "2xL4",
        "models": {"chat": {"source": "Qwen/Qwen2.5-7B-Instruct", "task": "chat", "replicas": 2}},
        "gateway": {"keys": {"shared": "${GATEWAY_API_KEY}"}},
        "monitoring": {"enabled": False},
    }
    (folder / "cards.yaml").write_text(yaml.safe_dump(profile, sort_keys=False))
    (folder / ".env").write_text("GATEWAY_API_KEY=k\n")
    done = run("scale", "-f", "cards.yaml", "chat=3")
    assert done.returncode == 4, done.stderr
    assert "cards.yaml:8:" in done.stderr
    assert "models/chat/replicas" in done.stderr
    assert not (folder / ".infctl/cards/scaled.yaml").exists()


# A saved diff


def test_a_saved_diff_is_applied_exactly_and_once(run: Run, folder: Path) -> None:
    ok(run, "diff", "-o", "first.json")
    ok(run, "up", "first.json")
    change(folder, max_model_len=512)
    saved = ok(run, "diff", "-o", "change.json")
    assert "infctl up change.json applies exactly this" in saved.stderr
    assert "--max-model-len 1024 -> 512" in saved.stdout
    ok(run, "up", "change.json", "-y")
    done = run("up", "change.json", "-y")
    assert done.returncode == 5
    assert "chat: what runs has changed" in done.stderr
    assert "saved before something moved" in done.stderr


def test_a_saved_diff_is_refused_when_the_profile_moved(run: Run, folder: Path) -> None:
    ok(run, "diff", "-o", "change.json")
    change(folder, max_model_len=512)
    for words in (["up", "change.json"], ["up", "change.json", "--dry-run"]):
        done = run(*words)
        assert done.returncode == 5
        assert f"{folder / 'infctl.yaml'} was changed" in done.stderr
    assert not (folder / ".infctl/toy/state/desired.json").exists()


# Somebody else


def test_a_second_change_waits_for_the_first_when_it_is_told_to(run: Run, folder: Path) -> None:
    from infctl.engine.process import ProcessEngine
    from infctl.stack import Layout

    engine = ProcessEngine(Layout(folder, folder / ".infctl" / "toy"))
    with engine.lock("ann: infctl up"):
        refused = run("up")
        assert refused.returncode == 7
        assert "ann: infctl up" in refused.stderr
        late = run("up", "--wait-lock", "0.2")
        assert late.returncode == 7
        assert "waited 0 s for it" in late.stderr
        argv = [sys.executable, "-m", "infctl", "up", "--wait-lock", "60"]
        waiting = subprocess.Popen(argv, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert waiting.stderr is not None
        said = b""
        while b"waiting" not in said:
            said = waiting.stderr.readline()
            assert said, "it ended without having waited"
        assert b"ann: infctl up" in said
    waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert (folder / ".infctl/toy/state/desired.json").exists()


def test_a_platform_never_runs_twice_as_processes_and_in_containers(run: Run, folder: Path) -> None:
    ok(run, "up")
    profile = read(folder)
    write(folder, {**profile, "runtime": "docker"})
    done = run("up", "-y")
    assert done.returncode == 5
    assert "runs with `runtime: process`, and the profile now says docker" in done.stderr
    assert "infctl down first" in done.stderr
    write(folder, profile)
    assert "nothing to change" in ok(run, "up").stdout
