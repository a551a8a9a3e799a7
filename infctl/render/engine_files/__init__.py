"""What runs inside the engines' containers beside vLLM, as package data: copied as it is, never imported."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from infctl.render.files import RenderedFile, header

_HERE = Path(__file__).resolve().parent


def rendered(platform: str, *names: str) -> tuple[RenderedFile, ...]:
    about = "".join(f"# {line}\n" for line in header(platform, "Runs in the engines' containers."))
    return tuple(
        RenderedFile(f"engine/{name}", about + _text(name), note="runs in the engines' containers")
        for name in names
    )


@cache
def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
