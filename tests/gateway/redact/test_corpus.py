"""How much is found, and how much is found that is nothing: on a corpus with labels."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from gateway.redact import KINDS, Redactor

CORPUS = (Path(__file__).parent / "corpus.txt").read_text(encoding="utf-8")
LABEL = re.compile(r"\{\{(\w+)\|(.*?)\}\}")
MARK = re.compile(r"\[redacted:(\w+)\]")
HARD = "## known to be missed"


def cases(text: str) -> list[tuple[str, str]]:
    """(as it is, as it should be written)"""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [
        (LABEL.sub(lambda m: m[2], line).replace("\\n", "\n"), LABEL.sub(r"[redacted:\1]", line))
        for line in lines
    ]


@pytest.mark.parametrize(("text", "wanted"), cases(CORPUS.partition(HARD)[0]))
def test_a_line_is_hidden_as_its_labels_say(text, wanted):
    assert Redactor().text(text) == wanted.replace("\\n", "\n")


def test_precision_and_recall_over_all_of_it_the_hard_cases_too():
    found: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for text, expected in cases(CORPUS):
        here, there = Counter(MARK.findall(Redactor().text(text))), Counter(MARK.findall(expected))
        found += here
        wanted += there
        right += here & there
    for kind in KINDS:
        sys.stdout.write(
            f"{kind:12} precision {right[kind] / found[kind]:.3f} recall {right[kind] / wanted[kind]:.3f}"
            f" of {wanted[kind]}\n"
        )
    precision, recall = right.total() / found.total(), right.total() / wanted.total()
    sys.stdout.write(f"precision {precision:.3f} recall {recall:.3f} of {wanted.total()}\n")
    assert set(wanted) == set(KINDS)
    assert precision >= 0.95
    assert recall >= 0.95


def test_a_kind_that_is_not_asked_for_stays():
    text = "bob@example.org 4111 1111 1111 1111 192.0.2.17"
    assert Redactor(("card",)).text(text) == "bob@example.org [redacted:card] 192.0.2.17"
    assert Redactor(()).text(text) == text


def test_what_was_hidden_is_not_hidden_again():
    for text, _ in cases(CORPUS):
        once = Redactor().text(text)
        assert Redactor().text(once) == once
