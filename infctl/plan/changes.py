"""A change of the profile that the plan proposes, and whether it would work. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from infctl.calibration.lookup import Lookup
from infctl.errors import PlanError, nowhere
from infctl.gpus import Gpu
from infctl.models import ModelFacts
from infctl.plan.asks import Sizer
from infctl.plan.draft import Draft, draft
from infctl.profile.check import placement
from infctl.profile.schema import Profile
from infctl.sizing import Card, EngineArgs, Measured


@dataclass(frozen=True, slots=True)
class Change:
    """What to write instead."""

    says: str
    """As a person would write it: `max_model_len: 8192`."""
    model: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of the model, as the schema keeps them."""
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Fields of other models."""
    gpus: tuple[Gpu, ...] | None = None
    """Other cards instead of those that are there."""
    facts: ModelFacts | None = None
    """Of other weights for the model."""


def tried(change: Change, profile: Profile, gpus: tuple[Gpu, ...], sizer: Sizer) -> Draft | None:
    """The draft of the changed profile, with whatever still fails in it.

    None: it cannot even be placed, or the profile would be refused before any plan.
    """
    models = dict(profile.models)
    for name, fields in {**change.beside, change.model: change.fields}.items():
        models[name] = models[name].model_copy(update=dict(fields))
    changed = profile.model_copy(update={"models": models})
    if not _wrong(changed) <= _wrong(profile):
        return None
    facts = dict(sizer.facts) if change.facts is None else {**sizer.facts, change.model: change.facts}
    # What is known of one model with the same arguments holds in the changed profile too.
    other = replace(sizer, models=models, facts=facts)
    if change.facts is not None:
        # What was measured of the model's own weights says nothing of these.
        other = replace(other, measured=_without(change.model, sizer.measured), _asks={}, _needs={})
    try:
        return draft(changed, change.gpus or gpus, other, nowhere)
    except PlanError:
        return None


def _without(model: str, measured: Lookup) -> Lookup:
    """What was measured of the others."""

    def ask(name: str, args: EngineArgs, card: Card) -> Measured | None:
        return None if name == model else measured(name, args, card)

    return ask


def _wrong(profile: Profile) -> frozenset[tuple[str, str]]:
    """What contradicts itself in it, whichever cards there are: those are the plan's to compare."""
    anywhere = profile.gpus.model_copy(update={"devices": ()})
    found = placement.check(profile.model_copy(update={"gpus": anywhere}))
    return frozenset((finding.path, finding.message) for finding in found)
