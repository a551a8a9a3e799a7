"""The only writer of rendered files.

    changes(files, folder, book)    what `write` would do, each with its diff. Nothing is touched
    write(files, folder, book)      does it: each file replaced in one step, hand edits never lost silently
    snapshot(files, folder, book)   remembers what `write` would touch, and puts it back
    stamped(stack, files)           the stack, with what its services' files hold now

`book` (a JSON file in the state folder) remembers the SHA-256 of every file as it was written. A file that
differs from what the book says was edited by hand. The book is written before the files, with the old digests
beside the new ones, and again after them: killed at any point, each file is the old one or the new one, and
the next run knows both for its own.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import Literal, Protocol

from infctl.atomic import cannot, make_folder, replace
from infctl.errors import EngineError, Problem
from infctl.stack import Stack

VERSION = 1
DIFF_LINES_MAX = 2000
READ_BYTES_MAX = 16 * 1024 * 1024

Kind = Literal["new", "changed", "same", "hand_edited", "gone"]


class File(Protocol):
    """A rendered file, as this module needs it."""

    @property
    def path(self) -> str:
        """Relative to the folder, with slashes."""

    @property
    def text(self) -> str: ...

    @property
    def mode(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Change:
    """One file, beside what is there."""

    path: str
    """Relative to the folder."""
    kind: Kind
    """gone: no longer rendered, it will be removed. hand_edited: somebody changed it since it was written."""
    diff: str = ""
    """Unified; from what lies there to what would."""


def changes(files: Iterable[File], folder: Path, book: Path) -> tuple[Change, ...]:
    """In the order of the files, then those that are gone. Raises EngineError where one cannot be read."""
    known = _known(book)
    wanted = {file.path: file for file in files}
    found = [_change(path, file.text, file.mode, folder, known) for path, file in wanted.items()]
    for path in sorted(set(known) - set(wanted)):
        old = _text(folder / path)
        if old is not None:
            kind: Kind = "gone" if _digest(old) in known[path] else "hand_edited"
            found.append(Change(path, kind, _diff(path, old, None)))
    return tuple(found)


def write(
    files: Iterable[File], folder: Path, book: Path, *, overwrite_edits: bool = False
) -> tuple[Change, ...]:
    """Bring the folder to `files`; returns what was done. Raises EngineError before the first change.

    A hand-edited file is refused; with `overwrite_edits` it is kept beside as `<name>.orig`.
    """
    wanted = {file.path: file for file in files}
    done = changes(wanted.values(), folder, book)
    edited = [change for change in done if change.kind == "hand_edited"]
    if edited and not overwrite_edits:
        raise EngineError(
            "rendered files were edited by hand since infctl wrote them",
            problems=[Problem("edited since it was written", path=str(folder / c.path)) for c in edited],
            hint="move the edit into the profile; overwriting keeps a copy as <name>.orig",
        )
    known = _known(book)
    remembered = {path: (_digest(file.text),) for path, file in wanted.items()}
    if remembered != known:
        both = {path: known.get(path, ()) + remembered.get(path, ()) for path in {**known, **remembered}}
        _remember(book, both)
    for change in done:
        target = folder / change.path
        if change.kind == "hand_edited":
            replace(target.with_name(target.name + ".orig"), target.read_bytes(), mode=0o600)
        if change.path not in wanted:
            target.unlink(missing_ok=True)
        elif change.kind != "same":
            file = wanted[change.path]
            make_folder(target.parent, folder)
            replace(target, file.text.encode(), mode=file.mode)
    if remembered != known:
        _remember(book, remembered)
    return done


def unedited(folder: Path, book: Path) -> tuple[Path, ...]:
    """The files that were written there and are still as they were written."""
    known = _known(book)
    texts = ((path, _text(folder / path)) for path in sorted(known))
    return tuple(folder / path for path, text in texts if text is not None and _digest(text) in known[path])


def snapshot(files: Iterable[File], folder: Path, book: Path) -> Callable[[], None]:
    """Remembers what `write` would touch, the book included; answers with what puts it back.

    Nothing else of the folder is read: a person's own files and gigabytes of weights may lie in it. What is
    the same by then is not written again, so that no reader sees a change.
    """
    names = {*_known(book), *(file.path for file in files)}
    paths = (*(folder / name for name in sorted(names)), book)
    before = {path: found for path in paths if (found := _whole(path)) is not None}

    def put_back() -> None:
        for path in paths:
            old, now = before.get(path), _whole(path)
            if old is None:
                path.unlink(missing_ok=True)
            elif old != now:
                make_folder(path.parent, folder)
                replace(path, old[0], mode=old[1])

    return put_back


def stamped(stack: Stack, files: Iterable[File], folder: Path) -> Stack:
    """The stack with the SHA-256 of every file its services read: as rendered, else as it lies on the disk.

    A file that is not there (such as `.env`) has the empty digest.
    """
    texts = {str(folder / file.path): file.text for file in files}
    return stamp(stack, texts, read_others=True)


def stamp(stack: Stack, texts: Mapping[str, str], *, read_others: bool = False) -> Stack:
    """The same, of files whose text is known."""

    def digest(path: str) -> str:
        if path in texts:
            return _digest(texts[path])
        if not read_others:
            return ""
        try:
            return hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError:
            return ""

    return changed(
        stack,
        services=tuple(
            changed(service, files=tuple(changed(file, sha256=digest(file.path)) for file in service.files))
            for service in stack.services
        ),
    )


def _remember(book: Path, digests: Mapping[str, tuple[str, ...]]) -> None:
    book.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = json.dumps({"version": VERSION, "files": digests}, indent=1, sort_keys=True) + "\n"
    replace(book, text.encode(), mode=0o600)


def _change(path: str, text: str, mode: int, folder: Path, known: Mapping[str, tuple[str, ...]]) -> Change:
    target = folder / path
    old = _text(target)
    if old is None:
        return Change(path, "new", _diff(path, None, text))
    if old == text:
        return Change(path, "same" if target.stat().st_mode & 0o777 == mode else "changed")
    kind: Kind = "changed" if _digest(old) in known.get(path, ()) else "hand_edited"
    return Change(path, kind, _diff(path, old, text))


def _known(book: Path) -> dict[str, tuple[str, ...]]:
    """Path -> SHA-256, more than one after a kill. Of a damaged book nothing is known."""
    try:
        data = json.loads(book.read_text(encoding="utf-8"))
        version, files = data["version"], dict(data["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    if not isinstance(version, int) or version > VERSION:
        raise EngineError(
            f"{book} has format {version}; this infctl reads {VERSION}",
            hint="a newer infctl wrote it: use that one",
        )
    # A path that leaves the folder is none of ours: the book is data, and removal follows it.
    return {
        str(path): tuple(digests)
        for path, digests in files.items()
        if not Path(path).is_absolute() and ".." not in Path(path).parts
    }


def _text(path: Path) -> str | None:
    """None: it is not there. Bytes that are no UTF-8 are kept apart from every rendered text."""
    try:
        with path.open("rb") as file:
            return file.read(READ_BYTES_MAX).decode("utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise cannot("read", path, error) from None


def _whole(path: Path) -> tuple[bytes, int] | None:
    """(bytes, mode); None: it is not there."""
    try:
        return path.read_bytes(), path.stat().st_mode & 0o777
    except FileNotFoundError:
        return None
    except OSError as error:
        raise cannot("read", path, error) from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="surrogateescape")).hexdigest()


def _diff(path: str, old: str | None, new: str | None) -> str:
    lines = list(
        difflib.unified_diff(
            (old or "").splitlines(),
            (new or "").splitlines(),
            "/dev/null" if old is None else f"a/{path}",
            "/dev/null" if new is None else f"b/{path}",
            lineterm="",
        )
    )
    if len(lines) > DIFF_LINES_MAX:
        lines = [*lines[:DIFF_LINES_MAX], f"... {len(lines) - DIFF_LINES_MAX} more lines"]
    return "\n".join(lines)
