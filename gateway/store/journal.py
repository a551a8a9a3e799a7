"""What one replica knows of its own use, on its own disk: what a Redis that lost everything is told again.

For each worker of this replica and each counter: what it has settled, and what it was granted and has not
settled or given back. A grant is written here before it may be spent, so the two together are never less than
what was used. Several worker processes of one box share the file.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.policy.exchange import Answer, Exchange, StoreDown
from gateway.store.protocol import Settings, StoreRefused

VERSION: Final = 1
BUSY_S: Final = 1.0
KEPT: Final = 62
"""Days of windows that are kept: last month's is the oldest that a request may still settle into."""

_TABLES: Final = """
    CREATE TABLE held (
        counter TEXT, period TEXT, worker TEXT, settled INTEGER NOT NULL, held INTEGER NOT NULL,
        PRIMARY KEY (counter, period, worker)
    ) WITHOUT ROWID;
    CREATE TABLE settings (
        one INTEGER PRIMARY KEY CHECK (one=1), generation INTEGER, figures TEXT, keys TEXT
    );
    CREATE TABLE epochs (epoch TEXT PRIMARY KEY, lost INTEGER NOT NULL) WITHOUT ROWID;
"""


class Journal:
    def __init__(self, path: Path) -> None:
        """Raises StoreRefused."""
        self.path = path
        try:
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("BEGIN IMMEDIATE")
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if version == 0:
                for table in _TABLES.split(";"):
                    self._db.execute(table)
                self._db.execute(f"PRAGMA user_version={VERSION}")
            self._db.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise StoreRefused(
                f"{path} cannot be used as this replica's journal: {error}. It must be a file that this user"
                " may write, on a local disk, in a folder that exists"
            ) from None
        if version > VERSION:
            raise StoreRefused(f"{path} has version {version}: a newer gateway wrote it. Use that one")

    def note(self, epoch: str) -> None:
        """Redis is in this epoch. What it grants from now on, it grants before it forgets."""
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO epochs VALUES (?, 0)", (epoch,))

    def write(self, given: Exchange, answer: Answer, epoch: str) -> None:
        """Before the grants of `answer` are spent, which was asked for after its epoch was noted.

        Raises StoreDown, also where another process here has found Redis empty since: what was granted then
        was not among what Redis was told again.
        """
        changes: dict[tuple[str, str], list[int]] = {}
        for line in given.lines:
            if line.kind == "quota" and line.period and (line.settled or line.returned):
                change = changes.setdefault((line.counter, line.period), [0, 0])
                change[0] += line.settled
                change[1] -= line.settled + line.returned
        for grant in answer.grants:
            if grant.period and grant.amount:
                changes.setdefault((grant.counter, grant.period), [0, 0])[1] += grant.amount
        if not changes:
            return
        with self._transaction():
            if self._db.execute("SELECT lost FROM epochs WHERE epoch=?", (epoch,)).fetchone() != (0,):
                raise StoreDown("Redis has lost its counts after it answered")
            for (counter, period), (settled, held) in changes.items():
                self._db.execute(
                    "INSERT INTO held VALUES (?, ?, ?, ?, max(0, ?)) ON CONFLICT (counter, period, worker)"
                    " DO UPDATE SET settled=settled+excluded.settled, held=max(0, held+?)",
                    (counter, period, given.worker, settled, held, held),
                )

    def keep(self, settings: Settings) -> None:
        with self._transaction():
            keys = [[key.id, msgspec.json.encode(key).decode()] for key in settings.keys]
            figures = [[scope, said] for scope, said in settings.figures.items()]
            self._db.execute(
                "INSERT OR REPLACE INTO settings VALUES (1, ?, ?, ?)",
                (settings.generation, json.dumps(figures), json.dumps(keys)),
            )

    def contribution(self, oldest: str) -> tuple[list[list[Any]], list[Any]]:
        """[counter, period, worker, settled, held]... of windows not before `oldest` (a day), and
        [generation, figures, keys]. Raises StoreDown.
        """
        with self._transaction():
            self._db.execute("UPDATE epochs SET lost=1")
            self._db.execute("DELETE FROM held WHERE period<substr(?, 1, length(period))", (oldest,))
            rows = [list(row) for row in self._db.execute("SELECT * FROM held")]
            kept = self._db.execute("SELECT generation, figures, keys FROM settings").fetchone()
        return rows, [0, [], []] if kept is None else [kept[0], json.loads(kept[1]), json.loads(kept[2])]

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreDown(f"{self.path}: {error}") from error
