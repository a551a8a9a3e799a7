"""why, backup and restore, against the gateway of a platform that runs; and how a story reads."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from infctl.cli import shapes, why

from . import toy
from .conftest import Run
from .test_commands import same_keys

Done = subprocess.CompletedProcess[str]

STORY: dict[str, Any] = {
    "request": {
        "request_id": "req_1",
        "client_request_id": "mine",
        "ts": "2026-11-27T08:00:00.000Z",
        "tenant": "acme",
        "key_id": "key_1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "model": "chat",
        "backend": "vllm-chat1",
        "attempts": 2,
        "status": 200,
        "outcome": "ok",
        "reason": "",
        "stream": True,
        "cache": None,
        "queue_ms": 1500.0,
        "ttft_ms": 80.5,
        "total_ms": 2300.0,
        "prompt_tokens": 1200,
        "completion_tokens": 34,
        "bytes_in": 1,
        "bytes_out": 1,
    },
    "message": "",
    "limits": [{"code": "tokens_per_day", "of": "tenant:acme", "limit": 10_000, "left": 42, "per_s": None}],
    "attempts": [
        {
            "at_ms": 0.2,
            "backend": "vllm-chat0",
            "failed": "upstream_head",
            "candidates": [
                {"backend": "vllm-chat0", "in_flight": 1, "capacity": 9, "state": "ready",
                 "breaker": "closed", "chosen": True},
                {"backend": "vllm-chat1", "in_flight": 4, "capacity": None, "state": "ready",
                 "breaker": "closed", "chosen": False},
            ],
        },
        {"at_ms": 60.0, "backend": "vllm-chat1", "failed": None, "candidates": []},
    ],
    "tokens": {"reserved": 2000, "counted": 1234, "unknown": False},
}  # fmt: skip


def test_a_story_reads_from_who_asked_to_what_it_cost() -> None:
    assert list(why.lines(STORY)) == [
        "req_1  POST /v1/chat/completions  2026-11-27T08:00:00.000Z",
        "  client's id  mine",
        "  outcome      200 · answered",
        "  tenant       acme · key key_1",
        "  model        chat · stream",
        "  times        waited 1.50 s for a place, first token after 80.5 ms, 2.30 s in all",
        "  tokens       prompt 1,200 + answer 34 · 2,000 reserved · 1,234 counted",
        "  limits       tokens_per_day       42 of 10,000 left  (tenant:acme)",
        "  attempt 1    vllm-chat0 after 0.2 ms · failed: upstream_head",
        "               -> vllm-chat0  1/9 in flight · ready · breaker closed",
        "                  vllm-chat1  4 in flight · ready · breaker closed",
        "  attempt 2    vllm-chat1 after 60.0 ms · its answer counts",
    ]


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ({"reserved": 9, "counted": None, "unknown": False}, "nothing counted"),
        ({"reserved": 9, "counted": 9, "unknown": True}, "9 counted: as reserved, because nobody knows"),
    ],
)
def test_a_story_says_what_was_counted(tokens: dict[str, Any], words: str) -> None:
    call = STORY["request"] | {"prompt_tokens": None, "outcome": "refused", "cache": None, "reason": "x"}
    found = list(why.lines(STORY | {"request": call, "tokens": tokens, "attempts": [], "message": "No."}))
    assert f"  tokens       usage not known · 9 reserved · {words}" in found
    assert "  outcome      200 · refused by the gateway (x)" in found
    assert "  message      No." in found
    assert found[-1] == "  backends     never sent: no backend has seen it"


def well(done: Done) -> str:
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def ask(folder: Path, key: str) -> httpx.Response:
    port = toy.read(folder)["gateway"]["listen"]["port"]
    body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    return httpx.post(url, json=body, headers={"authorization": f"Bearer {key}"}, trust_env=False)


def test_a_call_is_told_of_and_what_the_gateway_keeps_goes_to_a_file_and_back(run: Run, folder: Path) -> None:
    well(run("up", "-y"))
    key = well(run("keys", "create", "data-team")).strip()
    answer = ask(folder, key)
    assert answer.status_code == 200

    story = json.loads(well(run("why", answer.headers["x-request-id"], "--json")))
    assert same_keys(story, shapes.WHY | {"request": story["request"]})
    assert story["request"]["tenant"] == "data-team"
    shown = well(run("why", answer.headers["x-request-id"]))
    assert "  tenant       data-team · key key_" in shown
    assert "attempt 1" in shown
    unknown = run("why", "req_nobody")
    assert unknown.returncode == 6
    assert "is not among the last 500 calls" in unknown.stderr

    taken = json.loads(well(run("backup", "taken.json", "--json")))
    assert same_keys(taken, shapes.BACKUP)
    assert taken["keys"] == 1
    assert (folder / "taken.json").stat().st_mode & 0o777 == 0o600
    assert key not in (folder / "taken.json").read_text()
    again = run("backup", "taken.json")
    assert (again.returncode, "is there already" in again.stderr) == (64, True)

    assert run("restore", "taken.json").returncode == 64, "nobody can be asked"
    told = json.loads(well(run("restore", "taken.json", "-y", "--json")))
    assert same_keys(told, shapes.RESTORE)
    assert "restored 1 key" in well(run("restore", "taken.json", "-y"))
    assert ask(folder, key).status_code == 200


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "cannot be read"), ("{", "is no backup"), ("[]", "is no backup"), ("{}", "is no backup")],
)
def test_what_is_no_backup_is_a_mistake_of_the_command_line(
    run: Run, folder: Path, text: str | None, said: str
) -> None:
    if text is not None:
        (folder / "b.json").write_text(text)
    done = run("restore", "b.json", "-y")
    assert (done.returncode, said in done.stderr) == (64, True), done.stderr


def test_commands_that_need_a_gateway_say_that_none_runs(run: Run, folder: Path) -> None:
    for command in (("why", "req_1"), ("backup", "b.json")):
        done = run(*command)
        assert done.returncode == 6, done.stderr
        assert "nothing answers at" in done.stderr
    assert not (folder / "b.json").exists()
