"""What all rooms of a running gateway share: the configuration in force, the counts, the log.

A reload makes a new `Settings` and sets it in one assignment: a request sees the old one or the new one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.admission import Admission
from gateway.caching import Caching
from gateway.client import Client
from gateway.log import Journal
from gateway.metrics import Metrics
from gateway.policy.balancer import Backend, Balancer
from gateway.policy.hedge import Hedges
from gateway.policy.outlier import Outliers
from gateway.policy.retry import Retries
from gateway.recording import Recording, Trail, Unopened
from gateway.settings import Settings
from gateway.stories import Stories
from gateway.tenants import Tenants
from gateway.workers.link import Link


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What became of a reload. `problems`: it was refused for these, and nothing has changed."""

    problems: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    """Backends that are not in the new configuration."""


@dataclass(slots=True)
class Live:
    settings: Settings
    balancer: Balancer
    admission: Admission
    retries: Retries
    hedges: Hedges
    outliers: Outliers
    caching: Caching
    client: Client
    metrics: Metrics
    journal: Journal
    tenants: Tenants
    started_at: float
    """The loop's clock."""
    created: float
    """Seconds since 1970."""
    loaded: float = 0.0
    """When the settings in force were taken over, in seconds since 1970."""
    certificate_end: float | None = None
    """Of the edge, in seconds since 1970."""
    draining: bool = False
    warnings: list[str] = field(default_factory=list)
    """What an operator should know; shown by /health/detailed."""

    standing: list[str] = field(default_factory=list)
    """Of those: what only another start can mend."""

    leaving: set[Backend] = field(default_factory=set)
    """Gone from the configuration, with requests still to end."""

    reload: Callable[[], Reloaded] = Reloaded
    """Reads the configuration anew, as SIGHUP does; wired in app.py."""

    recording: Recording | None = None
    """What redacts and keeps what is written of requests."""
    audit: Trail | Unopened | None = None
    """`record(facts)` at each request's end; None: no trail is kept."""

    stories: Stories | None = None
    """Of the last calls; None: none are kept."""

    finish_traces: Callable[[], None] = lambda: None
    """Sends what is left of them; wired in app.py where somebody traces."""

    link: Link | None = None
    """To the other workers of this gateway; None: this process is all of it."""
