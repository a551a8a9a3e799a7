"""`infctl audit` on a trail that a real writer left beside a profile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from gateway.audit import files
from gateway.audit.anchors import FileAnchors
from gateway.audit.record import preparing
from gateway.audit.writer import Rules, Trail
from infctl.cli import shapes

from .conftest import Run
from .test_commands import same_keys

KEY = "an-audit-key-of-a-test"


def request(n: int, **facts) -> dict:
    return {
        "ts": f"2026-11-27T03:00:{n:02d}.000Z",
        "event": "request",
        "request_id": f"req_{n}",
        "client_request_id": f"mine-{n}",
        "tenant": "acme" if n % 2 else "10.0.0.1",
        "model": "chat",
        "status": 200 if n % 3 else 429,
        "outcome": "ok",
        "total_ms": 1.5,
    } | facts


@pytest.fixture
def home(tmp_path: Path) -> Path:
    profile = {
        "name": "tiny",
        "runtime": "process",
        "gpus": "cpu",
        "models": {"chat": {"source": {"path": "chat"}, "task": "chat"}},
        "monitoring": {"enabled": False},
        "gateway": {"audit": {"hmac_key": "${AUDIT_HMAC_KEY}"}},
    }
    (tmp_path / "infctl.yaml").write_text(yaml.safe_dump(profile))
    (tmp_path / ".env").write_text(f"AUDIT_HMAC_KEY={KEY}\nGATEWAY_API_KEY=k\n")
    return tmp_path / ".infctl" / "tiny"


@pytest.fixture
def written(home: Path) -> Path:
    """Twelve requests in a few files of two chains. The trail's folder."""
    write(home, 6, 0)
    write(home, 6, 6)
    return home / "audit"


def write(home: Path, count: int, first: int, prepare=None) -> None:
    trails = [
        Trail(
            home / "audit",
            FileAnchors(home / "anchors"),
            KEY.encode(),
            Rules(rotate_bytes=1000, batch_s=0.001),
            alarm=lambda *_: None,
            prepare=prepare or (lambda facts: facts),
            wall=lambda: 1_795_748_400.0,  # 2026-11-27T03:00:00Z
        )
        for _ in range(2)
    ]
    for n in range(first, first + count):
        trails[n % 2].record(request(n))
    for trail in trails:
        trail.close(60)


def test_the_last_records_of_all_chains_by_time(run: Run, written: Path) -> None:
    done = run("audit", "tail", "-n", "6")
    assert done.returncode == 0
    shown = [line for line in done.stdout.splitlines() if "req_" in line]
    assert [line.split()[1] for line in shown[-3:]] == ["req_9", "req_10", "req_11"]
    assert len(done.stdout.splitlines()) == 6
    assert shown[-3] == ("2026-11-27T03:00:09.000Z  req_9  acme  chat  429 ok  1.5 ms  0+0 tokens")
    told = [json.loads(line) for line in run("audit", "tail", "-n", "100", "--json").stdout.splitlines()]
    assert all(set(shapes.AUDIT_RECORD) <= set(facts) for facts in told)
    assert [facts["seq"] for facts in told if facts["event"] == "audit_file"][:2] == [1, 1]


def found(run: Run, *options: str) -> list[str]:
    return [
        json.loads(line)["request_id"]
        for line in run("audit", "search", *options, "--json").stdout.splitlines()
    ]


def test_records_are_found_by_what_they_say(run: Run, written: Path) -> None:
    assert found(run, "--tenant", "acme", "--status", "429") == ["req_3", "req_9"]
    assert found(run, "--status", "4xx", "--model", "chat") == ["req_0", "req_3", "req_6", "req_9"]
    assert found(run, "--id", "req_7") == found(run, "--id", "mine-7") == ["req_7"]
    assert found(run, "--since", "2026-11-27T03:00:10+00:00", "--tenant", "acme") == ["req_11"]
    assert found(run, "--tenant", "acme", "-n", "1") == ["req_11"]
    done = run("audit", "search", "--id", "req_99")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "no such records\n")
    assert run("audit", "search", "--status", "many").returncode == 64


def test_a_tenant_is_found_by_its_name_also_where_the_trail_has_its_hash(run: Run, home: Path) -> None:
    write(home, 4, 0, preparing(None, KEY.encode()))
    assert found(run, "--tenant", "acme") == ["req_1", "req_3"]
    assert "acme" not in run("audit", "tail").stdout


def test_a_whole_trail_verifies(run: Run, written: Path) -> None:
    done = run("audit", "verify")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("good    w00: ")
    told = json.loads(run("audit", "verify", "--json").stdout)
    assert told["good"]
    told["chains"] = [
        {**told["chains"][0], "broken": shapes.AUDIT_VERIFY["chains"][0]["broken"], "notes": [""]}
    ]
    assert same_keys(told, shapes.AUDIT_VERIFY)


def test_a_break_is_named_with_its_place_and_kind(run: Run, written: Path) -> None:
    path = files.files(written)[1].path
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"chain":"w00"', b'"chain":"w01"', 1))
    done = run("audit", "verify")
    assert done.returncode == 1
    assert f"broken  w00: changed at {path.name}:" in done.stdout
    broken = json.loads(run("audit", "verify", "--json").stdout)["chains"][0]["broken"]
    assert (broken["kind"], broken["file"]) == ("changed", path.name)
    path.write_bytes(whole)
    last = files.of_chains(written)["w01"][-1].path
    last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:-1]))
    assert "w01: cut at " in run("audit", "verify").stdout
    last.unlink()
    assert "w01: cut at " in run("audit", "verify").stdout


def test_another_key_is_told_as_another_key(run: Run, written: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("AUDIT_HMAC_KEY=another\nGATEWAY_API_KEY=k\n")
    assert "wrong_key at w00-000001.jsonl:1" in run("audit", "verify").stdout


def test_no_trail_is_no_good_trail(run: Run, home: Path) -> None:
    done = run("audit", "verify")
    assert done.returncode == 1
    assert done.stdout == f"no trail in {home / 'audit'}\n"
    assert run("audit", "tail").stdout == ""


def test_an_exported_trail_verifies_elsewhere_with_the_key(
    run: Run, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    told = json.loads(run("audit", "export", str(out), "--json").stdout)
    assert same_keys(told, shapes.AUDIT_EXPORT)
    assert run("audit", "export", str(out)).returncode == 64
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert "wrong_key" in run("audit", "verify", "--folder", str(out)).stdout
    monkeypatch.setenv("AUDIT_HMAC_KEY", KEY)
    assert run("audit", "verify", "--folder", str(out)).returncode == 0
    assert found(run, "--folder", str(out), "--id", "req_7") == ["req_7"]
    assert run("audit", "verify", "--folder", str(elsewhere)).returncode == 64
