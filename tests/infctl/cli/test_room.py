"""A full disk is told before anything is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from infctl.cli import room
from infctl.errors import EngineError


def test_a_disk_with_room_is_fine(tmp_path: Path) -> None:
    room.check(tmp_path / "not" / "there" / "yet", needed=1)


def test_a_full_one_says_how_much_is_missing(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="is full: ") as caught:
        room.check(tmp_path / "home", needed=2**60)
    assert str(tmp_path) in caught.value.message
    assert "nothing was changed" in caught.value.hint
