"""Options that several commands share, and what the shell completes for them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from infctl.errors import UsageError

PROFILE_ENV = "INFCTL_PROFILE"
PROFILE_DEFAULT = "infctl.yaml"


class _Root:
    files: list[Path] | None = None
    """`infctl -f FILE COMMAND`, the way Compose has it."""


def remember_files(files: list[Path] | None) -> None:
    """Of `-f` before the command; a command's own `-f` comes first."""
    _Root.files = files


_FOLLOWING = ("logs", "tail")
"""Commands whose `-f` is `--follow`."""


def untangled(argv: Sequence[str]) -> list[str]:
    """`logs -f FILE.yaml`: of some, -f follows, but before a YAML file it can only mean the profile."""
    args = list(argv)
    command = next((word for word in own(args) if word in _FOLLOWING), None)
    if command is not None:
        for place in range(args.index(command) + 1, len(args) - 1):
            if args[place] == "-f" and args[place + 1].endswith((".yaml", ".yml")):
                args[place] = "--file"
    return args


def own(args: Sequence[str]) -> Sequence[str]:
    """Those of infctl: what comes after `--`, or after the service of `exec`, is another command's."""
    if "--" in args:
        return args[: args.index("--")]
    return args[: args.index("exec") + 2] if "exec" in args else args


def profile_files(given: list[Path] | None) -> tuple[Path, ...]:
    """Profile and overlays: `-f`, else $INFCTL_PROFILE (several: joined as in PATH), else ./infctl.yaml."""
    given = given or _Root.files
    if given:
        return tuple(given)
    named = os.environ.get(PROFILE_ENV, "")
    if named:
        return tuple(Path(part) for part in named.split(os.pathsep) if part)
    default = Path(PROFILE_DEFAULT)
    if not default.exists():
        raise UsageError(
            f"no profile: there is no {PROFILE_DEFAULT} in {Path.cwd()}",
            hint=f"infctl init writes one; -f FILE or {PROFILE_ENV} names another",
        )
    return (default,)


def service_names(files: list[Path] | None) -> tuple[str, ...]:
    """For completion: services applied or rendered beside the profile. Cheap, and empty when unsure."""
    try:
        home = profile_files(files)[0].resolve().parent / ".infctl"
    except (UsageError, OSError):
        return ()
    names: set[str] = set()
    for file in (*home.glob("*/state/desired.json"), *home.glob("*/rendered/supervisor.json")):
        try:
            book = json.loads(file.read_text("utf-8"))
            stack = book.get("stack") or book
            names.update(str(service["name"]) for service in stack["services"])
            for project in stack.get("projects", ()):
                names.update(str(container["service"]) for container in project["containers"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return tuple(sorted(names))


def complete_service(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    taken = set(ctx.params.get("services") or ())
    yield from (
        name
        for name in service_names(ctx.params.get("files"))
        if name.startswith(incomplete) and name not in taken
    )


def complete_model(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """`chat=`: the number is the person's."""
    import yaml

    try:
        text = profile_files(ctx.params.get("files"))[0].read_text("utf-8")
        models = yaml.safe_load(text)["models"]
        names = [str(m["name"]) for m in models] if isinstance(models, list) else [str(m) for m in models]
    except (UsageError, OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return
    yield from (f"{name}=" for name in names if f"{name}=".startswith(incomplete))


def complete_profile(incomplete: str) -> Iterator[str]:
    from infctl.profile.builtin import builtin_profiles

    yield from sorted(name for name in builtin_profiles() if name.startswith(incomplete))


Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="Profile; again for an overlay. Default: $INFCTL_PROFILE, then ./infctl.yaml",
    ),
]
FilesLong = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help="Profile; again for an overlay. Default: $INFCTL_PROFILE, then ./infctl.yaml",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Facts as JSON on stdout, errors as JSON on stderr")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")]
OverwriteEdits = Annotated[
    bool, typer.Option("--overwrite-edits", help="Replace rendered files edited by hand (kept as *.orig)")
]
Timeout = Annotated[
    float, typer.Option(min=1, max=86_400, metavar="SECONDS", help="Until everything is ready and answers")
]
WaitLock = Annotated[
    float,
    typer.Option(
        "--wait-lock",
        min=0,
        max=86_400,
        metavar="SECONDS",
        help="Wait so long for somebody else's change to end",
        show_default=False,
    ),
]
Services = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SERVICE]...", help="Default: all", autocompletion=complete_service, show_default=False
    ),
]
