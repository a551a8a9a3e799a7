"""The screen of a diff: wide, narrow, and in ASCII."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infctl.cli.consequences import Setting
from infctl.cli.diff_screen import lines
from infctl.engine.model import Action, Observed
from infctl.files import Change
from infctl.stack import Service, Stack

SERVICES = (
    Service("chat0", "engine", (), models=("chat",)),
    Service("chat1", "engine", (), models=("chat",)),
    Service("text2sql", "engine", (), models=("text2sql",)),
    Service("gateway", "gateway", ()),
    Service("nginx", "edge", ()),
)
WHERE = Setting(Stack("inference-platform", "docker", SERVICES), None, Observed(supervised=True), {}, {}, {})
EFFECT = "KV tokens 80,400 -> 79,900"
CAUSE = "--max-model-len 8192 -> 16384"
ROLLED = (
    Action("replace", "chat0", CAUSE, EFFECT, 0.0),
    Action("replace", "chat1", CAUSE, EFFECT, 0.0),
    Action("reload", "gateway", "gateway.yaml changed", "", 0.0),
)


def test_a_row_an_action_with_effect_and_absence_and_the_same_said_once() -> None:
    assert lines(WHERE, ROLLED, (), 140) == [
        "inference-platform · 2 to replace, 1 to reload, 2 unchanged",
        "",
        f"  ~ chat0    replace   {CAUSE}   {EFFECT}   away 0 s (drained, one at a time)",
        "  ~ chat1    replace   same",
        "  ↻ gateway  reload    gateway.yaml changed                                         away 0 s",
    ]


def test_in_a_narrow_window_effect_and_absence_go_below() -> None:
    assert lines(WHERE, ROLLED[:1], (), 60) == [
        "inference-platform · 1 to replace, 4 unchanged",
        "",
        "  ~ chat0  replace   --max-model-len 8192 -> 16384",
        "                     KV tokens 80,400 -> 79,900",
        "                     away 0 s (drained, one at a time)",
    ]


def test_a_long_cause_is_wrapped_under_itself() -> None:
    words = " ".join(f"word{number}" for number in range(12))
    out = lines(WHERE, (Action("replace", "chat0", words, "", 0.0),), (), 60)
    assert all(len(line) <= 60 for line in out)
    assert out[3].startswith(" " * 21 + "word")


def test_equal_rows_of_different_models_are_not_called_the_same() -> None:
    away = (Action("replace", "chat0", "x", "", 41.0), Action("replace", "text2sql", "x", "", 41.0))
    assert "same" not in "\n".join(lines(WHERE, away, (), 140))


def test_who_will_be_away_is_said_in_a_sentence() -> None:
    out = lines(WHERE, (Action("replace", "text2sql", "x", "", 41.0),), (), 140)
    assert out[-1] == "text2sql is away for about 41 s"


def test_what_is_odd_about_what_runs_is_a_note() -> None:
    odd = replace(WHERE, observed=Observed(supervised=True, notes=("docker compose would make it anew",)))
    assert lines(odd, (), (), 100)[-1] == "note: docker compose would make it anew"


@pytest.mark.parametrize(
    ("changes", "head"),
    [
        ((), "inference-platform · nothing to change"),
        ((Change("nginx.conf", "changed"),), "inference-platform · no service to change, 1 file to write"),
    ],
)
def test_where_no_service_changes_that_is_said(changes: tuple[Change, ...], head: str) -> None:
    assert lines(WHERE, (), changes, 100) == [head]


def test_networks_and_volumes_to_be_made_are_a_row_each() -> None:
    made = [Action("create", f"network {name}", "not there") for name in ("frontend", "backend")]
    made += [Action("create", f"volume {name}", "not there") for name in ("keys", "cache")]
    made += [Action("replace", "network backend", "it has a way out -> it has none")]
    assert lines(WHERE, made, (), 100)[2:] == [
        "  + networks         create    frontend, backend",
        "  + volumes          create    keys, cache",
        "  ~ network backend  replace   it has a way out -> it has none",
    ]


def test_without_utf8_it_is_ascii() -> None:
    text = "\n".join(lines(WHERE, ROLLED, (), 100, utf8=False))
    assert text.isascii()
    assert "* gateway" in text
    assert "?" not in text
