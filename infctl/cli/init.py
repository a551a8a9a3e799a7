"""`infctl init`: look at the machine, then write a profile and its .env. JSON: shapes.INIT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import console
from infctl.cli.options import Json, Yes, complete_profile
from infctl.errors import UsageError

if TYPE_CHECKING:
    from infctl.cli.machine import Machine

KEYS = ("GATEWAY_API_KEY", "ADMIN_API_KEY", "BACKEND_API_KEY")


def init(
    *,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Built-in profile to begin with. Default: the one that suits this machine",
            autocompletion=complete_profile,
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Profile to write")] = Path(
        "infctl.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a profile that is there")] = False,
    yes: Yes = False,
    json_output: Json = False,
) -> None:
    """Look at this machine, write a profile that suits it and a .env with fresh keys.

    An existing profile is overwritten only after asking, or with --force. An existing .env is kept;
    keys it lacks are appended. Keys are never shown.

    \b
    Examples:
      infctl init
      infctl init -y --profile one-gpu -o gpu.yaml
    """
    from infctl.cli import env_file, machine
    from infctl.profile.builtin import builtin_profiles
    from infctl.profile.json_schema import schema

    known = builtin_profiles()
    seen = machine.look()
    chosen = profile or suited(seen)
    if chosen not in known:
        raise UsageError(
            f"there is no built-in profile {chosen!r}", hint=f"there are: {', '.join(sorted(known))}"
        )
    if not json_output:
        _tell(seen, chosen, asked=profile is not None)
    if output.exists() and not force:
        _may_overwrite(output, yes=yes)
    text = known[chosen].read_text(encoding="utf-8")
    _write(output, text)
    schema_file = output.resolve().parent / "infctl.schema.json"
    _write(schema_file, json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")
    env = output.resolve().parent / ".env"
    added = env_file.add_keys(env, KEYS)
    if json_output:
        console.data(
            {
                "profile": str(output),
                "schema": str(schema_file),
                "from": chosen,
                "env_file": str(env),
                "keys_added": list(added),
                "machine": {
                    "system": seen.system,
                    "cpus": seen.cpus,
                    "memory_bytes": seen.memory_bytes,
                    "vector": seen.vector,
                    "gpus": [{"name": gpu.name, "memory_bytes": gpu.memory_bytes} for gpu in seen.gpus],
                    "docker": seen.docker,
                },
            }
        )
        return
    console.fact(f"wrote {output}, from the built-in profile {chosen}")
    console.fact(f"wrote {schema_file}, with which editors complete it")
    if added:
        console.fact(f"wrote {', '.join(added)} to {env} (only you can read it)")
    else:
        console.fact(f"{env} has its keys already")
    given = "" if output == Path("infctl.yaml") else f" -f {output}"
    # On a GPU the profile is a proposal: what fits depends on the card.
    console.say(
        f"next: infctl plan{given}, then infctl up{given}" if seen.gpus else f"next: infctl up{given}"
    )


def suited(machine: Machine) -> str:
    """The built-in profile for a machine."""
    l4s = [gpu for gpu in machine.gpus if gpu.name == "L4"]
    if len(l4s) >= 4:
        return "l4x4"
    return "one-gpu" if machine.gpus else "local"


def _tell(machine: Machine, chosen: str, *, asked: bool) -> None:
    from infctl.cli.machine import gib

    gpus = ", ".join(f"{gpu.name} ({gib(gpu.memory_bytes)})" for gpu in machine.gpus) or "none"
    console.say(f"system   {machine.system}, {machine.cpus} CPUs, {gib(machine.memory_bytes)} of memory")
    console.say(f"vector   {machine.vector or 'neither AVX-512 nor AVX2'}")
    console.say(f"GPUs     {gpus}")
    console.say(f"Docker   {'there' if machine.docker else 'not there, and not needed'}")
    console.say(f"profile  {chosen}, {'as asked' if asked else 'the one that suits this machine'}")
    if chosen == "local" and not machine.can_run_local:
        console.warn(
            "the local profile runs vLLM on Linux x86-64 with AVX2 or AVX-512; this machine is not that"
        )


def _may_overwrite(output: Path, *, yes: bool) -> None:
    if not yes and console.can_ask() and console.ask(f"{output} is there; overwrite it?"):
        return
    raise UsageError(
        f"{output} is there already, and was left as it is",
        hint="--force overwrites it; -o FILE writes another",
    )


def _write(output: Path, text: str) -> None:
    try:
        draft = output.with_name(output.name + ".new")
        draft.write_text(text, encoding="utf-8")
        draft.replace(output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None
