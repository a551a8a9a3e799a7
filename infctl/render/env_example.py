""".env.example: every variable, what it means, and what holds without it. Pure.

What is optional stands behind a comment sign: copied as it is, the file changes nothing but what it asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from infctl.profile.documented import Documented
from infctl.render.files import RenderedFile, header

FILE = ".env.example"


def render(platform: str, variables: Iterable[Documented]) -> RenderedFile:
    lines = header(
        platform,
        "cp .env.example .env, chmod 600 .env, give the keys their values. Both stay out of version control.",
        "What is set in .env wins over the profile. After an edit: docker compose restart gateway.",
    )
    text = [f"# {line}" for line in lines]
    for section, found in groupby(variables, key=lambda one: one.section):
        text += ["", f"## {section}", *(line for one in found for line in _lines(one))]
    return RenderedFile(FILE, "\n".join(text) + "\n", note="for a person: copy it to .env")


def _lines(one: Documented) -> Iterator[str]:
    yield f"# {_one_line(one.meaning)}" + (" (required)" if one.required else "")
    value = _one_line(one.default)
    yield f"{one.name}={value}" if one.required else f"# {one.name}={value}"


def _one_line(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)
