"""The few facts about a GPU's generation that decide about memory, told by its name."""

from __future__ import annotations

import re
from typing import Literal

from infctl.sizing import Card

Generation = Literal["hopper", "blackwell", "older"]

_HOPPER = re.compile(r"\bG?H(100|200|800|20)")
_BLACKWELL = re.compile(r"\bG?B(100|200|300)|RTX PRO|RTX 50[5-9]0", re.IGNORECASE)


_DATA_CENTRE_BLACKWELL = re.compile(r"\bG?B(100|200|300)")


def capability(card: Card) -> int | None:
    """The major compute capability, of those generations whose backends ask for blocks of their own."""
    if card.cpu:
        return None
    if _DATA_CENTRE_BLACKWELL.search(card.name.upper()):
        return 10
    return 9 if generation(card) == "hopper" else None


def generation(card: Card) -> Generation:
    if _HOPPER.search(card.name.upper()):
        return "hopper"
    return "blackwell" if _BLACKWELL.search(card.name.upper()) else "older"
