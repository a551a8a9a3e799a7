"""The platform of toy processes, as the engine's own tests use it, and the look for what is left of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location(
    "toy_platform", Path(__file__).parents[1] / "infctl" / "engine" / "conftest.py"
)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
toy = _module.toy
nothing_is_left = _module.nothing_is_left
