"""`-f a -f b`: what wins, what goes, and that grouping does not matter."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from infctl.profile.data import fill_in
from infctl.profile.overlay import normal, over
from infctl.profile.tree import read
from tests.examples import examples

BASE = """
name: box
models:
  chat: {source: {hub: a/b, revision: v1}, task: chat, alias: [q], max_model_len: 8192, gpu: {share: s}}
  embed: {source: c/d, task: embed}
logs: {keep: 3, max_size: 1MiB}
"""


def test_later_files_win_key_by_key(desk):
    profile = desk.load(BASE, "logs: {keep: 4}\nmodels: {chat: {max_model_len: 4096}}").profile
    assert (profile.logs.keep, profile.logs.max_size) == (4, 2**20)
    assert profile.models["chat"].max_model_len == 4096
    assert profile.models["chat"].alias == ("q",)


def test_lists_are_taken_whole(desk):
    assert desk.load(BASE, "models: {chat: {alias: [r]}}").profile.models["chat"].alias == ("r",)


def test_a_null_takes_a_key_away(desk):
    profile = desk.load(BASE, "models: {embed: null, chat: {max_model_len: ~}}\nlogs: {keep: ~}").profile
    assert list(profile.models) == ["chat"]
    assert profile.models["chat"].max_model_len is None
    assert profile.logs.keep == 5


def test_models_merge_by_name_also_as_a_list(desk):
    profile = desk.load(
        BASE, "models:\n- {name: chat, replicas: 2, gpu: auto}\n- {name: more, source: e/f, task: chat}"
    ).profile
    assert list(profile.models) == ["chat", "embed", "more"]
    assert profile.models["chat"].replicas == 2
    assert profile.models["chat"].max_model_len == 8192


def test_a_source_of_another_kind_takes_the_place_of_the_first(desk):
    chat = desk.load(BASE, "models: {chat: {source: {path: weights}, gpu: {index: 1}}}").profile.models[
        "chat"
    ]
    assert (chat.source.hub, chat.source.path, chat.source.revision) == (None, "weights", None)
    assert (chat.gpu.index, chat.gpu.share) == (1, None)


def test_a_revision_alone_pins_the_source_below(desk):
    chat = desk.load(BASE, "models: {chat: {source: {revision: v2}}}").profile.models["chat"]
    assert (chat.source.hub, chat.source.revision) == ("a/b", "v2")


def test_the_place_is_that_of_the_file_that_won(desk):
    loaded = desk.load(BASE, "logs: {keep: 4}")
    assert str(loaded.where("logs/keep")) == "over1.yaml:1:14"
    assert str(loaded.where("logs/max_size")) == "box.yaml:5:27"
    assert str(loaded.where("models/chat/source/revision")) == "box.yaml:3:39"
    assert str(loaded.where("models/chat/replicas")) == "box.yaml:3:9"


def test_a_mistake_in_an_overlay_is_told_there(desk):
    assert desk.says(BASE, "logs: {keep: 0}") == ["over1.yaml:1:14  logs/keep: 0 is too small | at least 1"]


def test_the_first_files_folder_is_the_base(desk):
    (desk.folder / "sub").mkdir()
    loaded = desk.load(BASE, "logs: {keep: 4}")
    assert loaded.base == desk.folder
    assert loaded.resolve("../x.crt") == (desk.folder.parent / "x.crt").resolve()


KEYS = st.sampled_from(["models", "chat", "source", "gpu", "hub", "path", "index", "share", "name", "logs"])
LEAVES = st.sampled_from([None, 1, "x", True])
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES,
        lambda inner: st.one_of(st.dictionaries(KEYS, inner, max_size=3), st.lists(inner, max_size=2)),
        max_leaves=6,
    ),
    min_size=1,
    max_size=3,
)


def _tree(data: dict[str, Any]):
    tree, _ = read(yaml.safe_dump(data), "f")
    return normal(tree)[0]


@settings(max_examples=examples(300), deadline=None)
@given(TREES, TREES, TREES)
def test_grouping_does_not_matter(a, b, c):
    x, y, z = _tree(a), _tree(b), _tree(c)
    left, right = over(over(x, y), z), over(x, over(y, z))
    assert fill_in(left, {}, ".env").value == fill_in(right, {}, ".env").value


def test_grouping_does_not_matter_where_a_null_stands_between_two_mappings():
    for between in (None, "x", [1]):
        x, y, z = (_tree({"logs": value}) for value in ({"path": 1}, between, {"hub": 2}))
        left, right = over(over(x, y), z), over(x, over(y, z))
        assert fill_in(left, {}, ".env").value == fill_in(right, {}, ".env").value == {"logs": {"hub": 2}}
