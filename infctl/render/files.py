"""One rendered file, and the comment at its top."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RenderedFile:
    path: str
    """Relative to the rendered folder, with slashes."""
    text: str
    mode: int = 0o644
    """The folder itself is 0700."""
    note: str = ""
    """What it is, and who reads it."""


def header(platform: str, what: str, *safe: str) -> tuple[str, ...]:
    """Lines of a comment, without the comment's sign. No time and no version: equal input, equal bytes."""
    return (
        f"Made by infctl from the profile of {platform}: do not edit.",
        "`infctl up` refuses to write over an edit; `infctl diff` shows it.",
        what,
        *safe,
    )
