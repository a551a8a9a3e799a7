"""`infctl up` whole: the real gateway and a real nginx, before a toy that talks as vLLM does."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from infctl.cli import shapes
from infctl.engine import procfs

from .conftest import Run
from .toy import change, pids, read, write


def test_up_ends_with_an_answer_a_table_and_lines_to_copy(run: Run, folder: Path) -> None:
    done = run("up")
    assert done.returncode == 0, done.stderr
    assert "toy · 3 to start" in done.stdout
    assert "ok · " in done.stdout
    assert "chat: KV tokens 23,296\n" in done.stdout, "a folder without a config is not planned"
    assert "The capital of France is Paris." in done.stdout
    assert re.search(r"^chat +chat +ready", done.stdout, re.MULTILINE)
    assert "curl -s --cacert " in done.stdout
    assert "made GATEWAY_API_KEY in " in done.stderr
    assert "chat     ready" in done.stderr
    key = (folder / ".env").read_text().split("GATEWAY_API_KEY=")[1].strip()
    assert key not in done.stdout + done.stderr

    before = pids(run)
    again = run("up", "--json")
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout)
    assert list(told) == list(shapes.UP)
    assert told["changes"] is False
    assert [row["actual_kv_tokens"] for row in told["measured"]] == [23_296]
    assert pids(run) == before

    change(folder, max_model_len=512)
    asked = run("up")
    assert asked.returncode == 64, "nobody can be asked, and -y was not said"
    assert "~ chat" in asked.stdout
    assert "--max-model-len 1024 -> 512" in asked.stdout
    assert pids(run) == before
    done = run("up", "-y")
    assert done.returncode == 0, done.stderr
    after = pids(run)
    assert after["chat"] != before["chat"]
    assert (after["gateway"], after["nginx"]) == (before["gateway"], before["nginx"])
    assert run("health", "--deep").returncode == 0


def test_a_model_that_cannot_load_leaves_what_ran_before(run: Run, folder: Path) -> None:
    assert run("up").returncode == 0
    rendered = {f.name: f.read_text() for f in (folder / ".infctl/toy/rendered").glob("*.*")}
    change(folder, extra_args=["--broken"], max_model_len=512)
    done = run("up", "-y")
    assert done.returncode == 5
    assert "error: chat did not start" in done.stderr
    assert "NoSuchModel" in done.stderr
    assert "what ran before runs again" in done.stderr
    assert {f.name: f.read_text() for f in (folder / ".infctl/toy/rendered").glob("*.*")} == rendered
    assert run("health", "--deep").returncode == 0


def test_a_model_that_says_nothing_undoes_a_first_up(run: Run, folder: Path) -> None:
    change(folder, extra_args=["--mute"])
    done = run("up")
    assert done.returncode == 6
    assert "chat was asked (chat) and did not answer" in done.stderr
    assert "nothing was left running" in done.stderr
    assert not procfs.marked(os.path.realpath(folder / ".infctl" / "toy"))


def test_a_hand_edited_file_is_not_overwritten_silently(run: Run, folder: Path) -> None:
    assert run("up").returncode == 0
    edited = folder / ".infctl" / "toy" / "rendered" / "nginx.conf"
    edited.write_text(edited.read_text() + "# mine\n")
    done = run("up", "-y")
    assert done.returncode == 5
    assert "edited" in done.stderr
    assert "# mine" in edited.read_text()
    assert run("up", "-y", "--overwrite-edits").returncode == 0
    assert "# mine" in edited.with_name("nginx.conf.orig").read_text()


def test_dry_run_touches_nothing(run: Run, folder: Path) -> None:
    done = run("up", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == list(shapes.UP)
    assert told["applied"] is False
    assert not (folder / ".env").exists()
    assert not list((folder / ".infctl").glob("*/rendered/*"))


def test_a_renamed_profile_is_told_of_the_platform_it_left_running(run: Run, folder: Path) -> None:
    assert run("up").returncode == 0
    profile = read(folder)
    write(folder, {**profile, "name": "other"})
    try:
        for command in (("down",), ("status",), ("up", "--dry-run")):
            done = run(*command)
            assert done.returncode == 0, done.stderr
            assert "toy runs from this folder too" in done.stderr
            assert "name: toy again, and infctl down" in done.stderr
    finally:
        write(folder, profile)
    assert "folder too" not in run("status").stderr


def test_a_certificate_that_is_not_there_is_told_before_anything_is_done(run: Run, folder: Path) -> None:
    profile = read(folder)
    profile["edge"]["tls"] = {"certificate": "no.crt", "key": "no.key"}
    write(folder, profile)
    done = run("validate")
    assert done.returncode == 0
    assert "edge/tls/certificate: " in done.stderr
    assert "no.crt cannot be read: No such file" in done.stderr
    assert run("up", "--dry-run").returncode == 3


def test_a_service_that_never_ran_is_not_called_unknown(run: Run, folder: Path) -> None:
    for command in ("logs", "restart"):
        done = run(command, "chat")
        assert done.returncode == 64
        assert "there is no service 'chat': nothing has run here yet" in done.stderr
        assert "infctl up starts" in done.stderr


def test_validate_says_where_a_missing_secret_goes(run: Run, folder: Path) -> None:
    profile = read(folder)
    del profile["secrets"]
    write(folder, profile)
    done = run("validate")
    assert done.returncode == 0
    assert "gateway/keys/shared: GATEWAY_API_KEY is not set" in done.stderr
    assert f"put it into {folder / '.env'}: GATEWAY_API_KEY=..." in done.stderr


def test_a_port_that_is_taken_is_refused_where_a_reload_would_bind_it(run: Run, folder: Path) -> None:
    assert run("up").returncode == 0
    before = read(folder)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        write(folder, {**before, "edge": {**before["edge"], "https_port": port}})
        done = run("up", "-y")
        assert done.returncode == 5
        assert f"nginx: 127.0.0.1:{port} is held by process {os.getpid()}" in done.stderr
        assert "what ran before runs again" in done.stderr
    write(folder, before)
    assert run("health", "--deep").returncode == 0


def test_a_reader_that_leaves_undoes_nothing(run: Run, folder: Path) -> None:
    source, sink = os.pipe()
    os.close(source)
    with os.fdopen(sink, "w") as closed:
        argv = [sys.executable, "-m", "infctl", "up"]
        subprocess.run(argv, cwd=folder, stdout=closed, stderr=closed, check=False, timeout=60)
    assert run("health", "--deep").returncode == 0
