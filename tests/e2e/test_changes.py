"""A changed profile touches just what it must; a bad one leaves the platform as it was."""

from __future__ import annotations

import socket
from pathlib import Path

import yaml

from gateway.config import read_env
from tests.e2e.local import Platform, make, until


def overlay(platform: Platform, **values: object) -> None:
    (platform.folder / "change.yaml").write_text(yaml.safe_dump(values))
    platform.more[:] = ["change.yaml"]


def test_a_changed_flag_restarts_just_its_model_and_says_why(platform: Platform) -> None:
    before = platform.pids()
    overlay(platform, models={"embed": {"max_model_len": 128}})
    try:
        said = platform.run("diff")
        assert "--max-model-len" in said.stdout
        assert "128" in said.stdout
        assert platform.run("diff", "--detailed-exitcode").returncode == 2
        asked = platform.run("up")
        assert asked.returncode == 64, "without a terminal and without -y it does not replace"
        done = platform.run("up", "-y", timeout_s=300)
        assert done.returncode == 0, done.stderr
        after = platform.pids()
        assert after["embed"] != before["embed"]
        assert {n: p for n, p in after.items() if n != "embed"} == {
            n: p for n, p in before.items() if n != "embed"
        }
    finally:
        platform.more.clear()


def test_a_changed_gateway_setting_is_reloaded_without_a_restart(platform: Platform) -> None:
    # The test before left embed changed in the profile that runs; the same overlay stays in force here.
    overlay(platform, models={"embed": {"max_model_len": 128}}, gateway={"timeouts": {"stream_idle": "99s"}})
    before = platform.pids()
    try:
        done = platform.run("up", "-y", timeout_s=300)
        assert done.returncode == 0, done.stderr
        assert "reload" in done.stdout + done.stderr
        assert platform.pids() == before
        log = platform.home / "logs" / "gateway.log"
        until(lambda: "reloaded" in log.read_text(), 10, "the gateway says that it has reloaded")
    finally:
        platform.more.clear()


def test_a_model_that_cannot_load_shows_the_engines_lines_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    broken = make(tmp_path, models={"chat": {"source": {"path": "empty", "package": None}}, "embed": None})
    done = broken.run("up", "-y", timeout_s=240)
    assert done.returncode == 5, done.stdout + done.stderr
    assert "chat did not start" in done.stderr
    assert "config.json" in done.stderr or "config" in done.stderr
    assert broken.processes() == []


def test_a_port_in_use_names_its_holder_and_nothing_starts(tmp_path: Path) -> None:
    blocked = make(tmp_path)
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", blocked.gateway_port))
        holder.listen()
        done = blocked.run("up", "-y", timeout_s=120)
    assert done.returncode == 5, done.stdout + done.stderr
    assert str(blocked.gateway_port) in done.stderr
    assert "pytest" in done.stderr or "python" in done.stderr
    assert blocked.processes() == []


def test_no_key_appears_in_logs_rendered_files_or_argument_lists(platform: Platform) -> None:
    keys = [v for k, v in read_env((platform.folder / ".env").read_text()).items() if k.endswith("_API_KEY")]
    assert keys
    for path in [*platform.home.glob("logs/*"), *platform.home.glob("rendered/**/*")]:
        text = path.read_text(errors="replace") if path.is_file() else ""
        assert not any(key in text for key in keys), path
    for pid in platform.processes():
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        assert not any(key in argv for key in keys)
    assert (platform.folder / ".env").stat().st_mode & 0o077 == 0
