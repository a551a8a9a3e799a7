"""The few facts about a GPU's generation that decide about memory: by its capability, else by its name."""

from __future__ import annotations

import re
from typing import Literal

from infctl.sizing import Card

Generation = Literal["hopper", "blackwell", "older"]

_HOPPER = re.compile(r"\bG?H(100|200|800|20)", re.IGNORECASE)
_DATA_CENTRE_BLACKWELL = re.compile(r"\bG?B(100|200|300)", re.IGNORECASE)
_OTHER_BLACKWELL = re.compile(r"RTX PRO|RTX 50[5-9]0", re.IGNORECASE)


def capability(card: Card) -> int | None:
    """The major compute capability. By name alone: of those generations that matter here, else None."""
    if card.cpu:
        return None
    if card.capability is not None:
        return card.capability[0]
    if _DATA_CENTRE_BLACKWELL.search(card.name):
        return 10
    if _OTHER_BLACKWELL.search(card.name):
        return 12
    return 9 if _HOPPER.search(card.name) else None


def generation(card: Card) -> Generation:
    major = capability(card) or 0
    if major == 9:
        return "hopper"
    return "blackwell" if major >= 10 else "older"
