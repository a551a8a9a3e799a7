"""The one place that writes a trail: its own thread, a bounded queue, fsync in batches, rotation.

`record` costs the loop an append. What cannot be written stays queued and is tried again; what the queue has
no room for is lost, counted, and told in the chain as soon as that can be written again. A chain is held by a
lock: of several processes that write into one folder each has its own.

A file is never cut, but for a write that failed and was never synced. So after a crash a new file goes on
where the last whole record ended, and its first record tells what was left torn.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from gateway.audit import files
from gateway.audit.anchors import Anchor, Anchors, sync_folder
from gateway.audit.chain import Head, encoded, key_id, read, seal
from gateway.audit.seal import Signer
from gateway.audit.verify import torn

QUEUE_MAX: Final = 20_000
"""Records that wait for the disk."""
NEARLY_FULL: Final = 0.9
BATCH_S: Final = 0.1
"""Between two fsyncs."""
BATCH_MAX: Final = 2_000
RETRY_S: Final = 1.0
CHAINS_MAX: Final = 64
CLOSE_S: Final = 5.0

Facts = dict[str, Any]
Waiting = tuple[bytes, str | None, bool]
"""A record as JSON, with whose address belongs to it: a request's line is the log's own, made once. And
whether it is known to hold nothing to hide.
"""
Alarm = Callable[[str, Facts], None]
"""(what, facts): called from the writing thread."""


@dataclass(frozen=True, slots=True)
class Rules:
    rotate_bytes: int = 64 * 2**20
    keep_s: float = 90 * 86_400.0
    batch_s: float = BATCH_S
    retry_s: float = RETRY_S
    queue_max: int = QUEUE_MAX
    refuse: bool = False
    """Calls that might not be written down are refused."""


class Trail:
    """One writer's chain. Raises OSError where its folder cannot be used."""

    def __init__(
        self,
        folder: Path,
        anchors: Anchors,
        key: bytes | None,
        rules: Rules,
        *,
        alarm: Alarm,
        prepare: Callable[[Sequence[bytes]], Sequence[bytes]] = lambda lines: lines,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`prepare`: records as JSON -> as many, without what is to be hidden; in the writing thread."""
        self._folder = folder
        self._anchors = anchors
        self._key = key
        self._signer = Signer(key)
        self.rules = rules
        self._alarm = alarm
        self.prepare = prepare
        self.hashes = False
        """`prepare` changes what has nothing to hide as well."""
        self._wall = wall
        self._queue: deque[Waiting] = deque()
        self._wake = threading.Event()
        self._woken = False
        """It is set, or the thread is about to look into the queue."""
        self._closing = False
        self.failing = False
        """The last write failed."""
        self.lost = 0
        """Records that the queue had no room for."""
        self.written = 0
        self._told_lost = 0
        self._done = 0
        """Of the batch that is being written: what is on the disk."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.chain, self._lock = _take_chain(folder)
        self._head = Head()
        self._base, self._base_file = Head(), 1
        self._number = 0
        self._fd = -1
        self._size = 0
        """Of the file, in bytes that are synced."""
        self._opened_at = 0
        """Its size with its first record alone."""
        self._resume()
        self._worker = threading.Thread(target=self._run, name="audit", daemon=True)
        self._worker.start()

    @property
    def refusing(self) -> bool:
        """A call that began now might not be written down, and the profile would rather have none."""
        rules = self.rules
        return rules.refuse and (self.failing or len(self._queue) >= rules.queue_max * NEARLY_FULL)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def lag_s(self) -> float:
        """How long the oldest record has waited; a moment of a batch, whose records are out of the queue, is
        not seen.
        """
        try:
            since = datetime.fromisoformat(str(orjson.loads(self._queue[0][0]).get("ts")))
        except (IndexError, ValueError):
            return 0.0
        return max(0.0, self._wall() - since.timestamp())

    def record(self, facts: Facts) -> None:
        """Of whatever happened. Never waits, nor does `request`."""
        self._put((encoded(facts), None, False))

    def request(self, line: bytes, peer: str, *, clean: bool = False) -> None:
        """One request's end. `line`: of the log, with its newline. `clean`: nothing in it is to be hidden."""
        self._put((line, peer, clean))

    def _put(self, waiting: Waiting) -> None:
        if len(self._queue) >= self.rules.queue_max:
            self.lost += 1
            return
        self._queue.append(waiting)
        if not self._woken:
            self._woken = True
            self._wake.set()

    def close(self, limit_s: float = CLOSE_S) -> None:
        """Writes what is left, for at most so long."""
        self._closing = True
        self._wake.set()
        self._worker.join(limit_s)
        if not self._worker.is_alive():
            self._release()

    def _release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        os.close(self._lock)

    # The thread

    def _run(self) -> None:
        while True:
            self._wake.wait()
            if not self._closing:
                time.sleep(self.rules.retry_s if self.failing else self.rules.batch_s)
            self._wake.clear()
            self._woken = False  # in this order: what comes from here on is seen below, or wakes it again
            self._flush()
            if self._closing and (self.failing or not self._queue):
                return
            if self._queue:
                self._wake.set()

    def _flush(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_MAX))]
        lost = self.lost - self._told_lost
        if lost:
            batch.insert(0, (encoded({"event": "audit_lost", "ts": self._now(), "count": lost}), None, False))
        self._done = 0
        try:
            self._write(self._records(batch))
        except OSError as error:
            told = min(self._done, 1) if lost else 0
            self._told_lost += lost * told
            self._queue.extendleft(reversed(batch[max(self._done, 1 if lost else 0) :]))
            if not self.failing:
                self.failing = True
                self._alarm("audit_failed", {"why": error.strerror or str(error), "chain": self.chain})
            return
        self._told_lost += lost
        if lost:
            self._alarm("audit_lost", {"count": lost, "chain": self.chain})
        if self.failing and batch:
            self.failing = False
            self._alarm("audit_recovered", {"chain": self.chain})

    def _records(self, batch: Sequence[Waiting]) -> Sequence[bytes]:
        """As they are written: what was not looked through before is now."""
        lines, peer, tail = list[bytes](), "", _peer_field("")
        for line, who, _ in batch:
            if who is None:
                lines.append(line)
                continue
            if who != peer:
                peer, tail = who, _peer_field(who)
            lines.append(line[:-2] + tail)
        places = [at for at, waiting in enumerate(batch) if self.hashes or not waiting[2]]
        if places:
            for at, made in zip(places, self._prepared([lines[at] for at in places]), strict=True):
                lines[at] = made
        return lines

    def _prepared(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        """As many. What could not be prepared is not written as it is."""
        try:
            made = self.prepare(lines)
        except Exception:  # noqa: BLE001 - one by one below: only what it fails at is hidden
            made = ()
        if len(made) == len(lines):
            return made
        if len(lines) == 1:
            return [_hidden(lines[0])]
        return [one for line in lines for one in self._prepared([line])]

    def _write(self, batch: Sequence[bytes]) -> None:
        """All of it is on the disk and anchored when this returns. Raises OSError: `_done` of it are."""
        if not batch:
            return
        self._tidy()
        lines, size = list[bytes](), self._size
        count, prev = self._head.count, self._head.hash.encode()
        for record in batch:
            line, found = self._signer.sealed(record, count + 1, prev)
            if size + len(line) > self.rules.rotate_bytes and size > self._opened_at:
                self._commit(lines, Head(count, prev.decode()))
                self._done += len(lines)
                self._open("rotated")
                lines, size, count, prev = [], self._size, self._head.count, self._head.hash.encode()
                line, found = self._signer.sealed(record, count + 1, prev)
            lines.append(line)
            size += len(line)
            count, prev = count + 1, found
        self._commit(lines, Head(count, prev.decode()))
        self._done += len(lines)

    def _tidy(self) -> None:
        """What a failed write left behind, and was never synced, goes. Raises OSError."""
        if os.fstat(self._fd).st_size > self._size:
            os.ftruncate(self._fd, self._size)

    def _commit(self, lines: Sequence[bytes], head: Head) -> None:
        block = b"".join(lines)
        view = memoryview(block)
        while view:
            taken = os.write(self._fd, view)
            view = view[taken:]
        os.fsync(self._fd)
        self._anchors.save(
            self.chain, Anchor(head, self._number, self._base, self._base_file, round(self._wall(), 3))
        )
        self._head = head
        self._size += len(block)
        self.written += len(lines)

    def _open(self, why: str, left: Sequence[dict[str, object]] = ()) -> None:
        """A new file, whose first record says what it is. Raises OSError: the old one goes on."""
        number = self._number + 1
        path = self._folder / files.name(self.chain, number)
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        facts: Facts = {
            "event": "audit_file",
            "ts": self._now(),
            "why": why,
            "chain": self.chain,
            "file": number,
            "key": key_id(self._key),
        }
        if left:
            facts["torn"] = list(left)
        line, head = seal(encoded(facts), self._head, self._key)
        before = self._fd, self._number, self._size
        self._fd, self._number, self._size = opened, number, 0
        try:
            sync_folder(self._folder)
            self._commit([line], head)
        except OSError:
            os.close(opened)
            with contextlib.suppress(OSError):
                path.unlink()
            self._fd, self._number, self._size = before
            raise
        self._opened_at = self._size
        if before[0] >= 0:
            os.close(before[0])
        self._forget_old()

    def _forget_old(self) -> None:
        """Files whose time is over go, the oldest first; chain and anchor know from where it is kept."""
        limit = self._wall() - self.rules.keep_s
        mine = files.of_chains(self._folder).get(self.chain, [])
        old = []
        for file in mine[:-1]:
            if file.path.stat().st_mtime >= limit:
                break
            old.append(file)
        if not old:
            return
        first = next(iter(files.lines(mine[len(old)].path)), b"").rstrip(b"\n")
        found = read(first, self._key)
        if found is None:
            return
        self._base, self._base_file = Head(found.seq - 1, found.prev), mine[len(old)].number
        facts: Facts = {
            "event": "audit_removed",
            "ts": self._now(),
            "files": [file.path.name for file in old],
        }
        line, head = seal(encoded(facts), self._head, self._key)
        self._commit([line], head)
        for file in old:
            file.path.unlink()

    def _resume(self) -> None:
        """Goes on where the chain ended. What does not fit together is left for `verify` to tell."""
        anchor = self._anchors.load(self.chain)
        if anchor is not None:
            self._base, self._base_file, self._head = anchor.base, anchor.base_file, anchor.head
        mine = files.of_chains(self._folder).get(self.chain, [])
        self._number = max([mine[-1].number if mine else 0, anchor.file if anchor is not None else 0])
        left: list[dict[str, object]] = []
        for file in reversed(mine):
            last, rest = files.ending(file.path)
            if rest:
                left.insert(0, torn(file.path.name, rest))
            if last is None:
                continue
            found = read(last, self._key)
            if found is not None and found.seq >= self._head.count:
                self._head = Head(found.seq, found.hash)
            if found is None or not found.good:
                self._alarm("audit_unverified", {"chain": self.chain, "file": file.path.name})
            break
        if left:
            self._alarm("audit_torn", {"chain": self.chain, "torn": left})
        try:
            self._open("started", left)
        except OSError:
            os.close(self._lock)
            raise

    def _now(self) -> str:
        return (
            datetime.fromtimestamp(self._wall(), UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z")
        )


def _peer_field(peer: str) -> bytes:
    """The end of a record, in place of its line's own."""
    return b',"peer":%b}' % orjson.dumps(peer)


def _hidden(line: bytes) -> bytes:
    """In place of what could not be prepared: which request it was."""
    return encoded({"event": "audit_hidden", "request_id": str(orjson.loads(line).get("request_id"))})


def _take_chain(folder: Path) -> tuple[str, int]:
    """The first chain that nobody writes, and the lock that is held on it. Raises OSError."""
    for number in range(CHAINS_MAX):
        chain = f"w{number:02d}"
        lock = os.open(folder / f"{chain}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return chain, lock
    raise OSError(f"{folder}: {CHAINS_MAX} writers have it open already")
