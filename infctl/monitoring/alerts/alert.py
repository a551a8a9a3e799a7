"""One alert, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["page", "ticket", "none"]


@dataclass(frozen=True, slots=True)
class Alert:
    name: str
    """Also of its page: docs/runbooks/<name>.md."""
    subject: str
    """Its group."""
    severity: Severity
    expr: str
    wait: str
    """How long it has to be so; empty: at once."""
    summary: str
    """One sentence; may hold {{ $labels.x }}, and no number, which changes while one reads."""
