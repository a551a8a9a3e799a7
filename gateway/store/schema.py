"""The tables of the embedded store, by version: each step takes a database one version further.

A step is never changed once it was released: a new version adds one.
"""

from __future__ import annotations

from typing import Final

STEPS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
    INSERT INTO meta VALUES ('clock_s', 0.0), ('buried_s', 0.0), ('generation', 0);
    CREATE TABLE workers (
        name TEXT PRIMARY KEY, seq INTEGER NOT NULL, answer BLOB NOT NULL, seen_s REAL NOT NULL,
        dead INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE counters (
        counter TEXT, period TEXT, settled INTEGER NOT NULL, unknown INTEGER NOT NULL, level REAL NOT NULL,
        at_s REAL NOT NULL, hunger INTEGER NOT NULL, PRIMARY KEY (counter, period)
    ) WITHOUT ROWID;
    CREATE TABLE leases (
        counter TEXT, period TEXT, worker TEXT, held INTEGER NOT NULL, acked INTEGER NOT NULL,
        hungry INTEGER NOT NULL, until_s REAL NOT NULL, PRIMARY KEY (counter, period, worker)
    ) WITHOUT ROWID;
    CREATE INDEX leases_of_worker ON leases (worker);
    CREATE TABLE usage (
        day TEXT, tenant TEXT, model TEXT, requests INTEGER NOT NULL, prompt INTEGER NOT NULL,
        completion INTEGER NOT NULL, unknown INTEGER NOT NULL, PRIMARY KEY (day, tenant, model)
    ) WITHOUT ROWID;
    CREATE TABLE keys (
        id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, record TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE figures (scope TEXT PRIMARY KEY, said TEXT NOT NULL) WITHOUT ROWID;
    """,
    "CREATE TABLE used (key_id TEXT PRIMARY KEY, at_s REAL NOT NULL) WITHOUT ROWID",
)
VERSION: Final = len(STEPS)
