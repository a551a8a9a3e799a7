"""Reads a trail and names the first break of each chain: which file, line and record, and what kind.

changed     bytes of a record are not what was written, or another record stands in its place
gap         records are missing in between, or a whole file
reordered   a record stands where another belongs
cut         the tail is missing: the anchor knows of more
wrong_key   all of it was signed with another key than the one given

A last line that breaks off is no break: a writer that was killed leaves one. It is told as torn, unless the
anchor says that the line was whole on the disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gateway.audit import files
from gateway.audit.anchors import Anchor, FileAnchors
from gateway.audit.chain import Head, Sealed, key_id, read
from gateway.audit.files import TrailFile

Kind = Literal["changed", "gap", "reordered", "cut", "wrong_key"]


@dataclass(frozen=True, slots=True)
class Break:
    kind: Kind
    file: str
    line: int
    """From 1; of `cut`: behind the last one."""
    record: int
    """The `seq` that should stand there."""
    what: str


@dataclass(slots=True)
class Verdict:
    """One chain."""

    chain: str
    records: int = 0
    """Good ones, up to the first break."""
    files: int = 0
    head: Head = field(default_factory=Head)
    anchored: bool = False
    broken: Break | None = None
    notes: list[str] = field(default_factory=list)
    """What is no break, and still worth knowing."""


class _Broken(Exception):  # noqa: N818 - it is what was found, not an error
    def __init__(self, found: Break) -> None:
        super().__init__(found.what)
        self.found = found


def verify(folder: Path, key: bytes | None, anchors: FileAnchors | None) -> list[Verdict]:
    """Every chain in the folder, and those that only an anchor still knows. Raises OSError."""
    found = files.of_chains(folder)
    names = sorted({*found, *(anchors.chains() if anchors is not None else ())})
    return [
        verify_chain(name, found.get(name, ()), key, anchors.load(name) if anchors is not None else None)
        for name in names
    ]


def verify_chain(chain: str, trail: Sequence[TrailFile], key: bytes | None, anchor: Anchor | None) -> Verdict:
    """Raises OSError."""
    verdict = Verdict(chain, anchored=anchor is not None)
    try:
        _Walk(verdict, trail, key, anchor).run()
    except _Broken as broken:
        verdict.broken = broken.found
    return verdict


class _Walk:
    def __init__(
        self, verdict: Verdict, trail: Sequence[TrailFile], key: bytes | None, anchor: Anchor | None
    ) -> None:
        base_file = anchor.base_file if anchor is not None else 1
        self._verdict = verdict
        self._trail = [file for file in trail if file.number >= base_file]
        self._key = key
        self._anchor = anchor
        self._head = anchor.base if anchor is not None else Head()
        self._known = anchor is not None
        """Where the chain begins; else the first file says so."""
        self._torn: list[tuple[str, int, bytes]] = []
        """(file, line, its bytes): to be told of by the next whole record."""

    def run(self) -> None:
        verdict = self._verdict
        for file in self._trail:
            verdict.files += 1
            line = 0
            for line, raw in enumerate(files.lines(file.path), start=1):
                if raw.endswith(b"\n"):
                    self._whole(file, line, raw[:-1])
                else:
                    self._broken_off(file, line, raw)
        verdict.head = self._head
        last = self._trail[-1].path.name if self._trail else ""
        if self._anchor is not None and self._head.count < self._anchor.head.count:
            self._cut(last, self._lines_of_last() + 1)
        for name, line, raw in self._torn:
            verdict.notes.append(
                f"{name}:{line}: torn: {len(raw)} bytes of record {self._head.count + 1}: a writer was killed"
            )
        if self._anchor is None:
            verdict.notes.append("no anchor: a cut tail cannot be told")

    def _lines_of_last(self) -> int:
        return sum(1 for _ in files.lines(self._trail[-1].path)) if self._trail else 0

    def _cut(self, name: str, line: int) -> None:
        assert self._anchor is not None  # noqa: S101 - asked before
        missing = self._anchor.head.count - self._head.count
        what = f"{missing} records are missing at the end: {self._anchor.head.count} had been written"
        raise _Broken(Break("cut", name, line, self._head.count + 1, what))

    def _broken_off(self, file: TrailFile, line: int, raw: bytes) -> None:
        begin = b'{"seq":%d,"prev":"%b"' % (self._head.count + 1, self._head.hash.encode())
        whole = read(raw[:-1], self._key)
        if not (raw.startswith(begin) or begin.startswith(raw)) or (whole is not None and whole.good):
            what = "the last line breaks off, and is not the beginning of the record that belongs there"
            raise _Broken(Break("changed", file.path.name, line, self._head.count + 1, what))
        self._torn.append((file.path.name, line, raw))

    def _whole(self, file: TrailFile, line: int, raw: bytes) -> None:
        name, head = file.path.name, self._head
        found = read(raw, self._key)
        if found is None or not found.good:
            raise _Broken(self._changed(file, line, found))
        if not self._known:
            self._known = True
            if line == 1 and found.seq > 1 and file is self._trail[0]:
                self._head = head = Head(found.seq - 1, found.prev)
                self._verdict.notes.append(f"begins with record {found.seq}: what was before is not here")
        if found.seq != head.count + 1:
            raise _Broken(self._misplaced(name, line, found))
        if found.prev != head.hash:
            what = "it hangs on another record than the one before it"
            raise _Broken(Break("changed", name, line, found.seq, what))
        anchor = self._anchor
        if anchor is not None and found.seq == anchor.head.count and found.hash != anchor.head.hash:
            what = "it is not the record that the anchor knows"
            raise _Broken(Break("changed", name, line, found.seq, what))
        if line == 1:
            self._explain_torn(name, found)
        self._head = Head(found.seq, found.hash)
        self._verdict.records += 1

    def _explain_torn(self, name: str, first: Sealed) -> None:
        """A writer that starts tells what the one before it left unfinished."""
        told = first.facts.get("torn", [])
        if told != [torn(file, raw) for file, _, raw in self._torn]:
            file, line = self._torn[0][:2] if self._torn else (name, 1)
            what = "what breaks off before it is not what it tells of"
            raise _Broken(Break("changed", file, line, first.seq, what))
        self._verdict.notes += [
            f"{file}:{line}: torn: {len(raw)} bytes, told of when the writer restarted"
            for file, line, raw in self._torn
        ]
        self._torn = []

    def _changed(self, file: TrailFile, line: int, found: Sealed | None) -> Break:
        record = self._head.count + 1
        first = line == 1 and self._verdict.records == 0  # else some were good, with this key
        if first and found is not None and found.facts.get("key") not in {None, key_id(self._key)}:
            others = [read(raw[:-1], self._key) for raw in _first(files.lines(file.path), 3)]
            if not any(other is not None and other.good for other in others):
                what = f"signed with the key {found.facts['key']}; the one given is {key_id(self._key)}"
                return Break("wrong_key", file.path.name, line, record, what)
        what = "it is no record any more" if found is None else "its hash is not that of its bytes"
        return Break("changed", file.path.name, line, record, what)

    def _misplaced(self, name: str, line: int, found: Sealed) -> Break:
        wanted = self._head.count + 1
        if found.seq < wanted:
            return Break("reordered", name, line, wanted, f"record {found.seq} stands here again")
        if any(other.seq == wanted for other in self._rest()):
            return Break(
                "reordered", name, line, wanted, f"record {found.seq} stands here, {wanted} further on"
            )
        missing = f"record {wanted}" if found.seq == wanted + 1 else f"records {wanted} to {found.seq - 1}"
        return Break("gap", name, line, wanted, f"missing: {missing}")

    def _rest(self) -> Iterator[Sealed]:
        for file in self._trail:
            for raw in files.lines(file.path):
                found = read(raw.rstrip(b"\n"), self._key)
                if found is not None and found.good:
                    yield found


def torn(file: str, raw: bytes) -> dict[str, object]:
    """What a starting writer says of a line that breaks off."""
    return {"file": file, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def _first(lines: Iterable[bytes], count: int) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        if number >= count:
            return
        yield line
