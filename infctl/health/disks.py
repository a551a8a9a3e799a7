"""What is free on the disks that the platform writes to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from infctl.figure import gib
from infctl.health.found import Found, failure, ok, warning
from infctl.monitoring.exposed import Page

CHECK = "disk"
WARN_SHARE = 0.1
"""As the alert DiskNearlyFull."""
BAD_BYTES = 256 * 2**20
"""Below this a log's or an audit trail's next file may not fit."""
_USES = {"audit": "the audit trail", "store": "the counts"}


@dataclass(frozen=True, slots=True)
class Disk:
    where: str
    """A folder, or whose it is."""
    bytes: float
    free: float

    @property
    def share(self) -> float:
        return self.free / self.bytes if self.bytes else 0.0


def of_gateway(page: Page) -> Iterator[Disk]:
    """The gateway's own, as it sees them."""
    free = page.by("kind", "infctl_disk_free_bytes")
    for kind, whole in page.by("kind", "infctl_disk_bytes").items():
        if kind in free:
            yield Disk(f"gateway: {_USES.get(kind, kind)}", whole, free[kind])


def judge(disks: Iterable[Disk]) -> Iterator[Found]:
    known = tuple(disks)
    short = [disk for disk in known if disk.share < WARN_SHARE or disk.free < BAD_BYTES]
    for disk in short:
        full = disk.free < BAD_BYTES
        yield (failure if full else warning)(
            CHECK,
            disk.where,
            f"{gib(round(disk.free))} free of {gib(round(disk.bytes))} ({disk.share:.0%})",
            why="a full disk stops logs, counts and the audit trail, and with them calls",
            fix="df -h shows what is full; docs/runbooks/DiskNearlyFull.md says what may go",
        )
    if known and not short:
        least = min(known, key=lambda disk: disk.share)
        yield ok(CHECK, ", ".join(disk.where for disk in known), f"{gib(round(least.free))} free or more")
