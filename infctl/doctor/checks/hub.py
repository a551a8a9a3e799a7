"""Does the model hub take the token, and may it read every model that has to be fetched?"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, ok, skipped, warning
from infctl.models import cache, hub
from infctl.models.files import CONFIG
from infctl.models.source import MAIN
from infctl.profile.secrets import secret_values

ASK_S = 5.0
"""For one question."""
ANSWER_BYTES_MAX = 2 * 1024 * 1024
WHO = "/api/whoami-v2"

Answer = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True)
class Model:
    """One repository of the hub that the profile names."""

    hub_id: str
    revision: str
    path: str
    """In the profile."""
    cached: bool = False
    """Its files are here: nobody has to be asked."""


@dataclass(frozen=True, slots=True)
class Asked:
    model: Model
    error: hub.HubError | None = None
    """None: it may be read."""


def look(case: Case) -> Iterator[Finding]:
    models = wanted(case)
    if not models:
        yield skipped("no model comes from the hub")
        return
    missing = [model for model in models if not model.cached]
    if not missing:
        yield ok(f"all {len(models)} models of the hub are in the cache")
        return
    if case.offline or hub.offline(case.env):
        yield skipped("the hub was not asked (offline)")
        return
    token = _token(case)
    connection = hub.connect({**case.env, "HF_TOKEN": token}, ASK_S)
    try:
        accepted = accepts(connection) if token else "unknown"
        asked = tuple(ask(connection, model) for model in missing)
    finally:
        connection.close()
    yield from judge(asked, accepted, has_token=bool(token))


def judge(asked: Sequence[Asked], accepted: Answer, *, has_token: bool) -> Iterator[Finding]:
    """`accepted`: whether the hub knows the token's owner."""
    if accepted == "no":
        yield failure(
            "the hub does not know this token (401)",
            why="gated and private models cannot be fetched with it",
            fix="make a new one on the hub's page of tokens (read is enough), and set HF_TOKEN in .env",
            path="engines/hub_token",
        )
    silent = [one for one in asked if one.error is not None and one.error.why == "unreachable"]
    if silent:
        error = silent[0].error
        yield warning(
            f"the hub was not reached: {error}",
            why=f"{len(silent)} models are still to be fetched: {', '.join(_names(silent)[:4])}",
            fix="look at the network, HF_ENDPOINT and HTTPS_PROXY, or bring the files into the cache by hand",
        )
    for one in asked:
        error = one.error
        if error is None or error.why == "unreachable":
            continue
        hint = error.hint
        if error.why == "refused" and not has_token:
            hint = "accept its licence on the model's page, and set HF_TOKEN in .env to that account's token"
        yield failure(
            f"{one.model.hub_id}: {error}",
            why="its weights cannot be fetched, and no engine starts without them",
            fix=hint,
            path=one.model.path,
        )
    good = [one for one in asked if one.error is None]
    if good:
        with_token = " with the token" if has_token and accepted == "yes" else ""
        yield ok(f"the hub gives {len(good)} of {len(asked)} models{with_token}")


def wanted(case: Case) -> tuple[Model, ...]:
    """Each repository once, in profile order."""
    found: dict[tuple[str, str], Model] = {}
    for name, model in case.profile.models.items():
        if model.source.hub is not None:
            key = (model.source.hub, model.source.revision or MAIN)
            here = cache.snapshot(*key, cache_env(case)) is not None
            found.setdefault(key, Model(*key, f"models/{name}/source", here))
    return tuple(found.values())


def cache_env(case: Case) -> dict[str, str]:
    """Where the engines' weights lie: the profile's folder for containers, else as the hub's own library."""
    env = {name: value for name, value in case.env.items() if name not in {"HF_HUB_CACHE", "HF_HOME"}}
    if case.profile.runtime != "docker":
        return dict(case.env)
    folder = Path(case.profile.engines.cache).expanduser()
    return {**env, "HF_HOME": str((case.folder / folder).absolute())}


def accepts(connection: hub.Hub) -> Answer:
    """Whether the token is one that the hub gave out."""
    try:
        raw, _ = connection.get(f"{connection.endpoint}{WHO}", time.monotonic() + ASK_S, ANSWER_BYTES_MAX)
        return "yes" if isinstance(json.loads(raw), dict) else "unknown"
    except hub.HubError as error:
        return "no" if error.why == "refused" else "unknown"
    except ValueError:
        return "unknown"


def ask(connection: hub.Hub, model: Model) -> Asked:
    """Whether the model's config may be read. A hub that was silent once is not asked again."""
    if connection.down is not None:
        return Asked(model, connection.down)
    url = f"{connection.endpoint}/{model.hub_id}/resolve/{model.revision.replace('/', '%2F')}/{CONFIG}"
    try:
        connection.get(url, time.monotonic() + ASK_S, ANSWER_BYTES_MAX)
    except hub.HubError as error:
        if error.why == "unreachable":
            connection.down = error
        return Asked(model, error)
    return Asked(model)


def _token(case: Case) -> str:
    """The one that the engines' weights are fetched with."""
    named = case.profile.engines.hub_token
    if named is None or case.loaded is None:
        return case.env.get("HF_TOKEN", "").strip()
    return secret_values(case.loaded, case.env).get(named.name, "").strip()


def _names(asked: Sequence[Asked]) -> list[str]:
    return [one.model.hub_id for one in asked]
