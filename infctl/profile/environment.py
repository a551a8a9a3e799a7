"""The reference platform's environment variables, which win over the profile's own limits.

Precedence: key > tenant > environment variable > profile > built-in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from gateway.config import read_env
from infctl.errors import Location, Problem, ProfileError
from infctl.profile.mistakes import words
from infctl.profile.schema import Profile
from infctl.profile.schema.base import Section
from infctl.profile.tree import position, resolve

VARIABLES: dict[str, str] = {
    "MAX_RPS_PER_IP": "gateway/limits/requests_per_second",
    "RPS_BURST": "gateway/limits/burst",
    "MAX_INFLIGHT_PER_IP": "gateway/limits/in_flight",
    "QUEUE_TIMEOUT_SECS": "gateway/limits/queue_timeout",
    "ORG_DAILY_TOKEN_LIMIT": "gateway/quotas/tokens_per_day",
    "ORG_DAILY_REQUEST_LIMIT": "gateway/quotas/requests_per_day",
    "ORG_MONTHLY_TOKEN_LIMIT": "gateway/quotas/tokens_per_month",
    "MAX_REQUEST_SECS": "gateway/timeouts/total",
    "STREAM_IDLE_TIMEOUT_SECS": "gateway/timeouts/stream_idle",
    "CIRCUIT_FAILURE_THRESHOLD": "gateway/breaker/failures",
    "CIRCUIT_RECOVERY_TIMEOUT": "gateway/breaker/recovery",
    "CACHE_ENABLED": "gateway/cache/enabled",
    "CACHE_TTL_SECS": "gateway/cache/ttl",
    "CACHE_MAX_ENTRIES": "gateway/cache/entries",
    "POOL_MAX_CONNECTIONS": "gateway/upstream/connections",
    "POOL_MAX_KEEPALIVE": "gateway/upstream/keep_alive",
}
"""Variable -> field. The ones that end in SECS, and CIRCUIT_RECOVERY_TIMEOUT, are bare seconds."""

S = TypeVar("S", bound=Section)

FILE_BYTES_MAX = 1024 * 1024


def read_environment(base: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """`.env` beside the first profile, with the process's own environment over it.

    Raises ProfileError when .env exists and cannot be read.
    """
    path = base / ".env"
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
        text = raw.decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return dict(environ)
    except OSError as error:
        raise ProfileError(
            f"{path} cannot be read",
            problems=[Problem(f"cannot be read: {error.strerror}", where=Location(str(path), 1, 1))],
        ) from None
    except UnicodeDecodeError as error:
        where = position(raw[: error.start].decode("utf-8", "replace"), error.start, str(path))
        raise ProfileError(
            f"{path} is not UTF-8", problems=[Problem("not UTF-8", where=where, hint="save it as UTF-8")]
        ) from None
    if len(raw) > FILE_BYTES_MAX:
        problem = Problem("larger than 1 MiB", where=Location(str(path), 1, 1), hint="one variable a line")
        raise ProfileError(f"{path} is too large", problems=[problem])
    return {**read_env(text), **environ}


def apply_environment(
    profile: Profile, env: Mapping[str, str]
) -> tuple[Profile, dict[str, str], tuple[Problem, ...]]:
    """The profile with the variables applied, {path: variable} of those, and what is wrong with them."""
    applied: dict[str, str] = {}
    problems: list[Problem] = []
    for variable, path in VARIABLES.items():
        text = env.get(variable, "").strip()
        if not text:
            continue
        try:
            profile = _with(profile, path.split("/"), resolve(text))
        except ValidationError as error:
            message, hint = words(error.errors()[0], path.split("/"))
            problems.append(
                Problem(f"{variable}={text}: {message}", path, hint=f"{hint}, in the environment or .env")
            )
        else:
            applied[path] = variable
    return profile, applied, tuple(problems)


def _with(section: S, path: list[str], value: object) -> S:
    """A copy with one field set, validated, and known to be set."""
    field, *rest = path
    new = _with(getattr(section, field), rest, value) if rest else value
    kept = {name: getattr(section, name) for name in section.model_fields_set}
    return type(section).model_validate({**kept, field: new})
