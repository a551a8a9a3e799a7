"""The embedded store: one SQLite file, shared by the worker processes of one box.

WAL, so that readers never wait for the writer; `synchronous=FULL` for whatever grants or counts a quota: it
is on the disk before it is spent. Exchanges that only carry rates and slots need no disk: what a power cut
takes from the file, it takes from the workers as well. One writer at a time; each call is one transaction.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from gateway.policy.book import Lease, Tally
from gateway.policy.exchange import DEAD_S, NO_PERIOD, Answer, Exchange, Overview, StoreDown, Use, Wanted
from gateway.policy.keys import Key
from gateway.policy.limits import MEASURES
from gateway.policy.window import Guard, window
from gateway.store import steps
from gateway.store.protocol import Settings, StoreRefused
from gateway.store.schema import STEPS, VERSION
from gateway.store.steps import Worker

BUSY_S: Final = 1.0
"""For another process's transaction; a commit takes milliseconds."""
BURY_S: Final = 0.5
"""Between two looks for dead workers."""
WORKERS_KEPT_S: Final = 7 * 86_400
RATES_KEPT_S: Final = 7 * 86_400
CLEAN_S: Final = 3600
"""Between two looks for what can go."""
LEASES_KEPT_S: Final = 3 * 86_400
"""Of windows that have closed: longer than any request lasts."""


class SQLite:
    """Opened by each process for itself, and used by one thread."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Raises StoreRefused for a file that cannot be used, StoreDown for one that is held by somebody."""
        self.path = path
        self._clock = clock
        self._cleaned_s = 0.0
        try:
            path.touch(mode=0o600)  # digests of keys lie in it
            self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        except (sqlite3.Error, OSError) as error:
            raise StoreRefused(_unusable(path, error)) from None
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA wal_autocheckpoint=1000")
            self._migrate()
        except sqlite3.OperationalError as error:
            if _is_busy(error):
                raise StoreDown(f"{self.path}: held by another process for more than {BUSY_S:g} s") from None
            raise StoreRefused(_unusable(self.path, error)) from None
        except sqlite3.Error as error:
            raise StoreRefused(_unusable(self.path, error)) from None

    def _migrate(self) -> None:
        version = self._version()
        if version < VERSION:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                version = self._version()  # another process may have been faster
                for step in STEPS[version:]:
                    for statement in step.split(";"):
                        self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={max(version, VERSION)}")
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        if version > VERSION:
            raise StoreRefused(
                f"{self.path} has version {version}, and this gateway knows versions up to {VERSION}: a newer"
                " gateway wrote it. Use that one, or restore a backup that this one made"
            )

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    # --- exchanges ---

    def exchange(self, given: Exchange) -> Answer:
        durable = any(line.kind == "quota" for line in given.lines) or bool(given.uses)
        with self._transaction(durable=durable) as rows:
            encoded = steps.exchange(rows, given, rows.clock_s)
            if rows.clock_s - self._cleaned_s >= CLEAN_S:
                self._cleaned_s = rows.clock_s
                rows.clean(rows.clock_s)
        return msgspec.json.decode(encoded, type=Answer)

    def wanted(self, worker: str) -> tuple[Wanted, ...]:
        with self._reading() as rows:
            return steps.wanted(rows, worker, rows.clock_s)

    # --- settings and keys ---

    def generation(self) -> int:
        with self._reading() as rows:
            return int(rows.meta("generation"))

    def settings(self) -> Settings:
        with self._reading() as rows:
            self._db.execute("BEGIN")
            try:
                figures = dict(self._db.execute("SELECT scope, said FROM figures"))
                records = self._db.execute("SELECT record FROM keys ORDER BY id").fetchall()
                generation = int(rows.meta("generation"))
            finally:
                self._db.execute("COMMIT")
        keys = tuple(msgspec.json.decode(record, type=Key) for (record,) in records)
        return Settings(generation, figures, keys)

    def put_figures(self, scope: str, said: str | None) -> int:
        with self._transaction(durable=True) as rows:
            rows.put_figures(scope, said)
            return rows.changed()

    def put_key(self, key: Key) -> int:
        with self._transaction(durable=True) as rows:
            rows.put_key(key)
            return rows.changed()

    def drop_key(self, key_id: str) -> int:
        with self._transaction(durable=True) as rows:
            rows.drop_key(key_id)
            return rows.changed()

    def change(
        self, generation: int, figures: Mapping[str, str | None], keys: Mapping[str, Key | None]
    ) -> int | None:
        with self._transaction(durable=True) as rows:
            if int(rows.meta("generation")) != generation:
                return None
            for scope, said in figures.items():
                rows.put_figures(scope, said)
            for key_id, key in keys.items():
                if key is None:
                    rows.drop_key(key_id)
                else:
                    rows.put_key(key)
            return rows.changed()

    def put_used(self, used: Mapping[str, float]) -> None:
        with self._transaction(durable=False):
            self._db.executemany(
                "INSERT INTO used VALUES (?, ?)"
                " ON CONFLICT (key_id) DO UPDATE SET at_s=max(at_s, excluded.at_s)",
                list(used.items()),
            )

    def used(self) -> Mapping[str, float]:
        with self._reading():
            return dict(self._db.execute("SELECT key_id, at_s FROM used"))

    # --- for people ---

    def reset(self, counter: str) -> None:
        with self._transaction(durable=True) as rows:
            for period in _open_periods(rows.clock_s):
                self._db.execute(
                    "UPDATE counters SET settled=0, unknown=0, level=-1 WHERE counter=? AND period=?",
                    (counter, period),
                )
                self._db.execute(
                    "DELETE FROM leases WHERE counter=? AND period=?"
                    " AND worker IN (SELECT name FROM workers WHERE dead=1)",
                    (counter, period),
                )

    def overview(self, prefix: str = "") -> Sequence[Overview]:
        with self._reading() as rows:
            periods = _open_periods(rows.clock_s)
            found = self._db.execute(
                "SELECT c.counter, c.period, c.settled, c.unknown, coalesce(sum(l.held), 0), c.level, c.at_s"
                " FROM counters c LEFT JOIN leases l ON l.counter=c.counter AND l.period=c.period"
                " WHERE substr(c.counter, 1, ?)=? AND c.period IN (?, ?, ?)"
                " GROUP BY c.counter, c.period ORDER BY c.counter, c.period",
                (len(prefix), prefix, *periods),
            ).fetchall()
        return [Overview(*one) for one in found]

    def usage(
        self,
        since: str,
        until: str,
        tenant: str | None = None,
        *,
        after: tuple[str, str, str] = ("", "", ""),
        most: int | None = None,
    ) -> Sequence[Use]:
        with self._reading():
            found = self._db.execute(
                "SELECT day, tenant, model, requests, prompt, completion, unknown FROM usage"
                " WHERE day BETWEEN ? AND ? AND (? IS NULL OR tenant=?) AND (day, tenant, model) > (?, ?, ?)"
                " ORDER BY day, tenant, model LIMIT ?",
                (since, until, tenant, tenant, *after, -1 if most is None else most),
            ).fetchall()
        return [Use(*one) for one in found]

    def clock_s(self) -> float:
        with self._reading() as rows:
            return rows.clock_s

    def check(self) -> str:
        """`ok`, or what is wrong with the file."""
        with self._reading():
            return str(self._db.execute("PRAGMA integrity_check").fetchone()[0])

    def close(self) -> None:
        self._db.close()

    # --- transactions ---

    @contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[_Rows]:
        """Whole or not at all. Raises StoreDown."""
        with self._words():
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                rows = _Rows(self._db, self._clock())
                rows.keep_clock()
                yield rows
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[_Rows]:
        with self._words():
            yield _Rows(self._db, self._clock())

    @contextmanager
    def _words(self) -> Iterator[None]:
        """The one edge where SQLite's errors end."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreDown(f"{self.path}: {error}") from error


class _Rows:
    """The tables, as `steps` reads and writes them."""

    def __init__(self, db: sqlite3.Connection, clock_s: float) -> None:
        self._db = db
        self.clock_s = Guard(float(self.meta("clock_s"))).read(clock_s)

    def meta(self, name: str) -> float:
        found = self._db.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
        return 0 if found is None else found[0]

    def keep_clock(self) -> None:
        self._db.execute("UPDATE meta SET value=? WHERE name='clock_s'", (self.clock_s,))

    def changed(self) -> int:
        self._db.execute("UPDATE meta SET value=value+1 WHERE name='generation'")
        return int(self.meta("generation"))

    def put_figures(self, scope: str, said: str | None) -> None:
        if said is None:
            self._db.execute("DELETE FROM figures WHERE scope=?", (scope,))
        else:
            self._db.execute("INSERT OR REPLACE INTO figures VALUES (?, ?)", (scope, said))

    def put_key(self, key: Key) -> None:
        record = msgspec.json.encode(key).decode()
        self._db.execute(
            "INSERT INTO keys VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET record=excluded.record",
            (key.id, bytes.fromhex(key.digest), record),
        )

    def drop_key(self, key_id: str) -> None:
        self._db.execute("DELETE FROM keys WHERE id=?", (key_id,))
        self._db.execute("DELETE FROM used WHERE key_id=?", (key_id,))

    def worker(self, name: str) -> Worker | None:
        found = self._db.execute("SELECT seq, answer, dead FROM workers WHERE name=?", (name,)).fetchone()
        return None if found is None else Worker(found[0], found[1], bool(found[2]))

    def save_worker(self, name: str, seq: int, answer: bytes, clock_s: float, *, leaving: bool) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO workers VALUES (?, ?, ?, ?, ?)",
            (name, seq, answer, clock_s, int(leaving)),
        )

    def bury(self, clock_s: float) -> None:
        if clock_s - self.meta("buried_s") < BURY_S:
            return
        self._db.execute("UPDATE meta SET value=? WHERE name='buried_s'", (clock_s,))
        buried = self._db.execute(
            "SELECT name FROM workers WHERE dead=0 AND seen_s<?", (clock_s - DEAD_S,)
        ).fetchall()
        for (name,) in buried:
            self._db.execute("UPDATE workers SET dead=1 WHERE name=?", (name,))
            self._db.execute("DELETE FROM leases WHERE worker=? AND period=?", (name, NO_PERIOD))
        if buried:
            self.clean(clock_s)

    def clean(self, clock_s: float) -> None:
        """What nobody needs any longer: windows that closed days ago, rates of which nobody holds or has used
        anything for a week (they are full again), workers of last week that hold nothing.

        A tenant may be an address, and there are many.
        """
        day, month = (window(span, max(0.0, clock_s - LEASES_KEPT_S)).period for span in ("day", "month"))
        for period, chars in ((day, 10), (month, 7)):
            self._db.execute("DELETE FROM leases WHERE length(period)=? AND period<?", (chars, period))
            self._db.execute("DELETE FROM counters WHERE length(period)=? AND period<?", (chars, period))
        self._db.execute(
            "DELETE FROM counters WHERE period=? AND at_s<? AND NOT EXISTS (SELECT 1 FROM leases"
            " WHERE leases.counter=counters.counter AND leases.period=counters.period AND held>0)",
            (NO_PERIOD, clock_s - RATES_KEPT_S),
        )
        self._db.execute(  # what was heard of hunger goes with its numbers
            "DELETE FROM leases WHERE period=? AND counter NOT IN"
            " (SELECT counter FROM counters WHERE period=?)",
            (NO_PERIOD, NO_PERIOD),
        )
        self._db.execute(
            "DELETE FROM workers WHERE dead=1 AND seen_s<? AND name NOT IN (SELECT worker FROM leases)",
            (clock_s - WORKERS_KEPT_S,),
        )

    def alive(self) -> Collection[str]:
        return [name for (name,) in self._db.execute("SELECT name FROM workers WHERE dead=0")]

    def tally(self, counter: str, period: str) -> Tally:
        found = self._db.execute(
            "SELECT settled, unknown, level, at_s, hunger FROM counters WHERE counter=? AND period=?",
            (counter, period),
        ).fetchone()
        leases = {
            worker: Lease(*rest)
            for worker, *rest in self._db.execute(
                "SELECT worker, held, acked, hungry, until_s FROM leases WHERE counter=? AND period=?",
                (counter, period),
            )
        }
        if found is None:
            return Tally(leases=leases)
        settled, unknown, level, at_s, hunger = found
        return Tally(settled, unknown, level, at_s, hunger, leases)

    def save(self, counter: str, period: str, tally: Tally, worker: str) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO counters VALUES (?, ?, ?, ?, ?, ?, ?)",
            (counter, period, tally.settled, tally.unknown, tally.level, tally.at, tally.hunger),
        )
        lease = tally.leases[worker]
        self._db.execute(
            "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?, ?)",
            (counter, period, worker, lease.held, lease.acked, lease.hungry, lease.until),
        )

    def held_by(self, worker: str) -> Iterable[tuple[str, str]]:
        return self._db.execute(
            "SELECT DISTINCT mine.counter, mine.period FROM leases mine JOIN leases other"
            " ON other.counter=mine.counter AND other.period=mine.period"
            " WHERE mine.worker=? AND mine.held>0 AND other.worker<>? AND other.hungry>mine.acked",
            (worker, worker),
        ).fetchall()

    def add_uses(self, uses: Iterable[Use]) -> None:
        self._db.executemany(
            "INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (day, tenant, model) DO UPDATE SET"
            " requests=requests+excluded.requests, prompt=prompt+excluded.prompt,"
            " completion=completion+excluded.completion, unknown=unknown+excluded.unknown",
            [msgspec.structs.astuple(use) for use in uses],
        )


def _open_periods(clock_s: float) -> list[str]:
    spans = {measure.span for measure in MEASURES.values() if measure.span is not None}
    return [NO_PERIOD, *(window(span, clock_s).period for span in sorted(spans))]


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _unusable(path: Path, error: Exception) -> str:
    return (
        f"{path} cannot be used as the store of counts: {error}. It must be a file that this user may write,"
        " on a local disk, in a folder that exists"
    )
