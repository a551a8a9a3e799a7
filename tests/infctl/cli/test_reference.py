"""docs/cli.md says what the commands say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from infctl.cli import reference, shapes
from infctl.cli.app import app

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference.text(), (
        "python -m infctl.cli.reference > docs/cli.md"
    )


def test_every_command_has_an_example_in_its_help() -> None:
    for path, page in reference._pages():
        if path != "infctl":
            assert re.search(r"Examples?:\n\s+infctl ", page), path


def test_every_command_that_takes_json_has_a_shape_and_the_other_way_round() -> None:
    takes = {
        name
        for name, command in commands(get_command(app))
        if any("--json" in p.opts for p in command.params)
    }
    assert takes == set(shapes.BY_COMMAND)


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Those of groups too: `doctor`, `doctor logs`."""
    for name, command in getattr(group, "commands", {}).items():
        yield before + name, command
        yield from commands(command, f"{before}{name} ")
