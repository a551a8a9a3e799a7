"""A dataclass as a parameter of a command is an option for each of its fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from infctl.cli.grouped import grouped


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    rate: Annotated[float | None, typer.Option("--rate", "-r", min=0, help="A second")] = None
    quick: Annotated[bool, typer.Option("--quick/--slow")] = True


def program() -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @grouped
    def run(model: Annotated[str, typer.Argument()] = "chat", *, pace: Pace, count: int = 3) -> None:
        """Measure."""
        typer.echo(f"{model} {pace} {count}")

    return app


def test_the_fields_are_options_and_come_back_as_one_value() -> None:
    told = CliRunner().invoke(program(), ["sql", "-r", "2.5", "--slow", "--count", "4"])
    assert told.output.strip() == "sql Pace(rate=2.5, quick=False) 4"


def test_what_is_left_out_has_the_fields_default_and_help_tells_of_each() -> None:
    assert CliRunner().invoke(program(), []).output.strip() == "chat Pace(rate=None, quick=True) 3"
    page = CliRunner().invoke(program(), ["--help"]).output
    assert "A second" in page
    assert "--slow" in page
    assert "pace" not in page
    assert CliRunner().invoke(program(), ["--rate", "-1"]).exit_code == 2
