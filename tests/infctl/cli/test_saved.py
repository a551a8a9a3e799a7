"""A saved diff: what it holds, when it is refused, and with which words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infctl.cli import saved as saving
from infctl.cli.saved import Saved
from infctl.errors import EngineError, UsageError
from infctl.stack import Service, Stack

THEN = Saved(
    name="toy",
    stack=Stack("toy", "process", (Service("chat", "engine", ("vllm",)),)),
    profiles={Path("/srv/infctl.yaml"): "aa"},
    scale={},
    files={"nginx.conf": "bb"},
    found={"nginx.conf": "changed cc"},
    observed={"chat": "runs 1 2"},
    actions=(("replace", "chat", "x"),),
)


def moved(**now: Any) -> list[str]:
    with pytest.raises(EngineError) as caught:
        saving.refuse_if_moved(THEN, replace(THEN, **now))
    assert caught.value.exit_code == 5
    assert "infctl diff shows what would change now" in caught.value.hint
    return [str(problem) for problem in caught.value.problems]


def test_it_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    file = tmp_path / "change.json"
    saving.write(file, THEN)
    assert saving.read(file) == THEN
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text())["version"] == 1


def test_nothing_moved_is_nothing_to_refuse() -> None:
    saving.refuse_if_moved(THEN, THEN)


def test_a_changed_profile_is_named() -> None:
    assert moved(profiles={Path("/srv/infctl.yaml"): "zz"}) == ["/srv/infctl.yaml was changed"]
    both = {Path("/srv/infctl.yaml"): "aa", Path("/srv/more.yaml"): "dd"}
    assert moved(profiles=both) == ["it was made from 1 profile files, and there are 2 now"]


def test_a_profile_of_the_same_bytes_elsewhere_is_the_same() -> None:
    saving.refuse_if_moved(THEN, replace(THEN, profiles={Path("/other/infctl.yaml"): "aa"}))


def test_another_platform_is_told_alone() -> None:
    assert moved(name="other", observed={}) == ["it was saved of toy, and this is other"]


def test_what_runs_is_compared_by_service() -> None:
    assert moved(observed={"chat": "down 1 2"}) == ["chat: what runs has changed"]
    assert moved(observed={"chat": "runs 1 2", "new": "runs 3 4"}) == ["new: what runs has changed"]


def test_a_rendered_file_that_was_edited_meanwhile_is_named() -> None:
    assert moved(found={"nginx.conf": "hand_edited cc"}) == ["nginx.conf: its rendered file was changed"]


def test_what_the_same_files_now_ask_for_is_named() -> None:
    other = Stack("toy", "process", (Service("chat", "engine", ("vllm", "--new")),))
    (said,) = moved(stack=other)
    assert said.startswith("chat: what is wanted has changed")


def test_other_actions_are_named_where_nothing_else_tells() -> None:
    assert moved(actions=(("reload", "chat", "y"),)) == [
        "chat: no longer to replace (x)",
        "chat: now to reload (y)",
    ]


def test_scaling_meanwhile_is_told() -> None:
    assert moved(scale={"chat": 3}) == ["infctl scale changed the number of replicas"]


def test_a_long_list_is_cut() -> None:
    told = moved(observed={f"s{number}": "runs" for number in range(40)})
    assert len(told) == 21
    assert told[-1] == "and 21 more"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"kind": "infctl diff"}', "\x00\x01"])
def test_what_is_not_ours_is_a_usage_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(UsageError, match="is not a diff that infctl saved"):
        saving.read(file)


def test_bytes_that_are_no_text_are_not_ours(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not a diff"):
        saving.read(file)


def test_a_newer_format_names_who_wrote_it(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    saving.write(file, THEN)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"version": 2, "writer": "9.9"}))
    with pytest.raises(UsageError, match=r"saved by infctl 9\.9 in format 2"):
        saving.read(file)


def test_a_profile_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        saving.read(Path("infctl.yaml"))
    assert caught.value.hint == "infctl up -f infctl.yaml"
    with pytest.raises(UsageError, match="there is no file"):
        saving.read(tmp_path / "nothing")
    with pytest.raises(UsageError, match="is a folder"):
        saving.write(tmp_path, THEN)
