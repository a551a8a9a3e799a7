"""Of which generation a card is."""

from __future__ import annotations

import pytest

from infctl.gpus import CARDS
from infctl.gpus.catalogue import CatalogueCard
from infctl.sizing import Card
from infctl.sizing.hardware import capability, generation


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_the_name_of_a_known_card_says_what_its_capability_says(card: CatalogueCard) -> None:
    named = Card(card.name, card.memory_bytes)
    told = Card(card.name, card.memory_bytes, capability=card.capability)
    assert generation(named) == generation(told)
    assert generation(Card(f"NVIDIA {card.aliases[0] if card.aliases else card.name}", 1)) == generation(told)


def test_the_capability_of_a_card_wins_over_its_name() -> None:
    assert generation(Card("some card", 1, capability=(9, 0))) == "hopper"
    assert generation(Card("some card", 1, capability=(12, 1))) == "blackwell"
    assert generation(Card("H100", 1, capability=(8, 9))) == "older"


def test_a_cpu_has_none() -> None:
    assert capability(Card("H100", 1, cpu=True)) is None
    assert generation(Card("CPU", 1, cpu=True)) == "older"
