"""Jinja, strict: a name the template uses and nobody gives is an error, and nothing is escaped for HTML."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

_PACKAGE = Path(__file__).resolve().parent.parent


def folder() -> Path:
    """The templates of the wheel, else those of the checkout."""
    installed = _PACKAGE / "_data" / "templates"
    return installed if installed.is_dir() else _PACKAGE.parent / "templates"


def fill(name: str, values: dict[str, Any]) -> str:
    return _environment().get_template(name).render(values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - costs 40 ms

    return Environment(
        loader=FileSystemLoader(folder()),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - no HTML comes out; every value is checked by its renderer
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
