"""A store's contents on another box: keys open the same doors, limits hold, and what was used stays used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.control import backup
from gateway.control.backup import Backup, Count
from gateway.policy import keys as making
from gateway.policy.exchange import Use
from gateway.refusal import Refusal
from gateway.store.protocol import Settings
from gateway.store.sqlite import SQLite
from tests.gateway.process import ADMIN, Gateway, config_for

NOON = 1_795_780_800.0
DAY = "2026-11-27"


def document(**more: Any) -> Backup:
    _, key = making.created("acme", bytes(32), 0.0)
    fields: dict[str, Any] = {
        "id": "b1",
        "made_at": NOON,
        "gateway": "1",
        "figures": {"tenant:acme": '{"requests_per_day":7}'},
        "keys": (key,),
        "used": {key.id: NOON - 60},
        "counts": (Count("tokens_per_day|tenant:acme", DAY, 500, 20),),
        "usage": (Use(DAY, "acme", "chat", 3, 100, 380, 20),),
        "audit": (),
    }
    return Backup(**fields | more)


def counted(store: SQLite) -> list[tuple[str, int, int]]:
    return [(one.counter, one.settled, one.unknown) for one in store.overview()]


def test_counts_are_added_once_however_often_it_is_restored(tmp_path: Path):
    store = SQLite(tmp_path / "db", clock=lambda: NOON)
    for _ in range(3):
        for given in backup.exchanges(document()):
            store.exchange(given)
    assert counted(store) == [("tokens_per_day|tenant:acme", 500, 20)]
    assert store.usage(DAY, DAY) == [Use(DAY, "acme", "chat", 3, 100, 380, 20)]
    for given in backup.exchanges(document(id="b2")):
        store.exchange(given)
    assert counted(store) == [("tokens_per_day|tenant:acme", 1000, 40)]
    store.close()


def test_many_counts_are_all_restored(tmp_path: Path):
    many = tuple(Count(f"requests_per_day|tenant:t{n:04}", DAY, n + 1, 0) for n in range(1001))
    store = SQLite(tmp_path / "db", clock=lambda: NOON)
    given = list(backup.exchanges(document(counts=many, usage=())))
    assert [len(each.lines) for each in given] == [400, 400, 201]
    for each in given:
        store.exchange(each)
    assert sum(one.settled for one in store.overview()) == 1001 * 1002 // 2
    store.close()


def test_what_was_leased_counts_as_used_and_unknown(tmp_path: Path):
    first, second = (SQLite(tmp_path / name, clock=lambda: NOON) for name in ("a", "b"))
    for given in backup.exchanges(document()):
        first.exchange(given)
    first.put_used({"key_1": NOON - 60})
    made = backup.made(first, [])
    assert made.used == {"key_1": NOON - 60}
    assert [msgspec.structs.astuple(count) for count in made.counts] == [
        ("tokens_per_day|tenant:acme", DAY, 500, 20)
    ]
    for given in backup.exchanges(made):
        second.exchange(given)
    assert counted(second) == counted(first)
    first.close()
    second.close()


def test_what_is_the_same_already_is_no_change():
    made = document()
    assert backup.change(Settings(1, {}, ()), made).figures == made.figures
    again = backup.change(Settings(1, dict(made.figures), made.keys), made)
    assert (again.figures, again.keys) == ({}, {})


def test_a_key_that_was_revoked_here_stays_revoked():
    made = document()
    [key] = made.keys
    assert backup.change(Settings(1, {}, (making.revoked(key, NOON),)), made).keys == {}
    gone = document(keys=(making.revoked(key, NOON),))
    assert backup.change(Settings(1, {}, (key,)), gone).keys == {key.id: gone.keys[0]}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "This is no backup"),
        (b"[]", "This is no backup"),
        (b'{"format": 2, "gateway": "9.9"}', "9.9 wrote it"),
        (b'{"format": 1}', "This is no backup"),
        (b"{}", "another program wrote it"),
    ],
)
def test_what_is_no_backup_is_refused(raw: bytes, said: str):
    with pytest.raises(Refusal, match=said):
        backup.read(raw)


@pytest.mark.parametrize(
    "count",
    [
        Count("tokens_per_day|tenant:acme", DAY, -1, 0),
        Count("tokens_per_day|tenant:acme", DAY, 5, 6),
        Count("nothing|tenant:acme", DAY, 5, 0),
        Count("tokens_per_day|tenant:acme", DAY, 10**16, 0),
    ],
)
def test_counts_that_cannot_be_are_refused_and_nothing_is_restored(count: Count):
    with pytest.raises(Refusal, match="nothing was restored"):
        backup.read(msgspec.json.encode(document(counts=(count,))))


def admin(gateway: Gateway, method: str, path: str, **more: Any) -> Any:
    answer = gateway.http.request(method, path, headers={"authorization": f"Bearer {ADMIN}"}, **more)
    assert answer.status_code < 300, answer.text
    return answer.json()


def test_another_gateway_goes_on_where_this_one_was(start, make_stub, tmp_path: Path):
    stub = make_stub()

    def box(name: str) -> Gateway:
        (tmp_path / name).mkdir()
        audit = {"folder": str(tmp_path / name / "audit"), "anchors": str(tmp_path / name / "anchors")}
        store = {"path": str(tmp_path / name / "counts.db")}
        return start(config_for(stub) | {"store": store, "audit": audit}).wait_ready(2)

    def asked(gateway: Gateway, key: str) -> int:
        return gateway.http.post(
            "/v1/chat/completions",
            json={"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10},
            headers={"authorization": f"Bearer {key}"},
        ).status_code

    old = box("old")
    key = admin(old, "POST", "/admin/keys", json={"tenant": "acme"})["text"]
    admin(old, "PUT", "/admin/quota/acme/limits", json={"requests_per_day": 3})
    assert [asked(old, key) for _ in range(2)] == [200, 200]
    taken = admin(old, "GET", "/admin/backup")
    assert key not in str(taken), "keys are kept by their hash alone"
    assert [chain["records"] > 0 for chain in taken["audit"]] == [True]
    assert old.stop() == 0

    new = box("new")
    assert asked(new, key) == 401
    taken["used"] = {taken["keys"][0]["id"]: 1_795_000_000.0}
    told = admin(new, "POST", "/admin/restore", json=taken)
    [entry] = admin(new, "GET", "/admin/keys?tenant=acme")["keys"]
    assert entry["used_at"] == 1_795_000_000.0
    assert (told["keys"], told["figures"], told["applied_by"]["workers"]) == (1, 1, 1)
    admin(new, "POST", "/admin/restore", json=taken)
    assert [asked(new, key) for _ in range(2)] == [200, 429]
    [written] = [line for line in new.events("admin") if line["what"] == "restored"][:1]
    assert list(written["audit_heads"].values()) == [
        f"{chain['records']}:{chain['hash']}" for chain in taken["audit"]
    ]
