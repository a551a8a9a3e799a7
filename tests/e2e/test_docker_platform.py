"""`infctl` on a real Docker Engine, as a person uses it: one platform lives through this file, in order."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infctl.cli import shapes
from infctl.engine.docker.engine import DockerEngine
from infctl.stack import Layout
from tests.docker.host import DockerHost, until
from tests.e2e.containers import MODEL, SERVICES, Platform, platform

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

FIRST, SECOND = f"{MODEL}0", f"{MODEL}1"


@pytest.fixture(scope="module")
def made(
    docker_host: DockerHost,
    tmp_path_factory: pytest.TempPathFactory,
    stand_in_image: str,
    gateway_image: str,
    nginx_image: str,
) -> Iterator[Platform]:
    images = {"engine": stand_in_image, "gateway": gateway_image, "nginx": nginx_image}
    with platform(docker_host, tmp_path_factory.mktemp("docker"), images) as one:
        yield one


def test_a_dry_run_shows_plan_and_changes_and_touches_nothing(made: Platform) -> None:
    out = made.ok("up", "--dry-run")
    assert "engines on the CPU" in out
    assert f"+ {FIRST}" in out
    assert "+ networks" in out
    assert made.project.containers() == []
    assert {path.name for path in made.folder.iterdir()} == {"infctl.yaml", "weights"}


def test_up_from_nothing_ends_with_an_answer_and_what_compose_sees(made: Platform) -> None:
    out = made.ok("up")
    assert "The capital of France is Paris." in out
    assert "4 of 4 ready" in out
    assert sorted(made.ids()) == sorted(SERVICES)
    seen = [json.loads(line) for line in made.project.compose("ps", "--format", "json").stdout.splitlines()]
    assert {one["Service"] for one in seen} == set(SERVICES)
    key = next(line for line in (made.folder / ".env").read_text().splitlines() if "GATEWAY_API_KEY=" in line)
    assert key.partition("=")[2] not in out


def test_a_second_up_and_compose_change_nothing(made: Platform) -> None:
    before = made.ids()
    told = made.json("up")
    assert list(told) == list(shapes.UP)
    assert told["changes"] is False
    made.project.compose("up", "-d")
    assert made.ids() == before


def test_a_changed_flag_replaces_its_engines_alone_and_says_why(made: Platform) -> None:
    before = made.ids()
    made.change(max_model_len=512)
    shown = made.run("diff", "--detailed-exitcode")
    assert shown.returncode == 2, shown.stderr
    assert "--max-model-len 1024 -> 512" in shown.stdout
    assert "away 0 s (drained, one at a time)" in shown.stdout
    asked = made.run("up")
    assert asked.returncode == 64, "nobody can be asked, and -y was not said"
    made.ok("up", "-y")
    after = made.ids()
    assert {name for name in SERVICES if before[name] != after[name]} == {FIRST, SECOND}
    made.well()


def test_a_changed_limit_reloads_the_gateway_and_restarts_nothing(made: Platform) -> None:
    before, since = made.ids(), made.started("gateway")
    profile = made.profile()
    profile["gateway"]["probes"] = {"interval": "9s"}
    made.write(profile)
    assert made.actions() == {"gateway": "reload"}
    made.ok("up")
    assert made.ids() == before
    assert made.started("gateway") == since
    made.well()


def test_rollback_brings_back_services_and_files(made: Platform) -> None:
    config = (made.folder / "gateway/gateway.yaml").read_text()
    entries = made.json("history")["entries"]
    first = next(one["number"] for one in reversed(entries) if one["outcome"] == "done")
    shown = made.ok("rollback", str(first), "--dry-run")
    assert "--max-model-len 512 -> 1024" in shown
    made.ok("rollback", str(first), "-y")
    assert (made.folder / "gateway/gateway.yaml").read_text() != config
    made.ok("health", "--deep")
    assert f"rollback {first}" in made.ok("history")
    made.ok("up", "-y")
    assert (made.folder / "gateway/gateway.yaml").read_text() == config
    made.well()


def test_scale_adds_and_removes_the_highest_number(made: Platform) -> None:
    before = made.ids()
    text = (made.folder / "infctl.yaml").read_text()
    made.ok("scale", f"{MODEL}=3")
    assert made.ids() == {**before, f"{MODEL}2": made.ids()[f"{MODEL}2"]}
    assert (made.folder / "infctl.yaml").read_text() == text
    assert made.json("up")["changes"] is False
    made.ok("scale", f"{MODEL}=2", "-y")
    assert made.ids() == before
    made.well()


def test_a_saved_diff_is_applied_once_and_then_refused(made: Platform) -> None:
    made.change(max_model_len=768)
    made.ok("diff", "-o", "change.json")
    made.ok("up", "change.json", "-y")
    done = made.run("up", "change.json", "-y")
    assert done.returncode == 5
    assert f"{FIRST}: what runs has changed" in done.stderr


def test_a_container_changed_by_hand_is_found_and_put_right(made: Platform) -> None:
    gateway = made.project.container("gateway")
    gateway.update(mem_limit="512m", memswap_limit="512m")
    shown = made.ok("diff")
    assert "edited by hand" in shown
    assert made.actions() == {"gateway": "replace"}
    made.ok("up", "-y")
    made.well()


def test_a_rendered_file_edited_by_hand_is_not_lost(made: Platform) -> None:
    edited = made.folder / "nginx" / "nginx.conf"
    edited.write_text(edited.read_text() + "# mine\n")
    shown = made.ok("diff")
    assert "# mine" in shown
    done = made.run("up", "-y")
    assert done.returncode == 5
    assert f"{edited}: edited since it was written" in done.stderr
    assert "# mine" in edited.read_text()
    made.ok("up", "-y", "--overwrite-edits")
    assert "# mine" in edited.with_name("nginx.conf.orig").read_text()
    made.well()


def test_a_killed_engine_comes_back_and_is_counted(made: Platform) -> None:
    container = made.project.container(FIRST)
    os.kill(int(container.attrs["State"]["Pid"]), signal.SIGKILL)
    until(
        lambda: {row["name"]: row for row in made.json("status")["services"]}[FIRST]["restarts"] == 1,
        60,
        "a restart is counted",
        1.0,
    )
    made.ready()
    made.well()


def test_logs_status_exec_and_images_speak_of_containers(made: Platform) -> None:
    told = [json.loads(line) for line in made.ok("logs", "--json", "--tail", "5").splitlines()]
    assert {one["service"] for one in told} >= set(SERVICES)
    times = [one["at"] for one in told]
    assert times == sorted(times)
    assert "listening" in made.ok("logs", "gateway", "--since", "start") or told
    assert made.run("logs", f"vllm-{FIRST}", "--since", "start", "--tail", "2").stdout.count("\n") == 2

    rows = {row["name"]: row for row in made.json("status")["services"]}
    assert rows[FIRST]["container"] == f"vllm-{FIRST}"
    assert rows[FIRST]["memory_bytes"] > 1_000_000
    assert rows[FIRST]["kv_use"] is not None
    assert rows[FIRST]["tokens_per_s"] is not None

    done = made.run("exec", "gateway", "--", "sh", "-c", "env | grep GATEWAY_CONFIG; exit 7")
    assert (done.returncode, done.stdout) == (7, "GATEWAY_CONFIG=/etc/infctl/gateway.yaml\n")
    told = made.json("images")["images"]
    assert {service for one in told for service in one["services"]} >= set(SERVICES)
    assert all(one["here"] and one["bytes"] > 0 for one in told)


def test_a_measurement_looks_at_engines_from_inside(made: Platform, tmp_path: Path) -> None:
    """They publish no port: their pages come by way of the gateway's container, before, behind and during."""
    args = ("--rate", "5", "--duration", "4", "--out", "8", "--no-ignore-eos", "-o", str(tmp_path))
    done = made.run("bench", "run", MODEL, *args, "--json")
    assert done.returncode in {0, 9}, done.stderr
    server = json.loads(done.stdout)["server"]
    assert server["engines"] == 2
    assert server["tokens_out"] == server["gateway_tokens_out"] > 0
    assert server["gateway_ttft_ms"] > 0
    assert server["kv_tokens"] > 1000
    assert server["samples"] >= 1
    assert server["running"] is not None
    shown = made.run("bench", "plan", "--offline", "--json", "-o", str(tmp_path))
    if shown.returncode == 0:
        figures = {row["what"]: row for row in json.loads(shown.stdout)["figures"]}
        assert figures["KV tokens, a replica"]["measured"] == server["kv_tokens"] / 2


def test_a_follower_of_logs_sees_what_is_written_from_now_on(made: Platform) -> None:
    follower = made.spawn("logs", "-f", "nginx", "--tail", "0")
    assert follower.stdout is not None
    try:
        seen = b""
        os.set_blocking(follower.stdout.fileno(), False)
        deadline = time.monotonic() + 60
        while b"/health" not in seen:
            assert time.monotonic() < deadline, seen
            made.ok("health")
            with contextlib.suppress(BlockingIOError):
                seen += os.read(follower.stdout.fileno(), 65_536)
        os.set_blocking(follower.stdout.fileno(), True)
    finally:
        follower.send_signal(signal.SIGINT)
        follower.communicate(timeout=10)
    assert follower.returncode == 0


def test_restart_of_one_touches_no_other(made: Platform) -> None:
    before = {name: made.started(name) for name in SERVICES}
    made.ok("restart", f"vllm-{FIRST}")
    after = {name: made.started(name) for name in SERVICES}
    assert {name for name in SERVICES if before[name] != after[name]} == {FIRST}
    made.ready()


def test_a_second_change_is_told_who_is_at_it_and_since_when(made: Platform) -> None:
    engine = DockerEngine(Layout(made.folder, made.home, beside=True))
    with engine.lock("ann@box: infctl up"):
        done = made.run("up")
        assert done.returncode == 7
        assert "ann@box: infctl up" in done.stderr
        assert "(pid " in done.stderr
        assert "ann@box: infctl up" in made.ok("unlock", "--show")
        waiting = made.spawn("up", "--wait-lock", "60")
        assert waiting.stdout is not None
        said = ""
        while "waiting" not in said:
            line = waiting.stdout.readline()
            assert line, said
            said += line
    out, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, out
    engine.client.close()


# What goes wrong


def test_an_image_that_does_not_exist_is_refused_and_nothing_is_lost(made: Platform) -> None:
    before, good = made.ids(), made.profile()
    profile = made.profile()
    profile["engines"]["image"] = "infctl-test/nobody:1"
    made.write(profile)
    done = made.run("up", "-y")
    assert done.returncode == 5
    assert "infctl-test/nobody:1" in done.stderr
    assert "pull" in done.stderr
    assert made.ids() == before
    made.write(good)
    made.well()


def test_an_image_that_does_not_start_brings_the_old_one_back(
    made: Platform, docker_host: DockerHost
) -> None:
    good = made.profile()
    profile = made.profile()
    said = "ValueError: Model architectures ['NoSuchModel'] are not supported for now."
    profile["engines"]["image"] = docker_host.images.stand_in(FAIL=said)
    made.write(profile)
    done = made.run("up", "-y")
    assert done.returncode == 5, done.stderr
    assert f"{FIRST} did not start" in done.stderr
    assert "NoSuchModel" in done.stderr
    assert "what ran before runs again" in done.stderr
    assert "NoSuchModel" in (made.home / "logs" / f"{FIRST}.failed.log").read_text()
    assert made.json("history")["entries"][0]["outcome"] == "failed"
    made.ok("health", "--deep")
    made.write(good)
    made.well()


def test_what_was_kept_although_it_failed_is_rolled_back(made: Platform, docker_host: DockerHost) -> None:
    good = made.profile()
    profile = made.profile()
    profile["engines"]["image"] = docker_host.images.stand_in(FAIL="OSError: out of luck")
    made.write(profile)
    assert made.run("up", "-y", "--keep").returncode == 5
    made.ok("rollback", "-y")
    made.ok("health", "--deep")
    made.write(good)
    made.well()


def test_a_port_that_is_taken_is_told_and_nothing_is_lost(made: Platform) -> None:
    good = made.profile()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        profile = made.profile()
        profile["edge"]["https_port"] = other.getsockname()[1]
        made.write(profile)
        done = made.run("up", "-y")
    assert done.returncode == 5
    assert f"{other_port(profile)}" in done.stderr
    made.ok("health", "--deep")
    made.write(good)
    made.well()


def other_port(profile: dict[str, dict[str, int]]) -> int:
    return profile["edge"]["https_port"]


@pytest.mark.parametrize(
    ("after", "length"),
    [("", 640), (".+", 641), (f"{FIRST} +started.*", 642), (f"{SECOND} +started.*", 643)],
)
def test_a_ctrl_c_leaves_a_true_state_and_the_next_up_goes_on(
    made: Platform, after: str, length: int
) -> None:
    """As soon as it says such a line; or while it still reads its profile."""
    made.change(max_model_len=length)
    going = made.spawn("up", "-y")
    assert going.stdout is not None
    said: list[str] = []
    if not after:
        time.sleep(0.6)
    while after and not (said and re.fullmatch(after, said[-1].strip())):
        said.append(going.stdout.readline())
        assert said[-1], said
    going.send_signal(signal.SIGINT)
    out, _ = going.communicate(timeout=120)
    # A shell shows both as 130. Python leaves by the signal where it came in the middle of an import.
    assert going.returncode in {130, -signal.SIGINT}, (said, out)
    assert "Traceback" not in out
    assert "not locked" in made.ok("unlock", "--show")
    made.ok("health", "--deep")
    made.ok("up", "-y")
    made.well()


# Over ssh, and the end


def test_over_ssh_status_health_and_up_ask_inside_the_gateways_container(
    made: Platform, tmp_path: Path
) -> None:
    fake = tmp_path / "ssh"
    # What a person's ssh does, with this machine as the other one.
    fake.write_text(
        '#!/bin/sh\nunset DOCKER_HOST\nwhile [ "$1" != "--" ]; do shift; done\nshift 2\nexec "$@"\n'
    )
    fake.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DOCKER_HOST": "ssh://ann@box"}
    told = made.json("status", env=env)
    assert told["gateway"]["reachable"] is True
    assert {row["state"] for row in told["services"]} == {"ready"}
    assert {row["memory_of"] for row in told["services"]} == {"main"}
    made.ok("health", "--deep", env=env)
    assert made.json("up", env=env)["changes"] is False
    made.change(max_model_len=700)
    assert "The capital of France is Paris." in made.ok("up", "-y", env=env)


def test_down_leaves_nothing_and_what_compose_starts_is_adopted(made: Platform) -> None:
    told = made.json("down")
    assert sorted(told["stopped"]) == sorted(SERVICES)
    assert made.project.containers() == []
    client = made.project.host.client
    assert not [n for n in client.networks.list() if made.project.name in str(n.name)]
    assert made.ok("down") == "nothing ran\n"

    made.project.compose("up", "-d", "--wait")
    before = made.ids()
    assert made.actions() == {}
    assert made.json("up")["changes"] is False
    assert made.ids() == before
    assert made.json("history")["entries"][0]["runs_now"] is True
    made.project.compose("up", "-d")
    assert made.ids() == before


def test_purge_removes_volumes_and_all_that_infctl_wrote(made: Platform) -> None:
    assert made.run("down", "--purge").returncode == 64, "nobody can be asked"
    made.ok("down", "--purge", "-y")
    client = made.project.host.client
    assert made.project.containers() == []
    assert not [v for v in client.volumes.list() if made.project.name in str(v.name)]
    kept = {path.name for path in made.folder.iterdir()}
    assert kept == {"infctl.yaml", "weights", ".env", "change.json", "nginx"}
    assert [path.name for path in (made.folder / "nginx").iterdir()] == ["nginx.conf.orig"]
