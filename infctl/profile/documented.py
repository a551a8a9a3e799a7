"""Every variable that a platform listens to: what it means, in which unit, and what holds without it. Pure.

For `.env.example`. The defaults are the profile's own, whatever `.env` says by now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infctl.profile.environment import VARIABLES
from infctl.profile.loading import LoadedProfile
from infctl.profile.schema import Profile, SecretSource
from infctl.profile.secrets import SecretUse, secret_uses


@dataclass(frozen=True, slots=True)
class Documented:
    name: str
    meaning: str
    default: str = ""
    """What holds where it is not set; of secrets nothing is known."""
    required: bool = False
    section: str = ""
    """Its neighbours are said together with it."""


_KEYS = "Keys"
_LIMITS = "Limits and times, for all tenants alike"
_TRACES = "Traces: spans of each call, for OpenTelemetry"
_OWN = "Variables of the profile"

_SECRETS: dict[str, str] = {
    "gateway/keys/shared": "the key your clients send: Authorization: Bearer ...",
    "gateway/keys/admin": "for /admin; without it the clients' key opens /admin too",
    "gateway/keys/backend": "between the gateway and the engines; without it the engines ask for none",
    "monitoring/grafana/admin_password": "of Grafana's first user, taken at its first start only",
    "engines/hub_token": "of the Hugging Face hub, for gated models",
    "monitoring/alerts/webhook": "where alerts are posted",
    "gateway/store/url": "redis://... of the store that several gateways share",
    "gateway/audit/hmac_key": "signs the audit trail",
}
_TOKEN = "HF_TOKEN"  # noqa: S105 - a variable's name

_MEANINGS: dict[str, str] = {
    "MAX_RPS_PER_IP": "requests per second of one tenant, steady",
    "RPS_BURST": "requests at once of one tenant after a pause",
    "MAX_INFLIGHT_PER_IP": "requests of one tenant that are not answered yet",
    "QUEUE_TIMEOUT_SECS": "seconds a request waits for a place at an engine, then 503",
    "ORG_DAILY_TOKEN_LIMIT": "tokens of one tenant a UTC day, prompts and answers together",
    "ORG_DAILY_REQUEST_LIMIT": "requests of one tenant a UTC day",
    "ORG_MONTHLY_TOKEN_LIMIT": "tokens of one tenant a UTC month",
    "MAX_REQUEST_SECS": "seconds from a request's first byte to its answer's last",
    "STREAM_IDLE_TIMEOUT_SECS": "seconds between two pieces of an answer",
    "CIRCUIT_FAILURE_THRESHOLD": "failures of an engine in a row, then it gets a pause",
    "CIRCUIT_RECOVERY_TIMEOUT": "seconds of that pause",
    "CACHE_ENABLED": "true or false: answers that depend on nothing but the call are kept",
    "CACHE_TTL_SECS": "seconds an answer is kept",
    "CACHE_MAX_ENTRIES": "answers kept at most",
    "POOL_MAX_CONNECTIONS": "connections to all engines together, at once",
    "POOL_MAX_KEEPALIVE": "idle ones of them that are kept",
}


def documented(loaded: LoadedProfile) -> tuple[Documented, ...]:
    """Each variable once: keys, then limits, then what the profile itself names."""
    found: dict[str, Documented] = {}
    written = loaded.as_written or loaded.profile
    for one in (*_secrets(loaded.profile), *_limits(written), *_tracing(written), *_own(loaded)):
        found.setdefault(one.name, one)
    return tuple(found.values())


def _secrets(profile: Profile) -> Iterator[Documented]:
    for use in secret_uses(profile):
        source = profile.secrets.get(use.name, SecretSource())
        if source.file is None:
            grafana = use.path == "monitoring/grafana/admin_password"
            required = use.required and not source.generate
            default = "admin" if grafana else ""
            yield Documented(source.env or use.name, _meaning(use, source), default, required, _KEYS)
    hub = any(model.source.hub is not None for model in profile.models.values())
    if hub and profile.engines.hub_token is None:
        yield Documented(_TOKEN, _SECRETS["engines/hub_token"], section=_KEYS)


def _meaning(use: SecretUse, source: SecretSource) -> str:
    words = use.message or _SECRETS.get(use.path) or f"a key of the tenant {use.path.split('/')[2]}"
    return f"{words}; infctl up makes one up" if source.generate else words


def _limits(profile: Profile) -> Iterator[Documented]:
    for variable, path in VARIABLES.items():
        value: Any = profile
        for step in path.split("/"):
            value = getattr(value, step)
        text = str(value).lower() if isinstance(value, bool) else f"{value:.15g}"
        yield Documented(variable, _MEANINGS[variable], text, section=_LIMITS)


def _tracing(profile: Profile) -> Iterator[Documented]:
    where = (
        "address of the collector, OTLP over HTTP, such as http://collector:4318; without it none are sent"
    )
    endpoint = profile.monitoring.tracing.endpoint or ""
    yield Documented("OTEL_EXPORTER_OTLP_ENDPOINT", where, endpoint, section=_TRACES)
    what = "headers for it: name=value,name=value, with its key where it asks for one"
    yield Documented("OTEL_EXPORTER_OTLP_HEADERS", what, section=_TRACES)


def _own(loaded: LoadedProfile) -> Iterator[Documented]:
    for name, (path, default) in loaded.variables.items():
        yield Documented(name, f"{path} of the profile", default, not default, _OWN)
