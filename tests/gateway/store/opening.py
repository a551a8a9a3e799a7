"""A store by its URL: `sqlite:PATH`, or `redis://...#JOURNAL`, where all processes are workers of one box."""

from __future__ import annotations

from pathlib import Path

from gateway.store.protocol import Store
from gateway.store.sqlite import SQLite


def open_store(url: str) -> Store:
    if url.startswith("sqlite:"):
        return SQLite(Path(url.removeprefix("sqlite:")))
    from gateway.store.redis import Redis

    address, _, journal = url.partition("#")
    return Redis(address, Path(journal), replica="box", replicas=1)
