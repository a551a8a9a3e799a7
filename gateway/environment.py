"""The reference platform's environment variables: they win over gateway.yaml. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from gateway import config as configuration
from gateway.config import Config, ConfigError

VARIABLES: Final = {
    "MAX_RPS_PER_IP": ("limits", "requests_per_second"),
    "RPS_BURST": ("limits", "burst"),
    "MAX_INFLIGHT_PER_IP": ("limits", "in_flight"),
    "ORG_DAILY_TOKEN_LIMIT": ("limits", "tokens_per_day"),
    "ORG_DAILY_REQUEST_LIMIT": ("limits", "requests_per_day"),
    "ORG_MONTHLY_TOKEN_LIMIT": ("limits", "tokens_per_month"),
    "MAX_REQUEST_SECS": ("timeouts", "total_s"),
    "STREAM_IDLE_TIMEOUT_SECS": ("timeouts", "stream_idle_s"),
    "QUEUE_TIMEOUT_SECS": ("queue", "timeout_s"),
    "CIRCUIT_FAILURE_THRESHOLD": ("breaker", "failures"),
    "CIRCUIT_RECOVERY_TIMEOUT": ("breaker", "recovery_s"),
    "CACHE_ENABLED": ("cache", "enabled"),
    "CACHE_TTL_SECS": ("cache", "ttl_s"),
    "CACHE_MAX_ENTRIES": ("cache", "entries"),
    "POOL_MAX_CONNECTIONS": ("upstream", "connections"),
    "POOL_MAX_KEEPALIVE": ("upstream", "keep_alive"),
}
"""Variable -> section and field. Times are bare seconds; yes and no are true and false."""

TRACING: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACING_HEADERS: Final = "OTEL_EXPORTER_OTLP_HEADERS"

_WORDS: Final = {"true": True, "false": False}


def apply(config: Config, env: Mapping[str, str], file: str) -> Config:
    """The configuration with what `env` says over it. Raises ConfigError: every variable that is wrong."""
    data: Any = None
    problems = []
    for variable, (section, field) in VARIABLES.items():
        text = env.get(variable, "").strip()
        if not text:
            continue
        data = data or msgspec.to_builtins(config)
        before = data[section][field]
        try:
            data[section][field] = _value(text)
            configuration.parse(data, file)
        except (ValueError, ConfigError):
            data[section][field] = before
            problems.append(f"{variable}={text!r} is no value for {section}.{field}")
    if problems:
        raise ConfigError(file, tuple(problems))
    return config if data is None else configuration.parse(data, file)


def traced(config: Config, env: Mapping[str, str], file: str) -> Config:
    """With OpenTelemetry's own variable for where traces go. Raises ConfigError."""
    endpoint = env.get(TRACING, "").strip()
    if not endpoint or endpoint == config.tracing.endpoint:
        return config
    data = msgspec.to_builtins(config)
    data["tracing"]["endpoint"] = endpoint
    try:
        return configuration.parse(data, file)
    except ConfigError:
        raise ConfigError(file, (f"{TRACING} is no address such as http://collector:4318",)) from None


def tracing_headers(env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """`name=value,name=value`, values as in a URL."""
    pairs = (pair.partition("=") for pair in env.get(TRACING_HEADERS, "").split(","))
    return tuple((name.strip().lower(), unquote(value.strip())) for name, _, value in pairs if value.strip())


def limits_set(env: Mapping[str, str]) -> tuple[str, ...]:
    """The figures of `limits` that `env` says."""
    return tuple(
        field
        for variable, (section, field) in VARIABLES.items()
        if section == "limits" and env.get(variable, "").strip()
    )


def _value(text: str) -> bool | float:
    """Raises ValueError."""
    word = _WORDS.get(text.lower())
    if word is not None:
        return word
    return float(text) if "." in text else int(text)
