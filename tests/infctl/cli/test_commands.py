"""The command line as a program: exit codes, streams, JSON keys, and what is refused."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infctl import __version__
from infctl.cli import app, options, shapes
from infctl.profile.builtin import builtin_profiles

from .conftest import KEY, Gateway, backend, detailed

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`infctl ARGS` in a folder of its own, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    def call(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        with monkeypatch.context() as patch:
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            code = app.run(args)
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(["infctl", *args], code, out, err)

    return call


@pytest.fixture
def spawn(tmp_path: Path) -> Run:
    """The same as a process, where that matters."""

    def call(*args: str, env: dict[str, str] | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "infctl", *args],
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=60,
            **({"capture_output": True} | more),
        )

    return call


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """./infctl.yaml: the local profile."""
    file = tmp_path / "infctl.yaml"
    file.write_text(builtin_profiles()["local"].read_text())
    return file


@pytest.fixture
def served(tmp_path: Path, gateway: Gateway, engines: tuple[Gateway, Gateway]) -> Gateway:
    """A profile whose gateway and engines are where the fake ones listen."""
    text = {
        "name": "served",
        "runtime": "process",
        "gpus": "cpu",
        "models": {
            "chat": {"source": {"path": "chat"}, "task": ["chat", "text2sql"]},
            "embed": {"source": {"path": "embed"}, "task": ["embed", "rerank"]},
        },
        "engines": {"port_base": engines[0].port},
        "gateway": {"listen": {"port": gateway.port}},
        "edge": {"enabled": False},
        "monitoring": {"enabled": False},
    }
    for model in ("chat", "embed"):
        (tmp_path / model).mkdir()
    (tmp_path / "infctl.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    (tmp_path / ".env").write_text(f"GATEWAY_API_KEY={KEY}\n")
    gateway.well()
    return gateway


def same_keys(told: Any, shape: Any) -> bool:
    """Every key of the answer is promised, and every promised key is there (lists may be empty)."""
    if isinstance(shape, dict) and isinstance(told, dict):
        return list(told) == list(shape) and all(same_keys(told[key], shape[key]) for key in shape)
    if isinstance(shape, list) and isinstance(told, list):
        return all(same_keys(one, shape[0]) for one in told)
    return not isinstance(shape, list) and (not isinstance(shape, dict))


# The command line itself


def test_without_arguments_help_is_shown(run: Run) -> None:
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: infctl")
    assert "Exit codes:" in done.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["upp"], "no such command 'upp'. Did you mean 'up'?"),
        (["up", "--fast"], "no such option"),
        (["up", "--timeout", "soon"], "--timeout"),
        (["up", "--timeout", "0"], "--timeout"),
        (["render"], "missing option"),
        (["status", "--watch"], "--watch draws on a terminal"),
        (["logs", "--since", "yesterday"], "is not a time"),
        (["logs", "--tail", "few"], "is not a number of lines"),
        (["logs", "nobody"], "there is no service 'nobody'"),
        (["logs", "infctl.yaml"], "there is no service 'infctl.yaml'"),
        (["restart", "nobody"], "there is no service 'nobody'"),
        (["profiles", "show", "nobody"], "there is no built-in profile 'nobody'"),
        (["init", "--profile", "nobody"], "there is no built-in profile 'nobody'"),
    ],
)
def test_a_usage_error_is_64_with_a_hint(run: Run, profile: Path, args: list[str], said: str) -> None:
    done = run(*args)
    assert done.returncode == 64, done.stderr
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) >= 2, "a hint follows"
    assert done.stdout == ""


def test_exit_code_and_streams_as_a_process(spawn: Run) -> None:
    done = spawn("validate", "-f", "nowhere.yaml", "--json")
    assert (done.returncode, done.stdout) == (3, "")
    assert json.loads(done.stderr)["error"]["kind"] == "profile"


def test_f_of_logs_follows_unless_a_profile_comes_after_it() -> None:
    assert options.untangled(["logs", "-f", "a.yaml", "-f", "b.yml", "chat"]) == [
        "logs", "--file", "a.yaml", "--file", "b.yml", "chat",
    ]  # fmt: skip
    assert options.untangled(["logs", "-f", "chat"]) == ["logs", "-f", "chat"]
    assert options.untangled(["audit", "tail", "-f", "a.yaml"]) == ["audit", "tail", "--file", "a.yaml"]
    assert options.untangled(["audit", "verify", "-f", "tail.yaml"]) == ["audit", "verify", "-f", "tail.yaml"]
    assert options.untangled(["up", "-f", "a.yaml"]) == ["up", "-f", "a.yaml"]


def test_no_profile_anywhere_says_how_to_get_one(run: Run) -> None:
    done = run("validate")
    assert done.returncode == 64
    assert "infctl init" in done.stderr


def test_version_in_both_forms(run: Run) -> None:
    assert run("--version").stdout == f"infctl {__version__}\n"
    told = json.loads(run("version", "--json").stdout)
    assert list(told) == list(shapes.VERSION)
    assert told["parts"]["typer"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_there(spawn: Run, shell: str) -> None:
    done = spawn("--show-completion", env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert done.returncode == 64, "a shell must be named where it cannot be detected"
    done = spawn("--show-completion", shell, env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert done.returncode == 0
    assert "infctl" in done.stdout


def completed(spawn: Run, *words: str) -> list[str]:
    env = {
        "_INFCTL_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["infctl", *words]),
        "COMP_CWORD": str(len(words)),
    }
    return spawn(env=env).stdout.split()


def test_services_and_profiles_are_completed(spawn: Run, profile: Path, tmp_path: Path) -> None:
    rendered = tmp_path / ".infctl" / "local" / "rendered"
    spawn("render", "-o", str(rendered))
    assert completed(spawn, "logs", "") == ["chat", "embed", "gateway", "nginx"]
    assert completed(spawn, "restart", "gateway", "g") == []
    assert "local" in completed(spawn, "profiles", "show", "")
    assert completed(spawn, "st") == ["status"]


def test_a_reader_that_leaves_is_no_error(spawn: Run) -> None:
    source, sink = os.pipe()
    os.close(source)
    with os.fdopen(sink, "w") as closed:
        done = spawn("schema", capture_output=False, stdout=closed, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_fault_of_ours_is_70_without_a_traceback(spawn: Run, profile: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import infctl.cli.machine as m\ndef look(): raise RuntimeError('boom')\nm.look = look\n"
    )
    done = spawn("init", "-o", "x.yaml", env={"PYTHONPATH": str(broken)})
    assert done.returncode == 70
    assert done.stderr.startswith("error: a fault in infctl itself: RuntimeError: boom\n")
    assert "Traceback" not in done.stderr


# Profiles


def test_validate_says_what_it_saw(run: Run, profile: Path) -> None:
    done = run("validate")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "ok: local, runtime process, 2 models: chat (chat + text2sql), embed (embed + rerank)\n"
    )
    told = json.loads(run("validate", "--json").stdout)
    assert same_keys(told, shapes.VALIDATE)


def test_every_mistake_of_a_profile_is_located_and_the_code_is_3(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: x\nruntime: podman\nmodels: {chat: {sorce: a/b, task: chat}}\n")
    done = run("validate", "-f", "bad.yaml")
    assert done.returncode == 3
    places = [line for line in done.stderr.splitlines() if line.startswith("error: bad.yaml:")]
    assert len(places) >= 3, done.stderr
    told = json.loads(run("validate", "-f", "bad.yaml", "--json").stderr)
    assert same_keys(told, shapes.ERROR)
    assert told["error"]["exit_code"] == 3
    assert {p["line"] for p in told["error"]["problems"]} == {2, 3}


def test_what_is_not_enforced_is_loud(run: Run, profile: Path) -> None:
    text = profile.read_text()
    profile.write_text(text.replace("monitoring: {enabled: false}", "monitoring: {slo: {availability: 99%}}"))
    done = run("validate")
    assert done.returncode == 0
    assert "warning: " in done.stderr
    assert "not enforced by this version" in done.stderr
    assert json.loads(run("status", "--json").stdout)["warnings"]


def test_profiles_are_listed_and_shown(run: Run) -> None:
    listed = run("profiles").stdout
    assert "local" in listed
    told = json.loads(run("profiles", "--json").stdout)
    assert same_keys(told, shapes.PROFILES)
    assert run("profiles", "show", "local").stdout == builtin_profiles()["local"].read_text()


def test_the_schema_is_json(run: Run, tmp_path: Path) -> None:
    assert json.loads(run("schema").stdout)["properties"]["models"]
    assert run("schema", "-o", "s.json").returncode == 0
    assert json.loads((tmp_path / "s.json").read_text())["properties"]["models"]
    assert run("schema", "-o", "no/such/folder.json").returncode == 64


def test_init_writes_a_profile_that_validates_and_keys_that_are_not_shown(run: Run, tmp_path: Path) -> None:
    done = run("init", "-y", "--profile", "local")
    assert done.returncode == 0, done.stderr
    keys = (tmp_path / ".env").read_text()
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    for line in keys.splitlines():
        if not line.startswith("#"):
            assert line.partition("=")[2] not in done.stdout + done.stderr
    assert run("validate").returncode == 0
    assert (tmp_path / "infctl.schema.json").exists(), "the profile's first line names it"

    before = (tmp_path / "infctl.yaml").read_text()
    again = run("init", "-y", "--profile", "local")
    assert again.returncode == 64
    assert "is there already" in again.stderr
    told = json.loads(run("init", "-y", "--profile", "local", "--force", "--json").stdout)
    assert same_keys(told, shapes.INIT)
    assert told["keys_added"] == []
    assert (tmp_path / ".env").read_text() == keys
    assert (tmp_path / "infctl.yaml").read_text() == before


# What would run


def test_render_writes_the_same_bytes_twice_and_no_key(run: Run, profile: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GATEWAY_API_KEY=very-secret-indeed\n")
    first = json.loads(run("render", "-o", "out", "--json").stdout)
    assert same_keys(first, shapes.RENDER)
    assert {Path(f["path"]).name for f in first["files"]} == {"gateway.yaml", "nginx.conf", "supervisor.json"}
    assert json.loads(run("render", "-o", "out", "--json").stdout) == first
    for file in (tmp_path / "out").iterdir():
        assert "very-secret-indeed" not in file.read_text()
    assert not (tmp_path / ".infctl").exists()


def test_render_into_a_file_is_refused(run: Run, profile: Path) -> None:
    done = run("render", "-o", "infctl.yaml/out")
    assert done.returncode == 64
    assert "cannot be made" in done.stderr


def test_diff_tells_each_action_with_its_cause(run: Run, profile: Path, tmp_path: Path) -> None:
    done = run("diff", "--detailed-exitcode")
    assert done.returncode == 2
    assert done.stdout.startswith("local · 4 to start\n\n  + chat     start   not running   KV tokens")
    assert run("diff").returncode == 0
    told = json.loads(run("diff", "--json").stdout)
    assert same_keys(told, shapes.DIFF)
    assert not (tmp_path / ".infctl").exists(), "diff touches nothing"
    assert not (tmp_path / ".env").exists()


def test_without_a_docker_engine_up_says_what_to_do(spawn: Run, profile: Path, tmp_path: Path) -> None:
    profile.write_text(profile.read_text().replace("runtime: process", "runtime: docker"))
    done = spawn("up", "-y", env={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    assert done.returncode == 5, done.stderr
    assert "there is no Docker engine here" in done.stderr
    assert "`runtime: process`" in done.stderr


def test_up_without_vllm_says_how_to_get_it_and_starts_nothing(
    run: Run, profile: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    profile.write_text(profile.read_text() + f"\nengines: {{python: {bare}}}\n")
    done = run("up", "-y")
    assert done.returncode == 5
    assert f"vLLM is not installed for {bare}" in done.stderr
    assert "make up" in done.stderr
    assert not list((tmp_path / ".infctl").glob("*/state/desired.json"))


def test_up_names_each_missing_secret_and_where_to_set_it(run: Run, served: Gateway, tmp_path: Path) -> None:
    (tmp_path / ".env").unlink()
    text = (tmp_path / "infctl.yaml").read_text()
    (tmp_path / "infctl.yaml").write_text(
        text.replace("gateway:\n", 'gateway:\n  keys: {shared: "${MY_KEY:?the key your clients send}"}\n')
    )
    done = run("up", "-y")
    assert done.returncode == 3
    assert "MY_KEY" in done.stderr
    assert ".env" in done.stderr
    assert "the key your clients send" in done.stderr


def test_two_changes_at_once_are_refused_with_the_holders_name(
    run: Run, profile: Path, tmp_path: Path
) -> None:
    from infctl.engine.process import ProcessEngine
    from infctl.stack import Layout

    engine = ProcessEngine(Layout(tmp_path, tmp_path / ".infctl" / "local"))
    with engine.lock("ann: infctl up"):
        done = run("down")
    assert done.returncode == 7
    assert "ann: infctl up" in done.stderr


def test_down_of_nothing_is_nothing(run: Run, profile: Path) -> None:
    done = run("down")
    assert (done.returncode, done.stdout) == (0, "nothing ran\n")
    assert same_keys(json.loads(run("down", "--json").stdout), shapes.DOWN)


def test_purge_asks_and_without_a_terminal_wants_yes(run: Run, profile: Path, tmp_path: Path) -> None:
    home = tmp_path / ".infctl" / "local"
    home.mkdir(parents=True)
    (home / "x").touch()
    assert run("down", "--purge").returncode == 64
    assert home.exists()
    done = run("down", "--purge", "-y")
    assert done.returncode == 0, done.stderr
    assert not home.exists()


def test_a_broken_profile_does_not_keep_down_from_working(run: Run, profile: Path, tmp_path: Path) -> None:
    (tmp_path / ".infctl" / "local").mkdir(parents=True)
    profile.write_text("name: [\n")
    done = run("down")
    assert done.returncode == 0, done.stderr
    assert "going on with local" in done.stderr


# A gateway that runs, or does not


def test_health_of_a_well_platform_is_0(run: Run, served: Gateway) -> None:
    done = run("health")
    assert (done.returncode, done.stdout) == (0, "healthy: 2 models on 2 servers\n"), done.stderr


def test_health_deep_shows_questions_and_answers(run: Run, served: Gateway) -> None:
    done = run("health", "--deep")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "chat (chat): What is the capital of France?" in done.stdout
    assert "The capital of France is Paris." in done.stdout
    told = json.loads(run("health", "--deep", "--json").stdout)
    assert same_keys(told, shapes.HEALTH)
    assert [a["task"] for a in told["answers"]] == ["chat", "text2sql", "embed", "rerank"]


def test_health_deep_says_of_each_look_what_it_found_and_where(run: Run, served: Gateway) -> None:
    told = json.loads(run("health", "--deep", "--json").stdout)
    assert {(one["check"], one["verdict"]) for one in told["checks"]} == {
        ("gateway", "ok"), ("models", "ok"), ("tls", "skipped"), ("metrics", "ok"), ("store", "ok"),
        ("disk", "ok"), ("time", "ok"),
    }  # fmt: skip
    text = run("health", "--deep").stdout
    assert "4 questions answered rightly" in text
    assert "gateway (SQLite)" in text
    assert text.endswith("healthy: 2 models on 2 servers\n")


def test_health_deep_is_1_with_what_to_do_when_an_engine_tells_no_figures(
    run: Run, served: Gateway, engines: tuple[Gateway, Gateway]
) -> None:
    engines[1].answers["/metrics"] = (200, b"# a page of somebody else\nother_total 1\n")
    done = run("health", "--deep")
    assert done.returncode == 1
    assert "what answers there is not embed" in done.stdout
    assert "next is another program listening there?" in done.stdout
    assert "not healthy: ok\n  metrics: what answers there is not embed" in done.stdout


def test_health_deep_names_the_variable_of_a_key_that_metrics_refuse(run: Run, served: Gateway) -> None:
    said = {"error": {"message": "no such key"}}
    served.answers["/metrics"] = (401, said)
    served.answers["/admin/quotas?limit=1"] = (401, said)
    done = run("health", "--deep")
    assert done.returncode == 1
    assert "gateway refuses to tell its figures (401)" in done.stdout
    assert "the key comes from GATEWAY_API_KEY" in " ".join(done.stdout.split())
    assert "set ADMIN_API_KEY in .env" in " ".join(done.stdout.split())
    assert KEY not in done.stdout + done.stderr


def test_health_deep_reads_the_targets_of_a_prometheus_that_is_named(
    run: Run, served: Gateway, engines: tuple[Gateway, Gateway]
) -> None:
    def target(job: str, health: str = "up", error: str = "", **labels: str) -> dict[str, Any]:
        url = f"http://{job}:8000/metrics"
        return {"labels": {"job": job, **labels}, "scrapeUrl": url, "health": health, "lastError": error}

    engines[0].answers["/api/v1/targets?state=active"] = (
        200,
        {
            "data": {
                "activeTargets": [
                    target("gateway", "down", "server returned HTTP status 401 Unauthorized"),
                    target("vllm", backend="vllm-chat"),
                ]
            }
        },
    )
    told = json.loads(run("health", "--deep", "--json", "--prometheus", engines[0].url).stdout)
    wrong = [one for one in told["checks"] if one["verdict"] == "failure"]
    assert [one["what"] for one in wrong] == [
        "Prometheus cannot read gateway ",
        "Prometheus does not read vllm-embed",
    ]
    assert "gateway.metrics_open_to" in wrong[0]["fix"]
    assert not told["healthy"]


def test_a_prometheus_without_deep_is_a_mistake(run: Run, served: Gateway) -> None:
    assert run("health", "--prometheus", "http://127.0.0.1:1").returncode == 64


def test_health_deep_is_1_when_a_model_talks_nonsense(run: Run, served: Gateway) -> None:
    nonsense = {"choices": [{"message": {"content": "la Marseillaise, la Marseillaise"}}]}
    served.answers["/v1/chat/completions"] = (200, nonsense)
    done = run("health", "--deep")
    assert done.returncode == 1
    assert "answers, but wrongly" in done.stdout
    assert run("health").returncode == 0


def test_health_is_1_and_names_the_server_when_a_model_is_gone(run: Run, served: Gateway) -> None:
    models = detailed()["models"]
    models[0]["healthy"] = False
    lost = backend("chat", state="down", why="connection refused")
    served.answers["/health/detailed"] = (503, detailed(status="degraded", models=models, backends=[lost]))
    done = run("health")
    assert done.returncode == 1
    assert done.stdout == (
        "not healthy: degraded\n  chat has no server that is ready: chat down (connection refused)\n"
    )
    assert same_keys(json.loads(run("health", "--json").stdout), shapes.HEALTH)


def test_health_without_a_gateway_is_1(run: Run, profile: Path) -> None:
    profile.write_text(profile.read_text().replace("gateway:\n", "gateway:\n  listen: {port: 1}\n"))
    done = run("health")
    assert done.returncode == 1
    assert done.stdout.startswith("not healthy: down\n  nothing answers at http://127.0.0.1:1")
    assert "infctl up" in done.stderr
    assert same_keys(json.loads(run("health", "--json").stdout), shapes.HEALTH)


@pytest.mark.usefixtures("docker_host")
def test_a_docker_platform_is_looked_at_where_its_gateway_is_published(run: Run, tmp_path: Path) -> None:
    text = builtin_profiles()["l4x4"].read_text("utf-8")
    file = tmp_path / "infctl.yaml"
    file.write_text(text.replace("{host: 127.0.0.1, port: 8000}", "{host: 127.0.0.1, port: 1}"), "utf-8")
    done = run("health", "-f", str(file))
    assert done.returncode == 1, done.stderr
    assert "nothing answers at http://127.0.0.1:1" in done.stdout + done.stderr
    assert "nothing runs" in run("status", "-f", str(file)).stdout


def test_a_wrong_key_is_6_and_names_its_variable(run: Run, served: Gateway) -> None:
    done = run("health", env={"GATEWAY_API_KEY": "wrong"})
    assert done.returncode == 6
    assert "GATEWAY_API_KEY" in done.stderr
    assert "wrong" not in done.stderr


def test_status_reports_and_never_judges(run: Run, served: Gateway) -> None:
    told = json.loads(run("status", "--json").stdout)
    assert same_keys(told, shapes.STATUS)
    assert [row["name"] for row in told["services"]] == ["chat", "embed", "gateway"]
    assert told["gateway"]["reachable"] is True
    assert told["services"][0]["requests"] == 1234
    served.answers["/health/detailed"] = (200, b"<html>")
    done = run("status", "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["gateway"]["reachable"] is False
    assert "not from this gateway" in told["gateway"]["why"]
