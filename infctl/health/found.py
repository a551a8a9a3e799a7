"""What a look at a running platform found. A value only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["ok", "warning", "failure", "skipped"]


@dataclass(frozen=True, slots=True)
class Found:
    check: str
    """models, tls, metrics, store, audit, disk, time."""
    verdict: Verdict
    where: str
    """An address, a service, a folder."""
    what: str
    """In a line."""
    why: str = ""
    """Why it matters; of what was not looked at: why not."""
    fix: str = ""
    """What to do next."""

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


def ok(check: str, where: str, what: str) -> Found:
    return Found(check, "ok", where, what)


def warning(check: str, where: str, what: str, *, why: str = "", fix: str = "") -> Found:
    """It works, and is not as it should be."""
    return Found(check, "warning", where, what, why, fix)


def failure(check: str, where: str, what: str, *, why: str = "", fix: str = "") -> Found:
    """It does not work."""
    return Found(check, "failure", where, what, why, fix)


def skipped(check: str, where: str, why: str, *, fix: str = "") -> Found:
    return Found(check, "skipped", where, "not looked at", why, fix)
