"""`infctl profiles`: the profiles that come with infctl. JSON: shapes.PROFILES."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from infctl.cli import console
from infctl.cli.options import Json, complete_profile
from infctl.errors import UsageError

app = typer.Typer(
    name="profiles",
    invoke_without_command=True,
    no_args_is_help=False,
    rich_markup_mode=None,
)


@app.callback()
def profiles(ctx: typer.Context, *, json_output: Json = False) -> None:
    """List the built-in profiles; `profiles show NAME` prints one.

    \b
    Examples:
      infctl profiles
      infctl profiles show local > infctl.yaml
    """
    if ctx.invoked_subcommand is not None:
        return
    from infctl.profile.builtin import builtin_profiles, profile_summary

    found = {name: profile_summary(path) for name, path in builtin_profiles().items()}
    if json_output:
        console.data({"profiles": [{"name": name, "summary": line} for name, line in found.items()]})
        return
    width = max((len(name) for name in found), default=0)
    for name, line in found.items():
        text = f"{name:<{width}}  {line}"
        room = shutil.get_terminal_size().columns if console.is_tty() else len(text)
        console.fact(text if len(text) <= room else text[: room - 1] + "…")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", autocompletion=complete_profile)],
) -> None:
    """Print a built-in profile.

    \b
    Example:
      infctl profiles show l4x4
    """
    from infctl.profile.builtin import builtin_profiles

    known = builtin_profiles()
    if name not in known:
        raise UsageError(
            f"there is no built-in profile {name!r}", hint=f"there are: {', '.join(sorted(known))}"
        )
    console.raw(known[name].read_text(encoding="utf-8"))
