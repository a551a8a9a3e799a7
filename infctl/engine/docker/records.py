"""What infctl itself remembers of a platform in containers. The edge of the books in `.infctl/<name>/state/`:

    desired.json   the stack that should run; whether it was brought up to the end; what ran before
    loaded.json    what each container has read of the files it mounts (see `loaded`)
    secrets.json   a random key, by which secrets are told apart; no secret

A damaged book is moved aside; the worst that follows is a reload too many.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from infctl import __version__
from infctl.engine import books, codec
from infctl.engine.docker import loaded
from infctl.engine.docker.loaded import Entry
from infctl.engine.refusals import unreadable, unwritable
from infctl.errors import EngineError
from infctl.stack import Layout, Stack

LOADED = "loaded.json"
ENTRIES_MAX = 500
KEY_BYTES = 16


class Records:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._wished: tuple[tuple[int, int], Stack | None] | None = None
        """The signature of desired.json, and what it said: commands ask again and again."""

    def make_folders(self) -> None:
        for folder in (self._layout.home, self._layout.state, self._layout.logs):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise unwritable(folder, error) from None

    # The stack

    def stack(self) -> Stack | None:
        """What should run."""
        signature = books.signature(str(self._layout.state / books.DESIRED))
        if self._wished is None or self._wished[0] != signature:
            book = self._desired()
            self._wished = signature, None if book is None else _stack(book["stack"])
        return self._wished[1]

    def last_done(self) -> Stack | None:
        """What was brought up to the end: not what an interrupted run wanted."""
        book = self._desired()
        if book is None:
            return None
        return _stack(book["stack"] if book.get("done", True) else book.get("before"))

    def wish(self, stack: Stack) -> None:
        """Before the first change."""
        before = self.last_done()
        self._write_desired(stack, done=False, before=before)

    def done(self, stack: Stack) -> None:
        self._write_desired(stack, done=True, before=None)

    def forget_wish(self) -> None:
        """What was wanted did not come to be, and nothing is known of what ran before."""
        books.remove(str(self._layout.state / books.DESIRED))

    def _desired(self) -> dict[str, Any] | None:
        book = self._read(books.DESIRED)
        return None if book is None or book["down"] else book

    def _write_desired(self, stack: Stack, *, done: bool, before: Stack | None) -> None:
        book = self._read(books.DESIRED)
        self._write(
            books.DESIRED,
            {
                "stack": codec.stack_to_json(stack),
                "services": [],
                "generation": (book["generation"] if book is not None else 0) + 1,
                "down": False,
                "done": done,
                "before": None if before is None else codec.stack_to_json(before),
            },
        )

    # What containers have read

    def loaded(self) -> dict[str, Entry]:
        book = self._read(LOADED)
        try:
            return loaded.from_json(book["containers"]) if book is not None else {}
        except (KeyError, TypeError, AttributeError):
            return {}

    def note(self, container_id: str, entry: Entry, reloaded: bool) -> None:
        """`reloaded`: it was not started anew, so what it took in at its start stays."""
        book = self.loaded()
        before = book.pop(container_id, None)
        if reloaded:
            same = before is not None and before.started == entry.started
            kept = before if same and before is not None else Entry(entry.started)
            entry = replace(entry, inodes=kept.inodes, secrets=kept.secrets)
        book[container_id] = entry
        newest = dict(list(book.items())[-ENTRIES_MAX:])
        self._write(LOADED, {"containers": loaded.to_json(newest)})

    def key(self) -> bytes:
        """Made at first need; where it cannot be kept, digests of this run fit no other."""
        book = self._read(books.SECRETS)
        try:
            return bytes.fromhex(book["key"]) if book is not None else self._new_key()
        except (ValueError, TypeError):
            return self._new_key()

    def _new_key(self) -> bytes:
        key = os.urandom(KEY_BYTES)
        if self._layout.state.is_dir():
            self._write(books.SECRETS, {"key": key.hex(), "values": {}})
        return key

    def forget(self) -> None:
        """Nothing runs any more."""
        for name in (books.DESIRED, LOADED, books.SECRETS):
            path = self._layout.state / name
            try:
                books.remove(str(path))
            except OSError as error:
                raise unwritable(path, error) from None

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self._layout.state / name
        try:
            return books.read(str(path))[0]
        except books.NewerBookError as error:
            raise EngineError(str(error), hint=f"use infctl {error.writer} or newer") from None
        except OSError as error:
            raise unreadable(path, error) from None

    def _write(self, name: str, book: Mapping[str, Any]) -> None:
        path = self._layout.state / name
        try:
            books.write(str(path), dict(book), writer=__version__)
        except OSError as error:
            raise unwritable(path, error) from None


def _stack(data: Mapping[str, Any] | None) -> Stack | None:
    """None where there is none, or one of another version's shape."""
    try:
        return None if data is None else codec.stack_from_json(data)
    except (KeyError, TypeError, AttributeError):
        return None
