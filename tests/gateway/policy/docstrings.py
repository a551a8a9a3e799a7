"""What a module says of itself, read from its source: a compiled one does not know it."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[3]


def docstring(module: ModuleType) -> str:
    source = ROOT.joinpath(*module.__name__.split(".")).with_suffix(".py")
    return ast.get_docstring(ast.parse(source.read_text("utf-8"))) or ""
