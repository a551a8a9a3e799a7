"""Where infctl's own data lie: in a wheel under infctl/_data, in a checkout beside the package."""

from __future__ import annotations

from pathlib import Path

from infctl.errors import InternalError

_PACKAGE = Path(__file__).resolve().parent.parent


def data_root() -> Path:
    """The folder that holds profiles/, templates/ and monitoring/."""
    for root in (_PACKAGE / "_data", _PACKAGE.parent):
        if (root / "profiles").is_dir() and (root / "templates").is_dir():
            return root
    raise InternalError(
        "infctl's own files are missing",
        hint=f"install infctl again: {_PACKAGE / '_data'} has no profiles/ and templates/",
    )


def builtin_profiles() -> dict[str, Path]:
    """Name -> file of the profiles that come with infctl, by name."""
    return {path.stem: path for path in sorted((data_root() / "profiles").glob("*.yaml"))}


def profile_summary(path: Path) -> str:
    """The first sentence of a profile's opening comment; "" if it has none."""
    words: list[str] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.startswith("#"):
                break
            text = line.lstrip("#").strip()
            if not text and words:
                break
            if text and not text.startswith("yaml-language-server"):
                words.append(text)
    sentence, dot, _ = " ".join(words).partition(". ")
    return sentence + "." if dot else sentence
