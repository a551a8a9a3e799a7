"""`infctl doctor`: exit codes, what is printed, JSON, and that nothing on the machine is changed."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from infctl.cli import shapes
from infctl.cli.doctor_screen import Screen
from infctl.cli.text import unpainted
from infctl.doctor.checks import CHECKS
from infctl.doctor.finding import Finding
from infctl.doctor.security import CHECKS as SECURITY
from infctl.errors import Location
from tests.infctl.cli.conftest import Run

LOGS = Path(__file__).parents[2] / "golden" / "vllm_logs"
STRONG = "mD1x7Qv0hTn3cKp9ZsYb2LwRu8fGe6Aj"
PROFILE: dict[str, Any] = {
    "name": "p",
    "runtime": "process",
    "gpus": "cpu",
    "models": {"chat": {"source": {"path": "chat"}, "task": "chat"}},
    "engines": {"port_base": 8101},
    "edge": {"enabled": False},
    "monitoring": {"enabled": False},
}


@pytest.fixture
def profile(tmp_path: Path, free_port: Any) -> Path:
    file = tmp_path / "infctl.yaml"
    text = {**PROFILE, "gateway": {"listen": {"port": free_port()}}, "engines": {"port_base": free_port()}}
    file.write_text(yaml.safe_dump(text, sort_keys=False))
    (tmp_path / "chat").mkdir()
    env = tmp_path / ".env"
    env.write_text(f"GATEWAY_API_KEY={STRONG}\n")
    env.chmod(0o600)
    return file


def words(text: str) -> str:
    """However the window folds it."""
    return " ".join(text.split())


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finding_a_line_and_a_sum_at_the_end(run: Run, profile: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    done = run("doctor", "--offline", "--only", "profile", "--only", "env", "--only", "docker")
    assert done.returncode == 0, done.stdout + done.stderr
    assert words(done.stdout) == words(f"""
        p · runtime process · 3 checks
        ✓ ok profile infctl.yaml: p, 1 model, runtime process
        ✓ ok env {tmp_path}/.env sets 1 of 3 secrets
        - skip runtime: process starts no containers (docker)
        no failure, 2 ok, 1 skipped""")
    assert tree(tmp_path) == before


def test_a_failure_ends_with_8_and_says_why_what_to_do_and_where(run: Run, profile: Path) -> None:
    (profile.parent / ".env").unlink()
    done = run("doctor", "--offline", "--only", "profile")
    assert done.returncode == 8
    assert words(done.stdout).endswith(
        words(f"""✗ FAIL GATEWAY_API_KEY is not set: the key your clients send
        fix put it into {profile.parent}/.env: GATEWAY_API_KEY=...
        at infctl.yaml:16:3 gateway/keys/shared
        1 failure, 1 ok""")
    )


def test_a_profile_with_mistakes_is_a_finding_and_not_the_end(run: Run, profile: Path) -> None:
    profile.write_text(profile.read_text() + "nonsense: 1\n")
    done = run("doctor", "--offline")
    assert done.returncode == 8
    assert 'unknown key "nonsense"' in done.stdout
    assert "at  infctl.yaml:18:1  nonsense" in done.stdout
    assert "the profile cannot be read" in done.stdout


def test_models_that_do_not_fit_leave_the_other_checks(run: Run, profile: Path) -> None:
    text = yaml.safe_load(profile.read_text())
    text["models"]["chat"] = {
        "source": "Qwen/Qwen2.5-7B-Instruct",
        "task": "chat",
        "max_model_len": 99_999_999,
    }
    profile.write_text(yaml.safe_dump(text, sort_keys=False))
    done = run("doctor", "--offline", "--only", "plan", "--only", "ports")
    assert done.returncode == 8
    assert "✗ FAIL  plan" in done.stdout
    assert "✓ ok    ports" in done.stdout


def test_without_a_profile_it_is_a_usage_error(run: Run) -> None:
    assert run("doctor").returncode == 64


def test_a_check_that_nobody_knows_is_a_usage_error_that_lists_them(run: Run, profile: Path) -> None:
    done = run("doctor", "--only", "porst")
    assert done.returncode == 64
    assert "ports" in done.stderr


def test_the_checks_are_listed_without_a_profile(run: Run) -> None:
    done = run("doctor", "--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [check.name for check in CHECKS]
    assert all(line.endswith("?") for line in done.stdout.splitlines())
    told = json.loads(run("doctor", "security", "--list", "--json").stdout)
    assert [one["check"] for one in told["checks"]] == [check.name for check in SECURITY]


@pytest.mark.parametrize("command", [("doctor", "--offline"), ("doctor", "security")])
def test_json_has_the_promised_keys_and_no_secret(run: Run, profile: Path, command: tuple[str, ...]) -> None:
    done = run(*command, "--json")
    told = json.loads(done.stdout)
    assert list(told) == list(shapes.DOCTOR)
    assert {key for one in told["findings"] for key in one} == set(shapes.DOCTOR["findings"][0])  # type: ignore[index]
    assert told["healthy"] is (done.returncode == 0)
    assert STRONG not in done.stdout
    assert (told["name"], told["runtime"]) == ("p", "process")


@pytest.mark.parametrize("before", [True, False])
def test_the_profile_is_named_before_or_after_the_subcommand(run: Run, profile: Path, before: bool) -> None:
    other = profile.rename(profile.with_name("other.yaml"))
    name = ("-f", str(other))
    done = run("doctor", *name, "security") if before else run("doctor", "security", *name)
    assert "p · runtime process · 8 checks" in done.stdout


def test_a_weak_key_is_a_failure_of_security(run: Run, profile: Path) -> None:
    assert run("doctor", "security").returncode == 0
    (profile.parent / ".env").write_text("GATEWAY_API_KEY=changeme\n")
    done = run("doctor", "security", "--only", "keys")
    assert done.returncode == 8
    assert "GATEWAY_API_KEY is a default or an example" in done.stdout
    assert "changeme" not in done.stdout


# doctor logs


@pytest.fixture
def l4x4(tmp_path: Path) -> Path:
    file = tmp_path / "infctl.yaml"
    file.write_text((Path(__file__).parents[3] / "profiles" / "l4x4.yaml").read_text())
    (tmp_path / ".env").write_text(f"GATEWAY_API_KEY={STRONG}\nBACKEND_API_KEY={STRONG}2\n")
    return file


def test_a_log_is_explained_with_the_place_and_a_planned_value(run: Run, l4x4: Path) -> None:
    done = run("doctor", "logs", "vllm-chat0", "--log", str(LOGS / "gpu_neighbour.log"))
    assert done.returncode == 8
    lines = done.stdout.splitlines()
    assert lines[0].startswith("vllm-chat0 did not start: other processes hold memory of cuda:0")
    assert (
        lines[1]
        == "  infctl.yaml:21:29  gpu_memory_utilization: 0.9  ->  0.84 fits (49,088 tokens of KV cache)"
    )
    assert any(line.startswith("  | ") and "Free memory on device" in line for line in lines)


def test_a_log_may_come_by_a_pipe(run: Run, l4x4: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO((LOGS / "gpu_neighbour.log").read_text()))
    assert run("doctor", "logs", "chat0", "--log", "-").returncode == 8


def test_the_log_of_a_start_that_was_undone_is_read(run: Run, l4x4: Path) -> None:
    assert run("doctor", "logs", "gateway").returncode == 64
    folder = l4x4.parent / ".infctl" / "inference-platform" / "logs"
    folder.mkdir(parents=True)
    (folder / "gateway.failed.log").write_text("OSError: [Errno 98] Address already in use\n")
    text = l4x4.read_text().replace("runtime: docker", "runtime: process")
    l4x4.write_text(text)
    done = run("doctor", "logs", "gateway")
    assert done.returncode == 8
    assert "infctl.yaml:46:35  port: 8000" in done.stdout


def test_explained_as_json(run: Run, l4x4: Path) -> None:
    done = run("doctor", "logs", "chat0", "--log", str(LOGS / "gpu_context_too_long.log"), "--json")
    told = json.loads(done.stdout)
    assert list(told) == list(shapes.DOCTOR_LOGS)
    assert list(told["proposals"][0]) == list(shapes.DOCTOR_LOGS["proposals"][0])  # type: ignore[index]
    assert (told["cause"], told["proposals"][0]["becomes"]) == ("context too long", "22640")


def test_a_log_that_tells_nothing_is_no_failure(run: Run, l4x4: Path, tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("INFO serving\n")
    done = run("doctor", "logs", "chat0", "--log", "x.log")
    assert (done.returncode, done.stdout) == (
        0,
        "chat0: its log tells no cause that is known\n  | INFO serving\n",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody", "--log", "x.log"), "there are: chat0, chat1"),
        (("chat0", "--log", "none.log"), "cannot be read"),
    ],
)
def test_no_such_service_and_no_such_file_are_usage_errors(
    run: Run, l4x4: Path, arguments: Any, said: str
) -> None:
    done = run("doctor", "logs", *arguments)
    assert done.returncode == 64
    assert said in done.stderr


# What it looks like

LONG = Finding(
    "failure",
    "the certificate is not for llm.example (its names: a.example, b.example)",
    "clients that call it by this name refuse the certificate",
    "have it issued for these names too, or correct edge.server_name\nor leave it",
    "edge/server_name",
    Location("l4x4.yaml", 80, 3),
    "certificate",
)


def test_in_a_narrow_window_nothing_is_cut() -> None:
    screen = Screen(60, ["certificate"], utf8=False, paint=unpainted)
    told = screen.lines(LONG)
    assert told == [
        "x FAIL  certificate  the certificate is not for llm.example",
        "                     (its names: a.example, b.example)",
        "        why clients that call it by this name refuse the",
        "            certificate",
        "        fix have it issued for these names too, or correct",
        "            edge.server_name",
        "        fix or leave it",
        "        at  l4x4.yaml:80:3  edge/server_name",
    ]


def test_what_was_skipped_is_told_at_the_end_a_reason_a_line() -> None:
    screen = Screen(60, ["a"], utf8=True, paint=unpainted)
    skips = [Finding("skipped", "", "no GPU", check=check) for check in ("driver", "gpus", "gpus", "toolkit")]
    found = [*skips, Finding("skipped", "", "no hub", check="hub")]
    assert [screen.lines(one) for one in found] == [[]] * 5
    assert screen.foot(found).splitlines() == [
        "- skip  no GPU (driver, gpus, toolkit)",
        "- skip  no hub (hub)",
        "",
        "no failure, 0 ok, 5 skipped",
    ]


def test_the_words_say_all_that_colour_does() -> None:
    painted = Screen(100, ["a"], utf8=True, paint=lambda text, style: f"<{style}>{text}</>")
    first = painted.lines(Finding("failure", "x", check="a"))[0]
    assert first == "<error>✗ FAIL</>  a  x"
    # A check with more than one finding is named once.
    assert painted.lines(Finding("warning", "y", check="a"))[0] == "<warning>! warn</>     y"
