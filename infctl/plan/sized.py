"""The plan with bytes: the one to call. Pure.

engine_args   a profile's model -> what decides about its memory
asks          ... x a card -> what it asks for
packing       which replica on which card
allot         one card's bytes -> who gets what
sites         settings, start order, what is wrong
draft         all of it, for one profile as it is
remedies      what would make it fit          idle   what else would fit
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from infctl.calibration.lookup import Lookup
from infctl.errors import PlanError, Problem, Where, nowhere
from infctl.gpus import Gpu
from infctl.models import ModelFacts
from infctl.plan.asks import UNKNOWN_MEMORY, Sizer, nothing_measured
from infctl.plan.draft import draft
from infctl.plan.idle import idle_memory
from infctl.plan.kept import NOTHING_RUNS, Running
from infctl.plan.model import Plan
from infctl.plan.packing import TooFewCards
from infctl.plan.remedies import NO_CHANGE, hint, hint_for_cards
from infctl.profile.schema import Profile
from infctl.sizing import DEPLOYED, Vllm

HINTED = 4
"""Failures for which changes are sought: each search plans the profile a hundred times."""
LATER = "what would make it fit is told once those above do"


def plan(
    profile: Profile,
    gpus: tuple[Gpu, ...],
    facts: Mapping[str, ModelFacts],
    *,
    where: Where = nowhere,
    measured: Lookup = nothing_measured,
    vllm: Vllm = DEPLOYED,
    machine_bytes: int = UNKNOWN_MEMORY,
    running: Running = NOTHING_RUNS,
) -> Plan:
    """`facts`: by the model's name in the profile; a model without is placed by count, and a warning says so.

    `measured`: what an engine reported that started here with these arguments (as the profile has them).
    `machine_bytes`: of the machine, where engines run on its CPU. `running`: by service, the
    flags that engines run with now; they stay where they are as good as what would be written.

    Raises PlanError with every problem: its place, by how much it does not fit, and what would.
    """
    sizer = Sizer(profile.models, facts, measured, vllm, machine_bytes)
    try:
        found = draft(profile, gpus, sizer, where, running)
    except TooFewCards as short:
        more = hint_for_cards(short.model, short.needed, profile, gpus, sizer)
        # Counting cards is enough only where nobody knows the bytes.
        more = more or (NO_CHANGE if sizer.knows(short.model) else "")
        problems = [replace(problem, hint=more or problem.hint) for problem in short.problems]
        raise PlanError(short.message, problems=problems) from None
    if found.failures:
        problems = [
            Problem(
                failure.message,
                failure.path,
                where(failure.path),
                hint(failure, profile, gpus, sizer, found) if number < HINTED else LATER,
            )
            for number, failure in enumerate(found.failures)
        ]
        raise PlanError("the models do not fit the GPUs", problems=problems)
    planned = found.plan(gpus, facts, where)
    return replace(planned, idle_memory=idle_memory(profile, gpus, sizer, found))
