"""`infctl plan` as a command: the reference platform's page, other cards, errors with their places.

INFCTL_REFRESH_GOLDEN=1 pytest tests/infctl/cli/test_plan_command.py    writes the screens anew; read the diff
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from infctl import calibration
from infctl.cli import plan_screen, planning, shapes
from infctl.profile.builtin import builtin_profiles
from infctl.sizing import Measured
from tests.infctl import cpu_time

from .conftest import Run

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "plan"
PROFILES = Path(__file__).resolve().parents[3] / "profiles"
GIB = 2**30
LIMIT_S = 0.5
CARDS = {"l4x4": "4xL4", "one-gpu": "1xL4", "local": None}


def same_keys(told: Any, shape: Any) -> bool:
    """Every key of the answer is promised, and every promised key is there; null: no such part."""
    if told is None:
        return True
    if isinstance(shape, dict):
        return list(told) == list(shape) and all(same_keys(told[key], shape[key]) for key in shape)
    if isinstance(shape, list):
        return all(same_keys(one, shape[0]) for one in told)
    return True


def planned(run: Run, *args: str) -> dict[str, Any]:
    done = run("plan", *args, "--offline", "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert same_keys(told, shapes.PLAN)
    return told


def profile(folder: Path, models: dict[str, Any], **more: Any) -> str:
    """A profile whose models are folders beside it, with a config.json each."""
    text = {
        "name": "there", "gpus": "2xL4", "models": models, "edge": {"enabled": False},
        "monitoring": {"enabled": False}, **more,
    }  # fmt: skip
    file = folder / "p.yaml"
    file.write_text(yaml.safe_dump(text, sort_keys=False))
    return str(file)


def config(folder: Path, **changes: Any) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["Qwen2ForCausalLM"],
                "model_type": "qwen2",
                "hidden_size": 896,
                "num_hidden_layers": 24,
                "num_attention_heads": 14,
                "num_key_value_heads": 2,
                "intermediate_size": 4864,
                "vocab_size": 151936,
                "max_position_embeddings": 32768,
                "torch_dtype": "bfloat16",
                "tie_word_embeddings": True,
            }
            | changes,
            indent=1,
        )
    )


# The built-in profiles


@pytest.mark.parametrize("case", CARDS)
def test_the_built_in_profiles_plan_as_they_did(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = GOLDEN / f"profile-{case}.txt"
    monkeypatch.chdir(PROFILES.parent)
    monkeypatch.setattr("infctl.cli.machine.memory", lambda: 16 * GIB)
    found = planning.make([Path("profiles") / f"{case}.yaml"], CARDS[case], offline=True, actual=False)
    told = plan_screen.lines(found.name, found.plan, 100, memory_bytes=found.memory_bytes)
    text = "\n".join([*told, *plan_screen.why_lines(found.plan, 100)]) + "\n"
    if os.environ.get("INFCTL_REFRESH_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_the_reference_platform_is_planned_as_it_runs_and_its_two_errors_are_corrected(run: Run) -> None:
    done = run("plan", "-f", str(PROFILES / "l4x4.yaml"), "--gpus", "4xL4", "--offline")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "5 engines on 4 x L4 (22.05 GiB each)" in told
    assert "chat takes 19.8 GiB, 0.90 of the card, not its weights alone" in told
    assert "embed is an encoder and keeps no KV cache" in told
    assert "GPU 3 holds" in told

    data = planned(run, "-f", str(PROFILES / "l4x4.yaml"), "--gpus", "4xL4")
    where = {engine["service"]: engine["gpus"] for engine in data["engines"]}
    assert where == {"chat0": [0], "chat1": [1], "text2sql": [2], "embed": [3], "rerank": [3]}
    chat = data["engines"][0]["need"]
    assert abs(chat["weights_bytes"] / GIB - 14.2) < 0.15
    assert 60_000 < chat["kv_tokens"] < 100_000
    assert data["engines"][3]["need"]["kv_tokens"] is None
    assert data["gpus"][3]["unused_bytes"] > 15 * GIB
    assert data["idle_memory"][0]["gpu"] == 3


def test_a_plan_asks_for_no_secret(run: Run) -> None:
    """The profile says `${GATEWAY_API_KEY:?...}`, and the fixture has taken the keys away."""
    done = run("plan", "-f", str(PROFILES / "l4x4.yaml"), "--gpus", "4xL4", "--offline")
    assert done.returncode == 0
    assert "KEY" not in done.stderr


def test_nothing_is_written_and_no_docker_is_asked(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "infctl.yaml"
    copy.write_text(builtin_profiles()["l4x4"].read_text())
    trap = tmp_path / "bin"
    trap.mkdir()
    for name in ("docker", "nvidia-smi"):
        (trap / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nexit 1\n")
        (trap / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{trap}{os.pathsep}{os.environ['PATH']}")
    before = sorted(tmp_path.iterdir())
    assert run("plan", "--offline").returncode == 0
    assert sorted(path for path in tmp_path.iterdir() if path.name != "state-home") == before


def test_other_cards_than_the_profiles_can_be_tried(run: Run) -> None:
    data = planned(run, "-f", str(PROFILES / "l4x4.yaml"), "--gpus", "h100:4")
    assert [gpu["name"] for gpu in data["gpus"]] == ["H100"] * 4
    on_l4 = planned(run, "-f", str(PROFILES / "l4x4.yaml"), "--gpus", "4xL4")
    assert data["models"][0]["kv_tokens"] > on_l4["models"][0]["kv_tokens"]


def test_a_laptop_without_a_gpu_has_one_line_for_its_memory(run: Run) -> None:
    data = planned(run, "-f", str(PROFILES / "local.yaml"))
    assert data["gpus"] == []
    assert data["cpu"]["memory_bytes"] > GIB
    told = run("plan", "-f", str(PROFILES / "local.yaml"), "--offline").stdout
    assert sum(line.startswith("CPU ") for line in told.splitlines()) == 1


def test_engines_that_do_not_fit_a_machine_together_are_warned_of(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infctl.cli.machine.memory", lambda: 4 * GIB)
    data = planned(run, "-f", str(PROFILES / "local.yaml"))
    assert any("this machine has 4.0 GiB" in warning["message"] for warning in data["warnings"])


def test_why_shows_each_flag_with_its_reason(run: Run) -> None:
    told = run("plan", "-f", str(PROFILES / "one-gpu.yaml"), "--gpus", "L40S", "--offline", "--why").stdout
    assert "--kv-cache-memory-bytes" in told
    assert "--gpu-memory-utilization" in told


# What was measured


@pytest.fixture
def started(tmp_path: Path) -> str:
    """A profile of one model and what its engine measured when it started: a little less than planned."""
    config(tmp_path / "small")
    file = profile(
        tmp_path,
        {"small": {"source": {"path": "small"}, "task": "chat", "gpu_memory_utilization": 0.5}},
        gpus="1xL4",
    )
    found = planning.make([Path(file)], None, offline=True, actual=False)
    need = found.plan.replicas[0].need
    assert need is not None
    assert need.kv is not None
    key = calibration.key("path:small", need.resolved, need.card, "0.32.0")
    measured = Measured(
        weights_bytes=need.weights.expected,
        activation_bytes=need.activation.expected,
        kv_available_bytes=need.kv_bytes.expected * 98 // 100,
        num_gpu_blocks=need.kv.num_blocks * 98 // 100,
        kv_tokens=need.kv_tokens.expected * 98 // 100,
        starts=2,
    )
    book = calibration.Calibration().record(key, measured, 1e9, vllm="0.32.0")
    calibration.save(tmp_path / ".infctl" / "calibration.json", book)
    return file


def test_what_was_measured_is_planned_with_and_says_so(run: Run, started: str) -> None:
    need = planned(run, "-f", started)["engines"][0]["need"]
    assert need["bands"]["kv_tokens"]["origin"] == "measured"
    assert need["bands"]["kv_tokens"]["low"] == need["kv_tokens"]
    assert "measured here" in run("plan", "-f", started, "--offline").stdout


def test_actual_compares_with_the_plan_as_it_was_before_the_start(run: Run, started: str) -> None:
    row = planned(run, "-f", started, "--actual")["actual"][0]
    assert row["service"] == "small"
    assert row["planned_kv_tokens"] > row["actual_kv_tokens"]
    assert row["difference_percent"] == pytest.approx(-2, abs=0.01)
    told = run("plan", "-f", started, "--offline", "--actual").stdout
    assert "-2.0 %" in told
    assert f"{row['actual_kv_tokens']:,}" in told


def test_other_settings_than_those_that_started_have_no_actual(run: Run, started: str) -> None:
    Path(started).write_text(Path(started).read_text().replace("0.5", "0.6"))
    row = planned(run, "-f", started, "--actual")["actual"][0]
    assert (row["actual_kv_tokens"], row["starts"]) == (None, 0)
    assert "has not started here" in run("plan", "-f", started, "--offline", "--actual").stdout


def test_without_actual_there_is_no_such_part(run: Run, started: str) -> None:
    assert planned(run, "-f", started)["actual"] is None


# Errors


def test_configs_that_cannot_be_read_are_told_all_at_once(run: Run, tmp_path: Path) -> None:
    config(tmp_path / "odd", num_attention_heads=0)
    file = profile(
        tmp_path,
        {
            "one": {"source": {"path": "missing"}, "task": "chat"},
            "two": {"source": {"path": "odd"}, "task": "chat"},
        },
    )
    done = run("plan", "-f", file, "--offline")
    assert (done.returncode, done.stdout) == (4, "")
    assert "models/one/source" in done.stderr
    assert "num_attention_heads" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_does_not_fit_is_located(run: Run, tmp_path: Path) -> None:
    config(
        tmp_path / "big",
        hidden_size=8192,
        num_attention_heads=64,
        num_hidden_layers=80,
        intermediate_size=28672,
    )
    file = profile(tmp_path, {"big": {"source": {"path": "big"}, "task": "chat"}})
    done = run("plan", "-f", file, "--offline")
    assert (done.returncode, done.stdout) == (4, "")
    assert f"{file}:" in done.stderr
    assert "models/big" in done.stderr


@pytest.mark.parametrize("command", ["plan", "validate"])
def test_a_gpu_that_is_not_there_is_located_and_of_the_plans_class(
    run: Run, tmp_path: Path, command: str
) -> None:
    models = {"chat": {"source": "Qwen/Qwen2.5-7B-Instruct", "task": "chat", "gpu": 7}}
    done = run(command, "-f", profile(tmp_path, models))
    assert done.returncode == 4
    assert "p.yaml:7:10" in done.stderr
    assert "models/chat/gpu: chat asks for GPU 7, which does not exist\n  there are: 0, 1\n" in done.stderr


def test_cards_that_are_tried_may_be_more_than_the_profile_lists(run: Run, tmp_path: Path) -> None:
    models = {"chat": {"source": "Qwen/Qwen2.5-7B-Instruct", "task": "chat", "gpu": 7}}
    told = planned(run, "-f", profile(tmp_path, models), "--gpus", "8xL4")
    assert told["engines"][0]["gpus"] == [7]


def test_a_card_nobody_knows_offers_the_nearest(run: Run) -> None:
    done = run("plan", "-f", str(PROFILES / "l4x4.yaml"), "--gpus", "4xL5", "--offline")
    assert done.returncode == 4
    assert "no card called L5" in done.stderr
    assert "L4" in done.stderr


def test_gpus_that_say_nothing_are_a_usage_error(run: Run) -> None:
    done = run("plan", "-f", str(PROFILES / "l4x4.yaml"), "--gpus", "a lot/of them", "--offline")
    assert done.returncode == 64


def test_errors_are_json_with_json(run: Run, tmp_path: Path) -> None:
    file = profile(tmp_path, {"one": {"source": {"path": "missing"}, "task": "chat"}})
    done = run("plan", "-f", file, "--offline", "--json")
    problem = json.loads(done.stderr)["error"]["problems"][0]
    assert (problem["path"], problem["file"]) == ("models/one/source", file)


# How it is drawn


def spawn(*args: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "infctl",
            "plan",
            "-f",
            "profiles/l4x4.yaml",
            "--gpus",
            "4xL4",
            "--offline",
            *args,
        ],
        cwd=PROFILES.parent,
        env={**os.environ, "NO_COLOR": "1", **env},
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_an_ascii_terminal_gets_ascii() -> None:
    done = spawn("--why", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert b"GPU 0  ####" in done.stdout


@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_it_fits_the_window(columns: str) -> None:
    done = spawn("--why", COLUMNS=columns, PYTHONIOENCODING="utf-8")
    assert max(len(line) for line in done.stdout.decode().splitlines()) <= int(columns)


@pytest.mark.serial
def test_a_plan_takes_less_than_half_a_second(tmp_path: Path) -> None:
    """As installed: pip compiles what it installs, and so does the first run."""

    def plan() -> None:
        done = spawn(PYTHONDONTWRITEBYTECODE="", PYTHONPYCACHEPREFIX=str(tmp_path))
        assert done.returncode == 0, done.stderr

    plan()
    best = cpu_time.best(plan, LIMIT_S)
    assert best < LIMIT_S, f"{best:.3f} s"
