"""From the lines of a failed start to what was wrong, where, and what would fit. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infctl.doctor.places import place
from infctl.doctor.startup import blame, heard
from infctl.doctor.startup.explanation import Explanation
from infctl.doctor.startup.proposals import Asked, others, proposals
from infctl.engine import causes
from infctl.gpus import Gpu
from infctl.models import ModelFacts
from infctl.plan import Plan
from infctl.plan.asks import UNKNOWN_MEMORY, Sizer
from infctl.plan.engine_args import engine_args
from infctl.profile.loading import LoadedProfile
from infctl.profile.schema import Profile
from infctl.profile.schema.models import Source

CONTAINER = "vllm-"
"""Before a service's name: its container's."""
_ALONE = {
    "neighbour on the GPU": "a process that is none of this platform's holds the rest",
    "memory profiling disturbed": "a process that is none of this platform's did it",
}
"""Where no other engine is planned onto the card."""


def explain(
    lines: Sequence[str],
    service: str,
    loaded: LoadedProfile,
    plan: Plan | None = None,
    *,
    facts: Mapping[str, ModelFacts] | None = None,
    gpus: tuple[Gpu, ...] = (),
    last_exit: str = "",
    machine_bytes: int = UNKNOWN_MEMORY,
) -> Explanation:
    """`lines`: of the service's log, its last start in them. `service`: `chat0`, or `vllm-chat0`.

    `plan`: that it was started from. Where the profile can no longer be planned, `facts` of its models and
    the cards do; without either nothing is re-planned. `machine_bytes`: of the machine, where engines run on
    its CPU. Nothing raises: of what is not recognised the telling lines are shown.
    """
    found = causes.find(lines, last_exit)
    if found is None:
        told = tuple(causes.telling(lines))
        what = last_exit or "its log tells no cause that is known"
        return Explanation(service, "", what, log=told)
    profile = loaded.profile
    model = model_of(service, profile, plan)
    path = blame.path_of(found.key, found.words, service, model, profile)
    known, cards = (plan.facts, plan.gpus) if plan is not None else (facts, gpus)
    asked = None
    if model and known is not None:
        asked = _asked(lines, found, model, loaded, known, cards, machine_bytes)
    offered = proposals(asked) if asked is not None else ()
    further = _further(asked, found.key) if asked is not None else ()
    return Explanation(
        service=service,
        key=found.key,
        what=found.why + _neighbours(found.key, service, plan),
        path=path,
        where=place(loaded, path),
        written=_written(loaded, path),
        proposals=offered,
        others=further,
        do=found.do,
        lasting=found.lasting,
        log=tuple(causes.telling(lines, found.line)),
    )


def model_of(service: str, profile: Profile, plan: Plan | None) -> str:
    """The model's name in the profile; empty: it is no engine."""
    bare = service.removeprefix(CONTAINER)
    replica = next((r for r in plan.replicas if r.service == bare), None) if plan is not None else None
    if replica is not None:
        return replica.model
    plain = bare.rstrip("0123456789")
    return next((name for name in (bare, plain) if name in profile.models), "")


def _asked(
    lines: Sequence[str],
    found: causes.Finding,
    model: str,
    loaded: LoadedProfile,
    facts: Mapping[str, ModelFacts],
    gpus: tuple[Gpu, ...],
    machine_bytes: int,
) -> Asked:
    profile = loaded.profile
    measured = heard.measured(lines, found.key, found.words)
    known = heard.lookup(model, engine_args(profile.models[model]), measured, facts.get(model))
    sizer = Sizer(profile.models, facts, known, machine_bytes=machine_bytes)
    return Asked(found.key, found.words, model, profile, gpus, sizer, loaded.where)


_REPLANNED = frozenset({"no KV cache memory", "weights do not fit", "no room for a token"})
"""Causes where smaller weights, more cards and the like are worth telling."""


def _further(asked: Asked, key: str) -> tuple[str, ...]:
    if key == "neighbour on the GPU":
        return ("or end what holds the card's memory: nvidia-smi names it",)
    return others(asked) if key in _REPLANNED else ()


def _neighbours(key: str, service: str, plan: Plan | None) -> str:
    """Who else is planned onto the card that was not free."""
    if key not in _ALONE or plan is None:
        return ""
    bare = service.removeprefix(CONTAINER)
    mine = {g.index for r in plan.replicas if r.service == bare for g in r.gpus}
    beside = [r.service for r in plan.replicas if r.service != bare and mine & {g.index for g in r.gpus}]
    if beside:
        return f"; on the same card: {', '.join(beside)}"
    return f"; no other engine is planned onto it, so {_ALONE[key]}" if mine else ""


def _written(loaded: LoadedProfile, path: str) -> str:
    """The value as a person wrote it, where it is one word."""
    if not path or not loaded.writes(path):
        return ""
    value: object = loaded.profile
    for step in path.split("/"):
        value = value.get(step) if isinstance(value, dict) else getattr(value, step, None)
    if isinstance(value, Source):
        value = value.hub or value.path or value.package
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
