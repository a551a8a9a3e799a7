"""A plan's question to what is known: the model's name in the profile, its arguments, a card. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from infctl.calibration.known import Calibration, key, model_name
from infctl.models import ModelFacts
from infctl.profile.schema import Model
from infctl.sizing import Card, EngineArgs, Measured
from infctl.sizing.defaults import pools, resolve

Lookup = Callable[[str, EngineArgs, Card], Measured | None]
"""(the model's name in the profile, its arguments as the profile has them, the card) -> what was measured."""


def lookup(calibration: Calibration, models: Mapping[str, Model], facts: Mapping[str, ModelFacts]) -> Lookup:
    """Answers with what an engine with these arguments measured here, filled up from its neighbours.

    The engine may have been started with more than these arguments say: with the bytes that a plan chose.
    Then its parts are known, and not its cache.
    """

    def ask(model: str, args: EngineArgs, card: Card) -> Measured | None:
        known = replace(facts[model], pooling=pools(facts[model], args))
        name = model_name(models[model].source)
        return calibration.best(key(name, resolve(known, args, card), card, args.vllm))

    return ask
