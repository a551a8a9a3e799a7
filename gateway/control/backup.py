"""All that a store keeps, as one document, and that document taken into another store.

    figures, keys     what was set at run time; keys by their hash alone, and when each was last used
    counts            of the windows that are open: what is leased at that moment counts as used, for nobody
                      here can know what becomes of it
    usage             the history, by day, tenant and model
    audit             where each chain of the trail stood: in the new box's trail they are written down first

Restored counts are added to what is there, once: the same document again changes nothing more. A key that was
revoked here stays revoked, whatever an older document says of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

import msgspec

from gateway.audit.anchors import FileAnchors
from gateway.config import AMOUNT_MAX
from gateway.control.changes import Change
from gateway.live import Live
from gateway.policy.exchange import Exchange, Line, Use
from gateway.policy.keys import Key
from gateway.policy.limits import MEASURES
from gateway.refusal import Refusal
from gateway.store.protocol import Settings, Store
from gateway.version import version

FORMAT: Final = 1
HISTORY_S: Final = 400 * 86_400
LINES: Final = 400
"""Of one exchange."""


class Count(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    counter: str
    period: str
    settled: int
    unknown: int


class Chain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of the audit trail."""

    chain: str
    records: int
    hash: str


class Backup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    made_at: float
    """Unix seconds, by the store's clock."""
    gateway: str
    """The version that wrote it."""
    figures: dict[str, str]
    keys: tuple[Key, ...]
    used: dict[str, float]
    """Key -> when it was last used, Unix seconds."""
    counts: tuple[Count, ...]
    usage: tuple[Use, ...]
    audit: tuple[Chain, ...]
    format: Literal[1] = 1


class Restored(msgspec.Struct, frozen=True):
    """How much of each was in the document."""

    figures: int
    keys: int
    counts: int
    usage: int


def made(store: Store, chains: Sequence[Chain]) -> Backup:
    """On the store's thread, once all workers have told what they have used. Raises StoreDown."""
    settings, clock_s = store.settings(), store.clock_s()
    counts = [
        Count(one.counter, one.period, one.settled + one.leased, one.unknown + one.leased)
        for one in store.overview()
        if one.period
    ]
    since = time.strftime("%Y-%m-%d", time.gmtime(clock_s - HISTORY_S))
    until = time.strftime("%Y-%m-%d", time.gmtime(clock_s))
    return Backup(
        id=uuid4().hex,
        made_at=clock_s,
        gateway=version(),
        figures=dict(settings.figures),
        keys=settings.keys,
        used=dict(store.used()),
        counts=tuple(counts),
        usage=tuple(store.usage(since, until)),
        audit=tuple(chains),
    )


def chains(live: Live) -> list[Chain]:
    """Where the audit trail of this box stands. Raises OSError."""
    audit = live.settings.config.audit
    if audit.folder is None:
        return []
    anchors = FileAnchors(Path(audit.anchors or f"{audit.folder}-anchors"))
    found = []
    for chain in anchors.chains():
        anchor = anchors.load(chain)
        if anchor is not None:
            found.append(Chain(chain, anchor.head.count, anchor.head.hash))
    return found


def read(raw: bytes) -> Backup:
    """Raises Refusal (400) for what is no backup, or one of another time."""
    try:
        head = msgspec.json.decode(raw, type=dict[str, Any])
        if head.get("format") != FORMAT:
            written = str(head.get("gateway", "another program"))[:40]
            raise Refusal(
                400,
                "invalid_request",
                f"This backup has the format {str(head.get('format'))[:20]}, and this gateway reads format"
                f" {FORMAT}: {written} wrote it. Restore it with that version.",
                param="format",
            )
        found = msgspec.convert(head, Backup, strict=False)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Refusal(400, "invalid_request", f"This is no backup of a gateway: {error}.") from None
    for count in found.counts:
        code = count.counter.partition("|")[0]
        if MEASURES.get(code) is None or not 0 <= count.unknown <= count.settled <= AMOUNT_MAX:  # type: ignore[call-overload]
            message = f"This backup counts {count.settled} of {count.counter[:80]!r}: nothing was restored."
            raise Refusal(400, "invalid_request", message, param="counts")
    return found


def change(found: Settings, backup: Backup) -> Change[Restored]:
    """Keys and limits: the backup's own, where there are others of the same name. Once revoked, always."""
    figures = {scope: said for scope, said in backup.figures.items() if found.figures.get(scope) != said}
    there = {key.id: key for key in found.keys}
    keys = {
        key.id: key
        for key in backup.keys
        if (known := there.get(key.id)) is None or (known.revoked_s is None and known != key)
    }
    said = Restored(len(backup.figures), len(backup.keys), len(backup.counts), len(backup.usage))
    return Change(said, dict(figures), dict(keys))


def exchanges(backup: Backup) -> Iterator[Exchange]:
    """What adds its counts to a store: each by a worker that has lived for it alone."""
    lines = [_line(count) for count in backup.counts]
    for number, begin in enumerate(range(0, max(len(lines), len(backup.usage), 1), LINES)):
        part = slice(begin, begin + LINES)
        yield Exchange(
            f"restore:{backup.id}:{number}", 1, tuple(lines[part]), backup.usage[part], leaving=True
        )


def _line(count: Count) -> Line:
    measure = MEASURES[count.counter.partition("|")[0]]  # type: ignore[index]
    return Line(
        count.counter, "quota", measure.span, AMOUNT_MAX, 0.0, count.period, count.settled, count.unknown
    )
