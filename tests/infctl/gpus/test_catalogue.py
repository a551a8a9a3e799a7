"""What is known of cards by their name."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from infctl.gpus import CARDS, CATALOGUE, lookup, nearest
from infctl.gpus.catalogue import _key

GIB = 2**30


def test_there_are_at_least_thirty_cards_and_the_measured_ones_are_told_from_the_nominal() -> None:
    assert len(CARDS) >= 30
    assert sum(not card.nominal for card in CARDS) >= 15
    assert CATALOGUE["L4"] == int(22.05 * GIB)
    assert CATALOGUE["H100"] == 85_017_493_504


@pytest.mark.parametrize(
    ("written", "card"),
    [
        ("L4", "L4"),
        ("NVIDIA L4", "L4"),
        ("l4", "L4"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("H100 80GB HBM3", "H100"),
        ("H100 PCIe", "H100 PCIe"),
        ("A100-80GB", "A100 80GB"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("A100-PCIE-40GB", "A100 40GB"),
        ("RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("rtx4090", "RTX 4090"),
        ("4090", "RTX 4090"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-32GB", "V100 32GB"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000"),
    ],
)
def test_a_card_is_found_as_the_driver_and_as_people_write_it(written: str, card: str) -> None:
    found = lookup(written)
    assert found is not None
    assert found.name == card


@pytest.mark.parametrize("name", ["", "A100", "V100", "L5", "Radeon", "x" * 1000, "NVIDIA", "GeForce", "L4é"])
def test_what_is_not_one_card_is_none(name: str) -> None:
    assert lookup(name) is None


def test_the_three_nearest_are_offered_for_any_name() -> None:
    assert nearest("A100") == ("A100 40GB", "A100 80GB", "A10")
    assert nearest("RTX 9090") == ("RTX 3090", "RTX 4090", "RTX 5090")
    assert len(nearest("")) == 3
    assert len(set(nearest("qwertz", 5))) == 5


def test_no_two_cards_share_a_name() -> None:
    keys = Counter(_key(name) for card in CARDS for name in {card.name, *card.aliases})
    assert [key for key, count in keys.items() if count > 1] == []


def test_every_name_can_be_written_in_a_profile() -> None:
    assert [c.name for c in CARDS if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}", c.name)] == []


def test_no_card_has_more_than_its_label_and_none_lost_an_eighth() -> None:
    for card in CARDS:
        label = re.search(r"(\d+)GB", card.name)
        if label and "GH200" not in card.name:
            assert 0.87 * int(label[1]) < card.memory_bytes / GIB < int(label[1]), card
        assert (7, 0) <= card.capability <= (12, 9)
