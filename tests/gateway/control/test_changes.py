"""What an admin changes at run time: in force in all workers when it is answered, written down, kept."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.control.conftest import ACME, Counting, asked, call, limits_of
from tests.gateway.process import ADMIN, Gateway, config_for, until

ROUNDS = 12
"""Connections: with four workers, each of them gets one almost surely."""
WITHIN_S = 1.0


def done(gateway: Gateway, method: str, path: str, body: Any = None, **rest: Any) -> dict[str, Any]:
    reply = asked(gateway, method, path, body, **rest)
    assert reply.status_code in {200, 201}, reply.text
    found: dict[str, Any] = reply.json()
    return found


def refusal(gateway: Gateway, method: str, path: str, body: Any = None, **rest: Any) -> tuple[int, str, str]:
    reply = asked(gateway, method, path, body, **rest)
    error = reply.json()["error"]
    return reply.status_code, error["code"], error["message"]


def statuses(gateway: Gateway, key: str) -> set[int]:
    """At many connections: at all workers."""
    return {call(gateway, key, fresh=True).status_code for _ in range(ROUNDS)}


def everywhere(answer: dict[str, Any], workers: int) -> None:
    assert answer["applied_by"] == {"workers": workers, "late": [], "others": ""}


@pytest.mark.parametrize("workers", [1, 4])
def test_a_change_holds_in_all_workers_when_it_is_answered_and_says_so(counting: Counting, workers: int):
    gateway = counting(workers)
    for _ in range(workers):
        done(gateway, "GET", "/admin/keys")  # the framework is loaded with the first question
    took: list[float] = []

    def timed(method: str, path: str, body: Any = None) -> dict[str, Any]:
        began = time.monotonic()
        answer = done(gateway, method, path, body)
        took.append(time.monotonic() - began)
        everywhere(answer, workers)
        return answer

    made = timed("POST", "/admin/keys", {"tenant": "acme", "name": "ci"})
    assert statuses(gateway, made["text"]) == {200}
    rotated = timed("POST", f"/admin/keys/{made['key']['id']}/rotate", {"overlap_s": 0})
    assert statuses(gateway, made["text"]) == {401}
    assert statuses(gateway, rotated["text"]) == {200}
    timed("DELETE", f"/admin/keys/{rotated['key']['id']}")
    assert statuses(gateway, rotated["text"]) == {401}
    timed("PUT", "/admin/quota/acme/limits", {"requests_per_day": 1})
    assert statuses(gateway, ACME) == {429}
    timed("DELETE", "/admin/quota/acme/limits")
    assert statuses(gateway, ACME) == {200}
    timed("PUT", "/admin/quota/acme/limits", {"models": ["embed"]})
    assert statuses(gateway, ACME) == {403}
    assert sorted(took)[len(took) // 2] < WITHIN_S, took


def test_limits_are_set_changed_and_taken_back(counting: Counting):
    gateway = counting()
    path = "/admin/quota/acme/limits"
    first = done(gateway, "PUT", path, {"in_flight": 3, "tokens_per_month": "none"})
    assert (first["before"], first["after"]) == ({}, {"in_flight": 3, "tokens_per_month": "none"})
    assert limits_of(gateway, "acme")["in_flight"]["limit"] == 3
    assert limits_of(gateway, "acme")["tokens_per_month"]["limit"] is None
    assert done(gateway, "PATCH", path, {"in_flight": 4.0})["after"]["in_flight"] == 4
    second = done(gateway, "PATCH", path, {"in_flight": None, "requests_per_second": 2.5})
    assert second["after"] == {"requests_per_second": 2.5, "tokens_per_month": "none"}
    assert limits_of(gateway, "acme")["in_flight"] | {"leased": 0, "left": 8} == {
        "code": "in_flight",
        "limit": 8,
        "per_s": None,
        "level": "tenant",
        "settled": 0,
        "leased": 0,
        "unknown": 0,
        "left": 8,
        "resets_at": None,
        "reset_s": None,
    }
    of_model = done(gateway, "PUT", path, {"requests_per_day": 2}, params={"model": "qwen"})
    assert of_model["model"] == "chat"
    assert [call(gateway).status_code for _ in range(3)] == [200, 200, 429]
    assert done(gateway, "GET", "/admin/quota/acme")["by_model"][0]["model"] == "chat"
    done(gateway, "DELETE", path, params={"model": "chat"})
    assert call(gateway).status_code == 200
    assert done(gateway, "DELETE", path)["after"] == {}
    assert done(gateway, "GET", "/admin/quota/acme")["set_at_run_time"] == {}


def test_what_is_set_outlives_a_restart(counting: Counting):
    gateway = counting()
    done(gateway, "PUT", "/admin/quota/newcomer/limits", {"in_flight": 3})
    made = done(gateway, "POST", "/admin/keys", {"tenant": "newcomer", "expires_s": 3600})
    assert call(gateway, made["text"]).status_code == 200
    gateway.stop()
    again = counting()
    assert limits_of(again, "newcomer")["in_flight"]["level"] == "run_time"
    assert call(again, made["text"]).status_code == 200
    [key] = done(again, "GET", "/admin/keys", params={"tenant": "newcomer"})["keys"]
    assert (key["state"], key["origin"], key["shown"]) == ("active", "run_time", made["text"][:10])
    assert made["text"] not in json.dumps(key)
    assert abs(key["used_at"] - time.time()) < 60, "kept at the stop"


def test_a_reset_begins_anew_also_what_no_worker_had_told_yet(counting: Counting):
    gateway = counting(2)
    done(gateway, "PUT", "/admin/quota/acme/limits", {"requests_per_day": 5})
    assert [call(gateway, fresh=True).status_code for _ in range(6)] == [200] * 5 + [429]
    answer = done(gateway, "POST", "/admin/quota/acme/reset", {"code": "requests_per_day"})
    everywhere(answer, 2)
    [was] = answer["reset"]
    assert (was["code"], was["settled"]) == ("requests_per_day", 5)
    assert limits_of(gateway, "acme")["requests_per_day"]["settled"] == 0
    assert limits_of(gateway, "acme")["tokens_per_day"]["settled"] == 5 * 12
    assert [call(gateway, fresh=True).status_code for _ in range(6)] == [200] * 5 + [429]
    whole = done(gateway, "POST", "/admin/quota/acme/reset")
    assert {each["code"] for each in whole["reset"]} == {
        "requests_per_day",
        "tokens_per_day",
        "tokens_per_month",
    }
    assert done(gateway, "POST", "/admin/quota/nobody/reset")["reset"] == []
    usage = done(gateway, "GET", "/admin/usage", params={"tenant": "acme"})["usage"]
    assert sum(use["requests"] for use in usage) == 10, "history stays"


BAD_LIMITS = [
    {"in_flight": 0},
    {"in_flight": -1},
    {"in_flight": 1.5},
    {"in_flight": "5"},
    {"in_flight": True},
    {"tokens_per_day": 10**16},
    {"tokens_per_day": 10**30},
    {"requests_per_second": 0},
    {"requests_per_second": -0.5},
    {"requests_per_second": 1e9},
    {"burst": "none"},
    {"nonsense": 1},
    {"models": ["nope"]},
    {"models": "chat"},
    {"models": ["x" * 5000]},
]
BAD_BODIES = [
    b'{"requests_per_second": NaN}',
    b'{"requests_per_second": Infinity}',
    b'{"requests_per_second": 1e999}',
    b'{"in_flight": 3, "in_flight": 4}',
    b"[]",
    b"",
    b"{",
    b"\xff",
    b'{"a":' * 200 + b"1" + b"}" * 200,
]
BAD_NAMES = [
    "a/b",
    "a\nb",
    "a b",
    "",
    "ä",
    "\u4e2d",
    "x" * 129,
    "x" * 10_000,
    "../etc",
    "a\x00",
    ".hidden",
    "a|b",
]
BAD_KEYS = [
    {},
    {"tenant": 5},
    {"tenant": "acme", "name": "x" * 129},
    {"tenant": "acme", "name": "a\nb"},
    {"tenant": "acme", "expires_s": 0},
    {"tenant": "acme", "expires_s": -5},
    {"tenant": "acme", "expires_s": 1e12},
    {"tenant": "acme", "expires_s": "1d"},
    {"tenant": "acme", "more": 1},
    *({"tenant": "acme", "limits": limits} for limits in ({"in_flight": 0}, {"models": ["nope"]}, [], 5)),
]


def test_what_cannot_hold_is_refused_and_changes_nothing(counting: Counting):
    gateway = counting()
    path = "/admin/quota/acme/limits"
    keys = done(gateway, "GET", "/admin/keys")
    for limits in BAD_LIMITS:
        for method in ("PUT", "PATCH"):
            status, code, message = refusal(gateway, method, path, limits)
            assert (status, code) == (400, "invalid_request"), (limits, message)
            assert len(message) < 500
    for body in BAD_BODIES:
        status, code, _ = refusal(gateway, "PUT", path, content=body)
        assert (status, code) == (400, "invalid_request"), body
    for name in BAD_NAMES:
        status, code, message = refusal(gateway, "POST", "/admin/keys", {"tenant": name})
        assert (status, code) == (400, "invalid_request"), (name, message)
        assert len(message) < 500
    for wanted in BAD_KEYS:
        status, code, message = refusal(gateway, "POST", "/admin/keys", wanted)
        assert (status, code) == (400, "invalid_request"), (wanted, message)
    assert refusal(gateway, "PUT", path, {}, params={"model": "nope"})[:2] == (404, "model_not_found")
    status, _, message = refusal(gateway, "POST", "/admin/quota/acme/reset", {"code": "in_flight"})
    assert status == 400
    assert "comes back by itself" in message
    assert done(gateway, "GET", "/admin/quota/acme")["set_at_run_time"] == {}
    assert done(gateway, "GET", "/admin/keys") == keys
    assert not gateway.events("admin")
    assert not gateway.events("internal_error")


def test_keys_that_cannot_be_changed_say_why(counting: Counting):
    gateway = counting()
    written = done(gateway, "GET", "/admin/keys")["keys"][0]
    assert (written["origin"], written["name"]) == ("profile", "ACME_KEY")
    for method, end in (("DELETE", ""), ("POST", "/rotate")):
        assert refusal(gateway, method, f"/admin/keys/none{end}")[:2] == (404, "not_found")
        status, code, message = refusal(gateway, method, f"/admin/keys/{written['id']}{end}")
        assert (status, code) == (409, "written_key")
        assert "ACME_KEY" in message
    made = done(gateway, "POST", "/admin/keys", {"tenant": "acme"})["key"]["id"]
    assert refusal(gateway, "POST", f"/admin/keys/{made}/rotate", {"overlap_s": -1})[0] == 400
    assert refusal(gateway, "POST", f"/admin/keys/{made}/rotate", {"overlap_s": 1e9})[0] == 400
    second = done(gateway, "POST", f"/admin/keys/{made}/rotate")
    assert second["old"]["state"] == "rotated"
    assert call(gateway, second["text"]).status_code == 200
    status, code, message = refusal(gateway, "POST", f"/admin/keys/{made}/rotate")
    assert (status, code) == (409, "conflict")
    assert second["key"]["id"] in message
    assert done(gateway, "DELETE", f"/admin/keys/{made}")["key"]["state"] == "revoked"
    first_time = done(gateway, "DELETE", f"/admin/keys/{made}")["key"]["revoked_at"]
    assert first_time < time.time()
    assert refusal(gateway, "POST", f"/admin/keys/{made}/rotate")[:2] == (409, "conflict")
    short = done(gateway, "POST", "/admin/keys", {"tenant": "acme", "expires_s": 0.2})
    until(lambda: call(gateway, short["text"]).status_code == 401)
    assert refusal(gateway, "POST", f"/admin/keys/{short['key']['id']}/rotate")[:2] == (409, "conflict")


def test_of_many_who_rotate_a_key_at_once_one_does(counting: Counting):
    gateway = counting(2)
    made = done(gateway, "POST", "/admin/keys", {"tenant": "acme"})["key"]["id"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = [
            reply.status_code
            for reply in pool.map(lambda _: asked(gateway, "POST", f"/admin/keys/{made}/rotate"), range(8))
        ]
    assert sorted(replies) == [200] + [409] * 7
    assert len(done(gateway, "GET", "/admin/keys", params={"tenant": "acme"})["keys"]) == 3


def test_keys_come_in_pages(counting: Counting):
    gateway = counting()
    made = {done(gateway, "POST", "/admin/keys", {"tenant": "acme"})["key"]["id"] for _ in range(4)}
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = done(gateway, "GET", "/admin/keys", params={"limit": 2, **after})
        found += [key["id"] for key in page["keys"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert len(found) == 5
    assert made < set(found)
    assert done(gateway, "GET", "/admin/keys", params={"tenant": "other"}) == {"keys": [], "next": None}


def test_every_change_is_in_the_trail_and_in_the_log_without_its_secret(counting: Counting, tmp_path: Path):
    trail = tmp_path / "audit"
    gateway = counting(audit={"folder": str(trail), "anchors": str(tmp_path / "anchors")})
    made = done(gateway, "POST", "/admin/keys", {"tenant": "acme", "name": "ci"})
    rotated = done(gateway, "POST", f"/admin/keys/{made['key']['id']}/rotate")
    done(gateway, "DELETE", f"/admin/keys/{rotated['key']['id']}")
    done(gateway, "PUT", "/admin/quota/acme/limits", {"in_flight": 3})
    done(gateway, "POST", "/admin/quota/acme/reset")
    gateway.stop()
    written = [
        json.loads(line) for file in sorted(trail.glob("*.jsonl")) for line in file.read_text().splitlines()
    ]
    acts = [facts for facts in written if facts["event"] == "admin"]
    assert [facts["what"] for facts in acts] == [
        "key_created",
        "key_rotated",
        "key_revoked",
        "limits_set",
        "quota_reset",
    ]
    assert {(facts["who"], facts["peer"], facts["tenant"]) for facts in acts} == {
        ("admin", "127.0.0.1", "acme")
    }
    assert (acts[3]["before"], acts[3]["after"]) == ({}, {"in_flight": 3})
    assert [line["what"] for line in gateway.events("admin")] == [facts["what"] for facts in acts]
    whole = json.dumps(written).encode() + gateway.text
    for secret in (made["text"], rotated["text"], ADMIN, ACME):
        assert secret.encode() not in whole


def test_nothing_is_changed_that_cannot_be_written_down(counting: Counting, tmp_path: Path):
    (tmp_path / "file").write_text("")
    gateway = counting(audit={"folder": str(tmp_path / "file" / "no"), "on_failure": "refuse"})
    status, code, _ = refusal(gateway, "POST", "/admin/keys", {"tenant": "acme"})
    assert (status, code) == (503, "audit_unavailable")
    assert [key["origin"] for key in done(gateway, "GET", "/admin/keys")["keys"]] == ["profile"]


def test_without_a_store_the_profiles_keys_are_shown_and_none_is_made(start, make_stub):
    gateway = start(config_for(make_stub())).wait_ready(2)
    assert done(gateway, "GET", "/admin/keys")["keys"] == []
    for method, path in (
        ("POST", "/admin/keys"),
        ("PUT", "/admin/quota/acme/limits"),
        ("POST", "/admin/quota/acme/reset"),
    ):
        body = {"tenant": "acme"} if path == "/admin/keys" else {}
        assert refusal(gateway, method, path, body)[:2] == (409, "no_store")


def test_a_store_that_is_away_is_told_as_that_and_nothing_hangs(counting: Counting, tmp_path: Path):
    gateway = counting()
    made = done(gateway, "POST", "/admin/keys", {"tenant": "acme"})
    assert call(gateway, made["text"]).status_code == 200
    until(lambda: limits_of(gateway, "acme")["requests_per_day"]["settled"] == 1)
    with contextlib.closing(sqlite3.connect(tmp_path / "counts.db", isolation_level=None)) as held:
        held.execute("BEGIN EXCLUSIVE")
        for method, path, body in (
            ("POST", "/admin/keys", {"tenant": "acme"}),
            ("PUT", "/admin/quota/acme/limits", {"in_flight": 3}),
            ("POST", "/admin/quota/acme/reset", {}),
            ("DELETE", f"/admin/keys/{made['key']['id']}", None),
        ):
            began = time.monotonic()
            status, code, message = refusal(gateway, method, path, body)
            assert (status, code) == (503, "store_unavailable"), (path, message)
            assert time.monotonic() - began < 10
        held.execute("ROLLBACK")
    until(lambda: asked(gateway, "PUT", "/admin/quota/acme/limits", {"in_flight": 3}).status_code == 200)
    assert done(gateway, "DELETE", f"/admin/keys/{made['key']['id']}")["key"]["state"] == "revoked"
    assert call(gateway, made["text"]).status_code == 401
