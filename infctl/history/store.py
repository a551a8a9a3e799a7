"""The folder of a platform's history: one JSON file an entry, texts of rendered files by digest. The edge.

    <n>.json          an entry, 0600, replaced whole
    files/<sha256>    one rendered file as it was, shared by all entries that had it

At most ENTRIES_MAX entries are kept, and besides them the two that were applied last, so that 50 restarts do
not take away what can be gone back to. A damaged entry is moved aside and told; it stops nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path

from infctl import __version__
from infctl.atomic import cannot, replace
from infctl.errors import EngineError
from infctl.history import entry as entries_
from infctl.history.applied import Applied, KeptFile
from infctl.history.entry import Entry

ENTRIES_MAX = 50
APPLIED_KEPT = 2
ENTRY_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Text:
    """A rendered file with its text."""

    path: str
    text: str
    mode: int


@dataclass(frozen=True, slots=True)
class Store:
    folder: Path
    tell: Callable[[str], None]
    """Of an entry that cannot be read, in a sentence."""

    def newest_first(self) -> Iterator[Entry]:
        """Read one by one, as they are asked for. Raises EngineError for a newer format."""
        for number in sorted(self._numbers(), reverse=True):
            found = self._read(number)
            if found is not None:
                yield found

    def entry(self, number: int) -> Entry | None:
        return self._read(number) if number in self._numbers() else None

    def add(self, entry: Entry, files: Iterable[Text] = ()) -> Entry:
        """Keep a new entry; it gets its number here. Raises EngineError where it cannot be written.

        The caller holds the platform's lock: no two are added at once.
        """
        self._make_folders()
        kept = tuple(self._keep(file) for file in files)
        if entry.applied is not None:
            entry = changed(entry, applied=changed(entry.applied, files=kept))
        entry = changed(entry, number=max(self._numbers(), default=0) + 1)
        self.update(entry)
        self._forget()
        return entry

    def update(self, entry: Entry) -> None:
        """Replace an entry by what is known of it now."""
        text = json.dumps(entries_.to_json(entry, writer=__version__), separators=(",", ":"))
        replace(self._path(entry.number), text.encode(), mode=0o600)

    def texts(self, applied: Applied) -> tuple[Text, ...]:
        """The rendered files of then. Raises EngineError for one that is lost or was changed since."""
        return tuple(self._text(file) for file in applied.files)

    # Private

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.json"

    def _numbers(self) -> set[int]:
        return {int(path.stem) for path in self.folder.glob("*.json") if path.stem.isdecimal()}

    def _read(self, number: int) -> Entry | None:
        path = self._path(number)
        try:
            with path.open("rb") as file:
                raw = file.read(ENTRY_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise cannot("read", path, error) from None
        try:
            data = json.loads(raw)
            version = int(data["version"])
            if version <= entries_.FORMAT:
                return entries_.from_json(data)
            writer = str(data.get("writer", "?"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self._set_aside(path)
            return None
        raise EngineError(
            f"{path} has format {version}, written by infctl {writer}; this one reads {entries_.FORMAT}",
            hint=f"use infctl {writer} or newer",
        )

    def _set_aside(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            path.replace(path.with_name(f"{path.name}.corrupt"))
        self.tell(f"{path.name} of the history was damaged and was moved to {path.name}.corrupt")

    def _make_folders(self) -> None:
        for folder in (self.folder.parent, self.folder, self.folder / "files"):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise cannot("written", folder, error) from None

    def _keep(self, file: Text) -> KeptFile:
        data = file.text.encode("utf-8", errors="surrogateescape")
        digest = hashlib.sha256(data).hexdigest()
        target = self.folder / "files" / digest
        if not target.exists():
            replace(target, data, mode=0o600)
        return KeptFile(file.path, file.mode, digest)

    def _text(self, file: KeptFile) -> Text:
        path = self.folder / "files" / file.sha256
        try:
            data = path.read_bytes()
        except OSError as error:
            raise cannot("read", path, error) from None
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise EngineError(
                f"{path} is not what was kept as {file.path}: it was changed since",
                hint="an older entry of infctl history may be whole; infctl up applies the profile",
            )
        return Text(file.path, data.decode("utf-8", errors="surrogateescape"), file.mode)

    def _forget(self) -> None:
        """Entries beyond the limit, then texts that none of the kept ones has."""
        numbers = sorted(self._numbers(), reverse=True)
        if len(numbers) <= ENTRIES_MAX:
            return
        used: set[str] = set()
        applied = 0
        for place, number in enumerate(numbers):
            old = place >= ENTRIES_MAX
            found = None if old and applied >= APPLIED_KEPT else self._read(number)
            if found is None or (old and not found.did_apply):
                self._path(number).unlink(missing_ok=True)
                continue
            applied += found.did_apply
            if found.applied is not None:
                used.update(file.sha256 for file in found.applied.files)
        for path in (self.folder / "files").glob("[0-9a-f]*"):
            if path.name not in used:
                path.unlink(missing_ok=True)
