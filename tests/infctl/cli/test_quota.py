"""quota, keys and tenants, against the gateway of a platform that runs."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from infctl.cli import limit_options, shapes
from infctl.errors import UsageError

from . import toy
from .conftest import Run
from .test_commands import same_keys

Done = subprocess.CompletedProcess[str]


def ask(folder: Path, key: str) -> int:
    port = toy.read(folder)["gateway"]["listen"]["port"]
    body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    return httpx.post(url, json=body, headers={"authorization": f"Bearer {key}"}, trust_env=False).status_code


def well(done: Done) -> Done:
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done


def told(run: Run, *command: str) -> dict[str, Any]:
    """As JSON, with exactly the keys that are promised."""
    found: dict[str, Any] = json.loads(well(run(*command, "--json")).stdout)
    assert same_keys(found, shapes.BY_COMMAND[" ".join(command[:2])]), found
    return found


def test_limits_and_keys_are_looked_at_and_changed_while_the_platform_runs(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    well(run("up", "-y"))

    done = well(run("quota", "set", "data-team", "--tokens-per-day", "10M", "--requests-per-second", "5"))
    assert done.stdout == (
        "data-team: set at run time is requests_per_second 5, tokens_per_day 10M (before: nothing)\n"
    )
    assert done.stderr == "in force in 1 worker\n"

    well(run("quota", "set", "data-team", "--model", "chat", "--requests-per-day", "9k"))
    kept = well(run("diff")).stdout
    assert "set at run time, and kept by up" in kept
    assert "  data-team: requests_per_second 5, tokens_per_day 10M\n" in kept
    assert "  data-team, with chat: requests_per_day 9k\n" in kept
    well(run("quota", "set", "data-team", "--model", "chat", "--clear"))
    done = well(run("keys", "create", "data-team", "--name", "ci", "--expires", "90d", "--in-flight", "2"))
    key = done.stdout.strip()
    assert key.startswith("ik-")
    assert "not shown again" in done.stderr
    assert ask(folder, key) == 200
    end = time.monotonic() + 10
    while not told(run, "quota", "history", "data-team")["usage"] and time.monotonic() < end:
        time.sleep(0.1)

    table = well(run("quota", "show")).stdout
    assert table.split()[:5] == ["tenant", "tokens", "today", "requests", "today"]
    assert any(line.startswith("data-team") and "/ 10M" in line for line in table.splitlines())
    one = well(run("quota", "show", "data-team")).stdout
    assert "infctl quota set" in one
    assert "(ci)" in one
    whole = told(run, "quota", "show", "--all")
    assert "data-team" in {each["tenant"] for each in whole["quotas"]}
    [alone] = told(run, "quota", "show", "data-team")["quotas"]
    assert {row["code"]: row["level"] for row in alone["limits"]}["tokens_per_day"] == "run_time"

    rows = list(csv.DictReader(io.StringIO(well(run("quota", "history", "--csv")).stdout)))
    assert [row["requests"] for row in rows if row["tenant"] == "data-team"] == ["1"]

    [entry] = told(run, "keys", "list", "data-team")["keys"]
    assert (entry["name"], entry["state"], entry["limits"]["in_flight"]) == ("ci", "active", 2)
    assert key not in json.dumps(entry)
    rotated = well(run("keys", "rotate", entry["id"], "--overlap", "1h"))
    new = rotated.stdout.strip()
    assert (ask(folder, key), ask(folder, new)) == (200, 200)
    assert "works until" in rotated.stderr

    refused = run("keys", "revoke", entry["id"])
    assert refused.returncode == 64
    assert "-y says yes" in refused.stderr
    assert ask(folder, key) == 200
    well(run("keys", "revoke", entry["id"], "-y"))
    assert (ask(folder, key), ask(folder, new)) == (401, 200)
    assert [line.split()[3] for line in well(run("keys", "list")).stdout.splitlines()[1:]] == ["active"]
    assert "revoked" in well(run("keys", "list", "--all")).stdout

    assert run("quota", "reset", "data-team").returncode == 64
    reset = told(run, "quota", "reset", "data-team", "tokens-per-day", "-y")
    assert {row["code"] for row in reset["reset"]} == {"tokens_per_day"}
    cleared = told(run, "quota", "set", "data-team", "--clear", "--in-flight", "3")
    assert {name for name, value in cleared["after"].items() if value is not None} == {"in_flight"}
    assert told(run, "quota", "set", "data-team", "--in-flight", "default")["after"]["in_flight"] is None
    row = next(each for each in told_tenants(run) if each["tenant"] == "data-team")
    assert (row["keys"], row["known_by"]) == (1, ["key", "counts"])

    for command, code, words in (
        (("quota", "set", "a/b", "--in-flight", "3"), 64, "no tenant's name"),
        (("quota", "set", "a", "--in-flight", "3", "--model", "nope"), 6, "There is no model"),
        (("quota", "reset", "a", "in-flight", "-y"), 64, "comes back by itself"),
        (("quota", "history", "--since", "yesterday"), 64, "since"),
        (("keys", "rotate", "key_none"), 6, "no key with this id"),
        (("keys", "rotate", entry["id"]), 6, "is revoked"),
        (("keys", "create", "x" * 200), 64, "no tenant's name"),
    ):
        done = run(*command)
        assert (done.returncode, words in done.stderr) == (code, True), (command, done.stderr)


def told_tenants(run: Run) -> list[dict[str, Any]]:
    found = json.loads(well(run("tenants", "--json")).stdout)
    assert same_keys(found, shapes.TENANTS)
    rows: list[dict[str, Any]] = found["tenants"]
    return rows


def test_a_gateway_that_does_not_run_is_exit_code_6(run: Run, folder: Path) -> None:
    for command in (("quota", "show"), ("keys", "list"), ("tenants",)):
        done = run(*command)
        assert done.returncode == 6, done.stderr
        assert "nothing answers at" in done.stderr


@pytest.mark.parametrize(
    ("given", "body"),
    [
        ({"tokens_per_day": "10M"}, {"tokens_per_day": 10_000_000}),
        ({"requests_per_second": "0.5"}, {"requests_per_second": 0.5}),
        ({"in_flight": "none", "burst": None}, {"in_flight": "none"}),
        ({"in_flight": "default"}, {"in_flight": None}),
        ({"models": "a, b"}, {"models": ["a", "b"]}),
        ({"models": "default"}, {"models": None}),
    ],
)
def test_limits_are_read_as_people_write_them(given: dict[str, str], body: dict[str, Any]) -> None:
    assert limit_options.limits(**given) == body


def test_all_that_is_wrong_with_limits_is_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        limit_options.limits(
            tokens_per_day="0",
            in_flight="-3",
            requests_per_second="nan",
            burst="1.5",
            requests_per_day="many",
        )
    for option in (
        "--tokens-per-day",
        "--in-flight",
        "--requests-per-second",
        "--burst",
        "--requests-per-day",
    ):
        assert option in caught.value.message


def test_a_command_that_sets_nothing_says_so(run: Run, folder: Path) -> None:
    done = run("quota", "set", "data-team")
    assert done.returncode == 64
    assert "nothing to set" in done.stderr
