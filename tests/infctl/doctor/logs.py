"""A log of tests/golden/vllm_logs: vLLM's lines, and what stands before them: the profile they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infctl.errors import PlanError
from infctl.gpus import Gpu
from infctl.gpus import for_profile as cards
from infctl.models import ModelFacts
from infctl.models.source import for_profile as facts_for
from infctl.plan import Plan, plan
from infctl.profile.builtin import builtin_profiles
from infctl.profile.loading import LoadedProfile, load

FOLDER = Path(__file__).parents[2] / "golden" / "vllm_logs"
FILE = "profile.yaml"
BARE = {"name": "bare", "gateway": {"keys": {"shared": "${GATEWAY_API_KEY}"}}}


@dataclass(frozen=True)
class Log:
    name: str
    about: str
    """How it came to be."""
    service: str
    profile: Mapping[str, Any]
    """The base's name, and what of it is other."""
    lines: tuple[str, ...]


def read(name: str) -> Log:
    text = (FOLDER / f"{name}.log").read_text(encoding="utf-8").splitlines()
    head = [line.removeprefix("#").strip() for line in text if line.startswith("#")]
    values = {
        key: line.partition(": ")[2]
        for line in head
        for key in ("service", "profile")
        if line.startswith(key)
    }
    about = " ".join(line for line in head if not line.startswith(("service", "profile")))
    lines = tuple(line for line in text if not line.startswith("#"))
    return Log(name, about, values["service"], yaml.safe_load(values["profile"]), lines)


def loaded(log: Log) -> LoadedProfile:
    """In the current folder."""
    changes = dict(log.profile)
    base = changes.pop("base")
    text = BARE if base == "bare" else yaml.safe_load(builtin_profiles()[base].read_text())
    Path(FILE).write_text(yaml.safe_dump(_over(text, changes), sort_keys=False))
    keys = dict.fromkeys(("GATEWAY_API_KEY", "BACKEND_API_KEY", "ADMIN_API_KEY"), "a key of the tests")
    return load((Path(FILE),), keys)


@dataclass(frozen=True)
class Known:
    """What there is to plan with; no plan where the profile does not fit as it is."""

    plan: Plan | None
    facts: Mapping[str, ModelFacts]
    gpus: tuple[Gpu, ...]


def known(profile: LoadedProfile) -> Known:
    """Of configs that infctl carries."""
    env = {"HOME": str(Path.cwd())}
    found = facts_for(profile.profile, folder=profile.base, env=env, where=profile.where, offline=True)
    gpus = cards(profile.profile.gpus, profile.where)
    try:
        return Known(plan(profile.profile, gpus, found.facts, where=profile.where), found.facts, gpus)
    except PlanError:
        return Known(None, found.facts, gpus)


def _over(base: Any, changes: Any) -> Any:
    """None takes a key away."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    merged = {**base, **{key: _over(base.get(key), value) for key, value in changes.items()}}
    return {key: value for key, value in merged.items() if value is not None}
