"""The folder of the history: bounded, private, and useful even where a part of it is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from infctl.errors import EngineError
from infctl.history.entry import Entry
from infctl.history.store import ENTRIES_MAX, Store, Text

from .test_entry import applied

NEW = Entry(0, 1.0, "ann@box", "up", "done", applied=applied())


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, told: list[str]) -> Store:
    return Store(tmp_path / "history", told.append)


def files(text: str = "a") -> tuple[Text, ...]:
    return (Text("nginx/nginx.conf", text, 0o644), Text("engine/start.py", "same", 0o644))


def test_entries_are_numbered_and_come_back_newest_first(store: Store) -> None:
    first = store.add(NEW, files())
    second = store.add(replace(NEW, command="down", applied=None))
    assert [one.number for one in (first, second)] == [1, 2]
    assert list(store.newest_first()) == [second, first]
    assert store.entry(1) == first
    assert store.entry(3) is None


def test_an_entry_can_be_finished_later(store: Store) -> None:
    one = store.add(replace(NEW, outcome="unfinished"))
    store.update(replace(one, outcome="done", seconds=2.0))
    assert [(e.outcome, e.seconds) for e in store.newest_first()] == [("done", 2.0)]


def test_texts_are_kept_once_and_come_back_as_they_were(store: Store) -> None:
    one = store.add(NEW, files("a"))
    other = store.add(NEW, files("b"))
    assert len(list((store.folder / "files").iterdir())) == 3
    assert one.applied is not None
    assert other.applied is not None
    assert store.texts(one.applied) == files("a")
    assert store.texts(other.applied) == files("b")


def test_nobody_else_may_read_it(store: Store) -> None:
    store.add(NEW, files())
    found = [path for path in store.folder.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in found} == {0o600}
    assert store.folder.stat().st_mode & 0o077 == 0


def test_it_is_bounded_and_keeps_what_can_be_gone_back_to(store: Store) -> None:
    for length in ("a", "b", "c"):
        store.add(NEW, files(length))
    for _ in range(ENTRIES_MAX + 3):
        store.add(replace(NEW, command="restart", applied=None))
    kept = [one.number for one in store.newest_first()]
    assert len(kept) == ENTRIES_MAX + 2
    assert kept[-2:] == [3, 2], "the two that were applied last"
    texts = {path.read_text() for path in (store.folder / "files").iterdir()}
    assert texts == {"same", "b", "c"}


def test_a_number_is_never_given_twice(store: Store) -> None:
    for _ in range(ENTRIES_MAX + 5):
        last = store.add(replace(NEW, applied=None))
    assert last.number == ENTRIES_MAX + 5


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 1}', '{"version": 1, "number": 1, "applied": {"stack": 1}}']
)
def test_a_damaged_entry_is_moved_aside_and_told(store: Store, told: list[str], text: str) -> None:
    store.add(NEW)
    two = store.add(NEW)
    (store.folder / "1.json").write_text(text)
    assert list(store.newest_first()) == [two]
    assert told == ["1.json of the history was damaged and was moved to 1.json.corrupt"]
    assert (store.folder / "1.json.corrupt").read_text() == text


def test_a_newer_format_is_refused_with_who_wrote_it(store: Store) -> None:
    store.add(NEW)
    path = store.folder / "1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2, "writer": "9.9"}))
    with pytest.raises(EngineError, match=r"has format 2, written by infctl 9\.9"):
        list(store.newest_first())


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("other")])
def test_a_text_that_was_lost_or_changed_is_not_put_back(store: Store, spoil: Callable[[Path], None]) -> None:
    one = store.add(NEW, files())
    assert one.applied is not None
    spoil(store.folder / "files" / one.applied.files[0].sha256)
    with pytest.raises(EngineError):
        store.texts(one.applied)


def test_a_folder_that_cannot_be_made_is_an_engine_error(tmp_path: Path, told: list[str]) -> None:
    (tmp_path / "history").write_text("a file")
    with pytest.raises(EngineError, match="cannot be written"):
        Store(tmp_path / "history", told.append).add(NEW)
