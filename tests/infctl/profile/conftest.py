"""A profile in a folder of its own, and what loading says about it, as text."""

# ruff: noqa: PT017 - expected lines are read whole; an answer may be a value or an error

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from infctl.errors import ProfileError
from infctl.profile.loading import LoadedProfile, load

MODEL = "name: box\nmodels: {chat: {source: a/b, task: chat}}\n"
"""The smallest profile, two lines long."""


@dataclass(frozen=True)
class Desk:
    folder: Path

    def write(self, text: str | bytes, name: str = "box.yaml") -> Path:
        path = Path(name)
        data = text if isinstance(text, bytes) else textwrap.dedent(text).lstrip("\n").encode()
        (self.folder / path).write_bytes(data)
        return path

    def load(self, *texts: str, env: Mapping[str, str] | None = None) -> LoadedProfile:
        """The first text is box.yaml, the next over1.yaml ..."""
        names = ["box.yaml", *(f"over{n}.yaml" for n in range(1, len(texts)))]
        return load([self.write(text, name) for text, name in zip(texts, names, strict=True)], env or {})

    def says(self, *texts: str, env: Mapping[str, str] | None = None) -> list[str]:
        """`where  path: message | hint`, one a problem; [] if it loads."""
        try:
            self.load(*texts, env=env)
        except ProfileError as error:
            assert error.problems
            return [f"{problem} | {problem.hint}" for problem in error.problems]
        return []


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path)


@pytest.fixture
def smallest() -> str:
    return MODEL


@pytest.fixture
def with_model() -> Callable[[str], str]:
    """A profile whose one model, chat, has these further lines (each begins in line 6, column 5)."""

    def make(lines: str) -> str:
        body = textwrap.indent(textwrap.dedent(lines).strip(), "    ")
        return f"name: box\nmodels:\n  chat:\n    source: a/b\n    task: chat\n{body}\n"

    return make
