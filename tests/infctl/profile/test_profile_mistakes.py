"""One test a kind of mistake, with the exact words: tests/golden/profiles/mistakes, input and answer side by side."""

# ruff: noqa: E501 - expected lines are read whole; an answer may be a value or an error

from __future__ import annotations

from pathlib import Path

import pytest

from infctl.profile.schema import Profile

GOLDEN = Path(__file__).parents[2] / "golden" / "profiles" / "mistakes"
TOP = "name: box\nmodels: {chat: {source: a/b, task: chat}}\n"


def _cases(name: str) -> list[tuple[str, str]]:
    """Blocks begin with ====; input and answer are divided by ----."""
    _, *blocks = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8").split("\n====\n")
    pairs = [block.split("\n----\n") for block in blocks]
    return [(text, answer.strip()) for text, answer in pairs]


@pytest.mark.parametrize(("text", "expected"), _cases("fields"))
def test_a_mistake_is_told_with_its_place_and_what_would_be_right(desk, text, expected):
    said = desk.says(f"{TOP}{text}\n")
    assert [line.removeprefix("box.yaml:") for line in said] == [expected]


@pytest.mark.parametrize(("lines", "expected"), _cases("models"))
def test_a_mistake_in_a_model_is_told_with_its_place(desk, with_model, lines, expected):
    said = desk.says(with_model(lines))
    assert [line.removeprefix("box.yaml:") for line in said] == [expected]


@pytest.mark.parametrize(("text", "expected"), _cases("wholes"))
def test_a_mistake_of_the_whole_is_told_with_its_place(desk, text, expected):
    said = [line.removeprefix("box.yaml:") for line in desk.says(text)]
    assert expected in said
    assert len(said) <= 2


def test_ten_mistakes_give_ten_located_problems(desk):
    said = desk.says("""
        version: 3
        name: Big Box
        runtme: docker
        models:
          chat:
            source: a/b
            task: chatt
            alias: [q, embed]
            replicas: two
          embed:
            task: embed
            gpu: -1
        edge: {https_port: 8000}
        gateway: {keys: {shared: sk-secret}, limits: {queue_timeout: 2 weeks}}
    """)
    assert [line.split(":", 3)[1] + " " + line.split("  ")[1].split(":")[0] for line in said] == [
        "1 version",
        "2 name",
        "3 runtme",
        "7 models/chat/task",
        "8 models/chat/alias",
        "9 models/chat/replicas",
        "10 models/embed/source",
        "12 models/embed/gpu",
        "13 edge/https_port",
        "14 gateway/keys/shared",
        "14 gateway/limits/queue_timeout",
    ]


def test_a_secret_is_never_repeated(desk, smallest):
    for text in (
        "gateway: {keys: sk-abcdefghijklmnopqrstuvwxyz}",
        "gateway: {keys: {admin: sk-abcdefghijklmnopqrstuvwxyz}}",
    ):
        said = desk.says(f"{smallest}{text}")
        assert len(said) == 1
        assert "sk-" not in said[0]


def test_problems_come_in_the_order_of_the_files(desk, smallest):
    said = desk.says(f"{smallest}logs: {{keep: 0}}\nruntme: x\n", "edge: {http2: 1}\n")
    assert [line.split("  ")[0] for line in said] == ["box.yaml:3:14", "box.yaml:4:1", "over1.yaml:1:15"]


def test_an_unknown_key_with_an_unset_variable_is_two_mistakes(desk, smallest):
    assert desk.says(f"{smallest}prot: ${{NOT}}\n") == [
        'box.yaml:3:1  prot: unknown key "prot" | known here: ' + ", ".join(Profile.model_fields),
        "box.yaml:3:7  prot: NOT is not set | set it in .env, or write ${NOT:-a default}",
    ]


def test_a_wrong_key_does_not_move_the_mistakes_below_it(desk, smallest):
    said = desk.says(f"{smallest}secrets:\n  bar-baz: {{generate: yes}}\n")
    assert [line.split(":", 3)[1] + " " + line.split("  ")[1].split(":")[0] for line in said] == [
        "4 secrets/bar-baz",
        "4 secrets/bar-baz/generate",
    ]


def test_without_models_the_other_mistakes_are_still_told(desk):
    said = desk.says("name: [a]\nmodels:\nedge: {tls: {protcols: x}}\nlogs: {keep: 0}\n")
    assert [line.split("  ")[1].split(":")[0] for line in said] == [
        "models",
        "name",
        "edge/tls/protcols",
        "logs/keep",
    ]


def test_a_list_whose_entries_are_wrong_is_not_called_empty(desk, smallest):
    said = desk.says(f"{smallest}edge: {{tls: {{protocols: [TLSv1.0]}}}}\n")
    assert [line.split("  ")[1].split(":")[0] for line in said] == ["edge/tls/protocols/0"]
