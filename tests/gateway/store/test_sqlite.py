"""The embedded store's file: versions, places it cannot be, other processes, power cuts."""

from __future__ import annotations

import sqlite3
import stat
import time
from pathlib import Path

import msgspec
import pytest

from gateway.policy.exchange import Exchange, Line, StoreDown, Use
from gateway.store import schema
from gateway.store.journal import Journal
from gateway.store.protocol import StoreRefused
from gateway.store.sqlite import SQLite

ASK = Exchange("w", 1, (Line("tokens_per_day|tenant:t", "quota", "day", 1000, need=300, want=300),))


def test_what_was_granted_is_there_after_a_restart(tmp_path: Path):
    for _ in range(2):
        store = SQLite(tmp_path / "counts.db")
        assert store.exchange(ASK).grants[0].amount == 300
        assert store.overview()[0].leased == 300
        assert store.check() == "ok"
        store.close()


def test_what_nobody_needs_any_longer_goes_and_the_history_stays(tmp_path: Path):
    now = [1_795_780_800.0]
    store = SQLite(tmp_path / "counts.db", clock=lambda: now[0])
    used = (Use("2026-11-27", "t", "m", 1, 1, 1, 0),)
    rate = Line("requests_per_second|tenant:t", "rate", None, 5, 1.0, need=1, want=1)
    store.exchange(Exchange("w", 1, (*ASK.lines, rate), used))
    given = Line("tokens_per_day|tenant:t", "quota", "day", 1000, period="2026-11-27", settled=300)
    back = Line("requests_per_second|tenant:t", "rate", None, 5, 1.0, settled=1)
    store.exchange(Exchange("w", 2, (given, back), leaving=True))

    def kept() -> int:
        return int(store._db.execute("SELECT count(*) FROM counters").fetchone()[0])

    now[0] += 2 * 86_400
    store.exchange(Exchange("v", 1))
    assert kept() == 2
    now[0] += 3 * 86_400
    store.exchange(Exchange("v", 2))
    assert kept() == 1, "the rate alone"
    now[0] += 3 * 86_400
    store.exchange(Exchange("v", 3))
    assert kept() == 0
    assert store.usage("2026-11-27", "2026-11-27") == list(used)
    store.close()


def test_only_its_user_may_read_it(tmp_path: Path):
    SQLite(tmp_path / "counts.db").close()
    assert stat.S_IMODE((tmp_path / "counts.db").stat().st_mode) == 0o600


def test_grants_of_quotas_are_on_the_disk_before_they_are_told(tmp_path: Path):
    """FULL in WAL syncs each commit; an exchange of rates alone needs none."""
    store = SQLite(tmp_path / "counts.db")
    seen = []
    store._db.set_trace_callback(seen.append)
    store.exchange(ASK)
    store.exchange(Exchange("w", 2, (Line("in_flight|tenant:t", "slots", None, 5, need=1, want=1),)))
    store.exchange(Exchange("w", 3, (), (Use("2026-11-27", "t", "m", 1, 1, 1, 0),)))
    assert [line for line in seen if line.startswith("PRAGMA")] == [
        "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL", "PRAGMA synchronous=FULL",
    ]  # fmt: skip
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_a_file_of_a_newer_version_is_refused_with_both_versions(tmp_path: Path):
    SQLite(tmp_path / "counts.db").close()
    with sqlite3.connect(tmp_path / "counts.db") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreRefused, match=f"version 99.*up to {schema.VERSION}"):
        SQLite(tmp_path / "counts.db")


def test_an_older_file_is_taken_one_step_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    SQLite(tmp_path / "counts.db").close()
    monkeypatch.setattr(
        "gateway.store.sqlite.STEPS", (*schema.STEPS, "CREATE TABLE later (a); INSERT INTO later VALUES (7)")
    )
    monkeypatch.setattr("gateway.store.sqlite.VERSION", schema.VERSION + 1)
    store = SQLite(tmp_path / "counts.db")
    assert store._db.execute("SELECT a FROM later").fetchall() == [(7,)]
    assert store._version() == schema.VERSION + 1
    store.close()


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    SQLite(tmp_path / "counts.db").close()
    monkeypatch.setattr("gateway.store.sqlite.STEPS", (*schema.STEPS, "CREATE TABLE later (a); NONSENSE"))
    monkeypatch.setattr("gateway.store.sqlite.VERSION", schema.VERSION + 1)
    with pytest.raises(StoreRefused):
        SQLite(tmp_path / "counts.db")
    monkeypatch.undo()
    store = SQLite(tmp_path / "counts.db")
    assert store._version() == schema.VERSION
    with pytest.raises(sqlite3.OperationalError):
        store._db.execute("SELECT * FROM later")
    store.close()


@pytest.mark.parametrize("kind", ["no folder", "a folder", "no database"])
@pytest.mark.parametrize("opened", [SQLite, Journal])
def test_what_cannot_be_a_store_is_refused_with_the_reason(tmp_path: Path, kind: str, opened: type):
    path = tmp_path / "missing" / "counts.db" if kind == "no folder" else tmp_path / "counts.db"
    if kind == "a folder":
        path.mkdir()
    elif kind == "no database":
        path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(StoreRefused, match=r"counts\.db cannot be used"):
        opened(path)


def test_a_file_that_another_process_holds_is_given_up_in_time_and_counts_once_it_is_free(tmp_path: Path):
    store = SQLite(tmp_path / "counts.db")
    other = sqlite3.connect(tmp_path / "counts.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    with pytest.raises(StoreDown, match="locked"):
        store.exchange(ASK)
    assert time.monotonic() - started < 10
    other.execute("ROLLBACK")
    assert store.exchange(ASK).grants[0].amount == 300
    other.close()
    store.close()


def test_a_full_disk_counts_nothing_and_says_so(tmp_path: Path):
    store = SQLite(tmp_path / "counts.db")
    store._db.execute("PRAGMA max_page_count=1")
    uses = tuple(Use("2026-11-27", f"tenant{n}", "m" * 50, 1, 1, 1, 0) for n in range(2000))
    with pytest.raises(StoreDown, match="full"):
        store.exchange(Exchange("w", 1, ASK.lines, uses))
    assert store.overview() == []
    store._db.execute("PRAGMA max_page_count=100000")
    assert store.exchange(ASK).grants[0].amount == 300
    store.close()


def test_leases_of_windows_that_closed_long_ago_are_cleared_away(tmp_path: Path):
    now_s = 1_795_780_800.0
    store = SQLite(tmp_path / "counts.db", lambda: now_s)
    store.exchange(ASK)
    now_s += 10 * 86_400
    store.exchange(Exchange("other", 1))
    assert store._db.execute("SELECT count(*) FROM leases").fetchone() == (0,)
    assert store._db.execute("SELECT count(*) FROM counters").fetchone() == (0,)
    assert [name for (name,) in store._db.execute("SELECT name FROM workers")] == ["other"]
    store.close()


def test_a_hunger_of_a_rate_that_was_forgotten_is_heard_of_above_those_before(tmp_path: Path):
    """A worker that has given back for the hunger before tells of its number again, maybe a week later."""
    now = [1_795_780_800.0]
    store = SQLite(tmp_path / "counts.db", clock=lambda: now[0])
    rate = Line("requests_per_second|tenant:t", "rate", None, 5, 1.0)

    def hunger(seq: int) -> int:
        """Of somebody beside a worker that holds all of it; both are gone then."""
        store.exchange(Exchange(f"a{seq}", 1, (msgspec.structs.replace(rate, need=5, want=5),)))
        store.exchange(Exchange(f"b{seq}", 1, (msgspec.structs.replace(rate, need=5, want=5),)))
        [wanted] = store.wanted(f"a{seq}")
        return wanted.generation

    before = hunger(1)
    now[0] += 9 * 86_400
    store.exchange(Exchange("v", 1))
    now[0] += 3601
    store.exchange(Exchange("v", 2))
    assert store._db.execute("SELECT count(*) FROM counters").fetchone()[0] == 0
    assert hunger(2) > before
    store.close()
