"""What is written down of requests: who redacts it, and the audit trail. Wired in app.py.

A request's end is one call: `live.audit.request(line, peer)`, with its log line; where audit is off,
`live.audit` is None. A trail that cannot be written is an alarm in the log, a warning in /health/detailed and
a metric; whether calls are refused meanwhile (503 audit_unavailable) is `audit.on_failure`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import metrics
from gateway.audit.anchors import FileAnchors
from gateway.audit.record import preparing
from gateway.audit.writer import Alarm, Rules, Trail
from gateway.config import Audit
from gateway.metrics import Metrics, Sample
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.redact import Redactor

__all__ = ["Recording", "Trail", "Unopened"]


class Recording:
    """The redactor and the trail of one process; either may be None."""

    def __init__(self, settings: Settings) -> None:
        self.redactor: Redactor | None = None
        self.trail: Trail | Unopened | None = None
        self.why = ""
        """The trail cannot be written."""
        self._hash_key: bytes | None = None
        self._hidden: Counter[str] = Counter()
        self._counted: Counter[tuple[str, str]] = Counter()
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Redaction as it is now asked for. The trail itself is that of the start."""
        redaction, audit = settings.config.redaction, settings.config.audit
        if self.redactor is not None:
            self._hidden += self.redactor.counts
        self.redactor = None
        if redaction.enabled:
            from gateway.redact import Redactor  # noqa: PLC0415 - 5 MB that only who redacts needs

            self.redactor = Redactor(redaction.kinds, settings.secrets)
        self._hash_key = settings.audit_key if audit.tenant == "hashed" else None
        if isinstance(self.trail, Trail):
            self.trail.prepare = preparing(self.redactor, self._hash_key)
            self.trail.hashes = self._hash_key is not None

    def hide(self) -> Callable[[bytes], bytes] | None:
        """What the log's lines go through; None: they are written as they are."""
        if self.redactor is None:
            return None
        from gateway.redact.lines import Lines  # noqa: PLC0415 - as above

        return Lines(self.redactor).block

    def open(self, settings: Settings, alarm: Alarm) -> Trail | Unopened | None:
        """Where audit is on. A folder that cannot be used is an alarm, and a trail that only counts."""
        audit = settings.config.audit
        if audit.folder is None:
            return None
        try:
            self.trail = Trail(
                Path(audit.folder),
                FileAnchors(Path(audit.anchors or f"{audit.folder}-anchors")),
                settings.audit_key,
                _rules(audit),
                alarm=alarm,
                prepare=preparing(self.redactor, self._hash_key),
            )
            self.trail.hashes = self._hash_key is not None
        except OSError as error:
            self.trail = Unopened(refuse=audit.on_failure == "refuse")
            alarm("audit_failed", {"why": error.strerror or str(error), "folder": audit.folder})
        return self.trail

    def close(self) -> None:
        if isinstance(self.trail, Trail):
            self.trail.close()

    def warnings(self) -> list[str]:
        return [f"the audit trail cannot be written: {self.why}"] if self.why else []

    def count(self, numbers: Metrics) -> None:
        """What has come to the counts since the last time."""
        found = self._hidden + (self.redactor.counts if self.redactor is not None else Counter())
        now = Counter({("hidden", kind): count for kind, count in found.items()})
        if self.trail is not None:
            now["written", ""], now["lost", ""] = self.trail.written, self.trail.lost
        for (what, kind), by in (now - self._counted).items():
            if what == "hidden":
                numbers.count(metrics.REDACTIONS, (kind,), by)
            else:
                numbers.count(metrics.AUDIT_RECORDS if what == "written" else metrics.AUDIT_LOST, by=by)
        self._counted = now

    def gauges(self) -> Iterator[Sample]:
        if self.trail is not None:
            yield metrics.AUDIT_WAITING, (), self.trail.waiting
            yield metrics.AUDIT_LAG, (), self.trail.lag_s
            yield metrics.AUDIT_FAILING, (), float(self.trail.failing)


class Unopened:
    """In place of a trail whose folder could not be used: nothing is written, all of it is counted."""

    failing = True
    written = 0
    waiting = 0
    lag_s = 0.0

    def __init__(self, *, refuse: bool) -> None:
        self.refusing = refuse
        self.lost = 0

    def record(self, _facts: dict[str, Any]) -> None:
        self.lost += 1

    def request(self, _line: bytes, _peer: str, *, clean: bool = False) -> None:  # noqa: ARG002
        self.lost += 1


def _rules(audit: Audit) -> Rules:
    return Rules(rotate_bytes=audit.rotate_bytes, keep_s=audit.keep_s, refuse=audit.on_failure == "refuse")
