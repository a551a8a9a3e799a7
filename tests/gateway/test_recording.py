"""A running gateway: what it writes down, and what it does when it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.audit import files
from gateway.audit.anchors import FileAnchors
from gateway.audit.verify import verify
from tests.gateway.process import ADMIN, BACKEND, KEY, config_for, until

AUDIT_KEY = "audit-key-canary-0123"
KEYS = {
    "GATEWAY_API_KEY": KEY,
    "ADMIN_API_KEY": ADMIN,
    "BACKEND_API_KEY": BACKEND,
    "AUDIT_HMAC_KEY": AUDIT_KEY,
}


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for file in files.files(folder) for line in files.lines(file.path)]


def lost(gateway) -> float:
    name = "infctl_audit_records_lost_total"
    lines = [*gateway.http.get("/metrics").text.splitlines(), f"{name} 0"]
    return next(float(line.split()[1]) for line in lines if line.startswith(name))


@pytest.fixture
def audited(tmp_path: Path, start, shared_stub):
    """A gateway with a trail in `audit`; more settings may be given."""

    def go(redaction: bool = True, **audit):
        settings = {"folder": str(tmp_path / "audit"), "anchors": str(tmp_path / "anchors"), **audit}
        config = config_for(shared_stub, audit=settings, redaction={"enabled": redaction})
        return start(config, KEYS).wait_ready(2)

    return go


def test_each_request_is_in_the_trail_and_the_trail_verifies(audited, stub, tmp_path: Path):
    gateway = audited()
    stub.mode = "plain"
    done = [gateway.chat().headers["x-request-id"] for _ in range(20)]
    assert (
        gateway.http.post(
            "/v1/chat/completions", json={"model": "none", "messages": [{"role": "user", "content": "x"}]}
        ).status_code
        == 404
    )
    gateway.admin("POST", "/admin/backends/chat0/drain")
    gateway.http.get("/health")
    text = gateway.http.get("/metrics").text
    assert gateway.stop() == 0
    found = [each for each in records(tmp_path / "audit") if each["event"] == "request"]
    assert [each["request_id"] for each in found[:20]] == done
    assert [each["status"] for each in found[20:]] == [404, 200]
    assert found[21]["path"] == "/admin/backends/chat0/drain"
    assert {each["peer"] for each in found} == {"127.0.0.1"}
    (verdict,) = verify(tmp_path / "audit", AUDIT_KEY.encode(), FileAnchors(tmp_path / "anchors"))
    assert verdict.broken is None
    assert verdict.anchored
    assert "infctl_audit_failing 0.0" in text


def test_no_secret_and_nothing_personal_is_in_the_log_or_the_trail(audited, stub, tmp_path: Path):
    gateway = audited()
    seeded = ["bob@example.org", "4111111111111111", KEY, ADMIN, BACKEND, "ghp_" + "a1" * 20]
    for canary in seeded:
        gateway.http.post(
            f"/v1/chat/{canary}?q={canary}",
            headers={"x-request-id": canary, "x-other": canary},
            json={"model": canary, "messages": [{"role": "user", "content": canary}]},
        )
        gateway.http.post(
            "/v1/chat/completions",
            headers={"x-request-id": canary},
            json={"model": canary, "messages": [{"role": "user", "content": canary}]},
        )
    assert gateway.stop() == 0
    trail = b"".join(file.path.read_bytes() for file in files.files(tmp_path / "audit"))
    for canary in [*seeded, AUDIT_KEY]:
        assert canary.encode() not in gateway.text
        assert canary.encode() not in trail
    assert b"[redacted:email]" in gateway.text
    assert b"[redacted:email]" in trail


def test_who_asked_is_hashed_where_that_is_asked_for(audited, stub, tmp_path: Path):
    gateway = audited(tenant="hashed")
    gateway.chat()
    gateway.chat()
    assert gateway.stop() == 0
    found = [each for each in records(tmp_path / "audit") if each["event"] == "request"]
    assert found[0]["tenant"] == found[1]["tenant"] == found[0]["peer"]
    assert found[0]["tenant"].startswith("h_")
    assert [line["tenant"] for line in gateway.events("request")] == ["127.0.0.1"] * 2


def test_hashed_without_a_key_to_hash_with_is_refused(tmp_path: Path, start, shared_stub):
    audit = {"folder": str(tmp_path / "audit"), "tenant": "hashed"}
    gateway = start(config_for(shared_stub, audit=audit))
    assert gateway.process.wait(10) == 3
    gateway.stop()
    assert b"hashed needs AUDIT_HMAC_KEY" in gateway.errors


@pytest.mark.parametrize(("on_failure", "status"), [("serve", 200), ("refuse", 503)])
def test_a_trail_that_cannot_be_written_is_alarmed_and_the_profile_says_what_becomes_of_calls(
    audited, stub, tmp_path: Path, on_failure, status
):
    (tmp_path / "audit").write_text("in its place a file")
    gateway = audited(on_failure=on_failure)
    answer = gateway.chat()
    assert answer.status_code == status
    if status == 503:
        assert answer.json()["error"]["code"] == "audit_unavailable"
    assert gateway.http.get("/health").status_code == 200
    assert [each["level"] for each in gateway.events("audit_failed")] == ["error"]
    assert any("audit trail cannot be written" in each for each in gateway.detailed()["warnings"])
    assert "infctl_audit_failing 1.0" in gateway.http.get("/metrics").text
    until(lambda: lost(gateway) >= 1)


def test_a_killed_gateway_goes_on_where_it_was(audited, stub, tmp_path: Path):
    gateway = audited()
    gateway.chat()
    until(lambda: len(records(tmp_path / "audit")) >= 2)
    gateway.process.kill()
    gateway.stop()
    again = audited()
    again.chat()
    assert again.stop() == 0
    (verdict,) = verify(tmp_path / "audit", AUDIT_KEY.encode(), FileAnchors(tmp_path / "anchors"))
    assert verdict.broken is None
    assert verdict.files == 2


def test_off_means_off(start, shared_stub, stub, tmp_path: Path):
    gateway = start(config_for(shared_stub)).wait_ready(2)
    gateway.http.post("/v1/none", headers={"x-request-id": "bob@example.org"})
    maps = Path(f"/proc/{gateway.process.pid}/maps").read_text()
    assert gateway.stop() == 0
    assert "_re2" not in maps
    assert gateway.events("request")[0]["client_request_id"] == "bob@example.org"
