"""The overlay of `infctl scale`: what may be asked, what it holds, and when it goes away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from infctl.cli import scaled
from infctl.errors import ProfileError, UsageError
from infctl.profile.loading import LoadedProfile, load
from infctl.stack import Layout


def written(folder: Path, **models: Any) -> LoadedProfile:
    found = {name: {"source": f"org/{name}", "task": "chat", **more} for name, more in models.items()}
    file = folder / "infctl.yaml"
    file.write_text(yaml.safe_dump({"name": "toy", "gpus": "8xL4", "models": found}))
    return load((file,), {"GATEWAY_API_KEY": "k"})


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path, tmp_path / ".infctl" / "toy")


def test_it_is_read_as_it_was_written(layout: Layout) -> None:
    scaled.write(layout, {"chat": 3, "embed": 1})
    assert scaled.read(layout) == {"chat": 3, "embed": 1}
    scaled.write(layout, {})
    assert not scaled.file_of(layout).exists()
    assert scaled.read(layout) == {}


def test_it_is_an_overlay_that_a_profile_takes(layout: Layout, tmp_path: Path) -> None:
    base = written(tmp_path, chat={"replicas": 1})
    scaled.write(layout, {"chat": 3})
    both = load((*base.sources, scaled.file_of(layout)), {"GATEWAY_API_KEY": "k"})
    assert both.profile.models["chat"].replicas == 3
    assert both.profile == scaled.over(base, {"chat": 3}).profile


@pytest.mark.parametrize(
    "text", ["", "{", "models: 3", "models: {chat: 3}", "models: {chat: {replicas: 0}}", "\x00"]
)
def test_a_damaged_one_says_what_to_do(layout: Layout, text: str) -> None:
    layout.home.mkdir(parents=True)
    scaled.file_of(layout).write_text(text)
    with pytest.raises(ProfileError) as caught:
        scaled.read(layout)
    assert "remove it" in caught.value.hint


def test_only_what_the_profile_does_not_say_itself_is_left(tmp_path: Path) -> None:
    base = written(tmp_path, chat={"replicas": 2}, other={"replicas": 1}, bare={})
    asked = {"chat": 2, "other": 4, "bare": 3, "gone": 2}
    assert scaled.beyond(base, asked) == {"other": 4}


def test_what_is_written_can_be_put_back(layout: Layout) -> None:
    undo = scaled.to_write(layout, {"chat": 3})()
    assert scaled.read(layout) == {"chat": 3}
    second = scaled.to_write(layout, {"chat": 4})()
    second()
    assert scaled.read(layout) == {"chat": 3}
    undo()
    assert not scaled.file_of(layout).exists()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("chat", "does not say how many"),
        ("=3", "does not say how many|no model"),
        ("chat=", "is no number"),
        ("chat=two", "is no number"),
        ("chat=1.5", "is no number"),
        ("chat=0", "cannot have 0 replicas"),
        ("chat=-1", "cannot have -1 replicas"),
        ("chat=65", "cannot have 65 replicas"),
        ("nobody=2", "there is no model 'nobody'"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(tmp_path: Path, word: str, said: str) -> None:
    base = written(tmp_path, chat={"replicas": 2})
    with pytest.raises(UsageError, match=said) as caught:
        scaled.asked([word], base)
    assert caught.value.hint


def test_a_model_is_named_once(tmp_path: Path) -> None:
    base = written(tmp_path, chat={"replicas": 2})
    assert scaled.asked(["chat=3"], base) == {"chat": 3}
    with pytest.raises(UsageError, match="named twice"):
        scaled.asked(["chat=3", "chat=2"], base)


def test_a_service_without_a_number_is_never_renamed(tmp_path: Path) -> None:
    base = written(tmp_path, chat={})
    assert scaled.asked(["chat=1"], base) == {"chat": 1}
    with pytest.raises(ProfileError) as caught:
        scaled.asked(["chat=2"], base)
    (problem,) = caught.value.problems
    assert problem.path == "models/chat"
    assert problem.where is not None
    assert "never renames" in problem.message
    assert "replicas: 1" in problem.hint


def test_a_name_that_would_be_taken_is_refused_at_its_place(tmp_path: Path) -> None:
    base = written(tmp_path, chat={"replicas": 1}, chat1={})
    with pytest.raises(ProfileError) as caught:
        scaled.over(base, {"chat": 2})
    assert any("chat1" in problem.message for problem in caught.value.problems)


def test_what_holds_is_told_with_the_way_back(tmp_path: Path) -> None:
    base = written(tmp_path, chat={"replicas": 2})
    (told,) = scaled.told(base, {"chat": 3})
    assert told.message == "infctl scale asked for 3, the profile says 2"
    assert told.where is not None
    assert "infctl scale chat=2" in told.hint
