"""infctl.lock: what is written is read back, and what is damaged is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from infctl import image_lock
from infctl.errors import ProfileError

DIGEST = "sha256:" + "0a" * 32


def test_what_is_written_is_read_back_sorted(tmp_path: Path) -> None:
    image_lock.write(tmp_path, {"nginx:1.31": DIGEST, "a/b:1": DIGEST})
    assert list(image_lock.read(tmp_path)) == ["a/b:1", "nginx:1.31"]
    assert image_lock.read(tmp_path)["nginx:1.31"] == DIGEST


def test_without_a_file_nothing_is_pinned(tmp_path: Path) -> None:
    assert image_lock.read(tmp_path) == {}
    assert image_lock.read(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(
    "text",
    [
        "images: {nginx: latest}",
        "images: [a]",
        "images: {1: 2}",
        "- a",
        "",
        "{",
        "version: 2\nimages: {}",
        f"images: {{nginx: '{DIGEST}0'}}",
        "2026-02-30",
    ],
)
def test_a_damaged_one_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    (tmp_path / image_lock.FILE).write_text(text)
    with pytest.raises(ProfileError) as caught:
        image_lock.read(tmp_path)
    (problem,) = caught.value.problems
    assert str(problem.where).startswith(str(tmp_path / image_lock.FILE))
    assert "infctl pull" in problem.hint
