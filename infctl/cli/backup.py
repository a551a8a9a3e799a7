"""`infctl backup` and `infctl restore`: what the gateway keeps, taken to another box. JSON: shapes.BACKUP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json, Yes
from infctl.errors import UsageError

_BYTES_MAX = 8 * 1024 * 1024
"""The most that a gateway takes."""


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file")],
    *,
    files: Files = None,
    json_output: Json = False,
) -> None:
    """Write keys (their hashes), limits set at run time, counts, history and the audit trail's heads to FILE.

    The gateway goes on meanwhile. What it holds of quotas at that moment counts as used in the backup.

    \b
    Examples:
      infctl backup platform-2026-11-27.json
      infctl restore platform-2026-11-27.json -f other-box.yaml
    """
    from infctl.atomic import replace
    from infctl.cli.control import control

    if file.exists():
        raise UsageError(f"{file} is there already", hint="name a new file")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{file.absolute().parent} is no folder")
    with control(files) as api:
        taken = api.admin("GET", "/admin/backup")
    replace(file.absolute(), json.dumps(taken, indent=1, ensure_ascii=False).encode() + b"\n", mode=0o600)
    facts = _facts(taken) | {"file": str(file)}
    if json_output:
        console.data(facts)
        return
    console.fact(f"{file}: {_words(facts)}")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="That infctl backup has written")],
    *,
    files: Files = None,
    yes: Yes = False,
    json_output: Json = False,
) -> None:
    """Take a backup into the running gateway: keys and limits of the same name are replaced, counts are added
    to what is there. The same backup again adds nothing.

    \b
    Examples:
      infctl restore platform-2026-11-27.json
      infctl restore platform-2026-11-27.json -y --json
    """
    from infctl.cli.control import applied, consent, control

    taken = _read(file)
    facts = _facts(taken)
    consent(f"restore {_words(facts)}?", yes=yes)
    with control(files) as api:
        told = api.admin("POST", "/admin/restore", taken)
    if json_output:
        console.data(told)
        return
    console.fact(f"restored {_words(facts)} · {applied(told['applied_by'])}")


def _read(file: Path) -> dict[str, Any]:
    """Raises UsageError."""
    try:
        if file.stat().st_size > _BYTES_MAX:
            raise UsageError(f"{file} is larger than 8 MiB: that is no backup of a gateway")
        taken = json.loads(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{file} is no backup: {error}", hint="infctl backup FILE writes one") from None
    if not isinstance(taken, dict) or not {"format", "keys", "counts"} <= taken.keys():
        raise UsageError(f"{file} is no backup of a gateway", hint="infctl backup FILE writes one")
    return taken


def _facts(taken: dict[str, Any]) -> dict[str, Any]:
    return {name: len(taken.get(name, ())) for name in ("keys", "figures", "counts", "usage", "audit")}


def _words(facts: dict[str, Any]) -> str:
    from infctl.cli.text import plural

    return (
        f"{plural(facts['keys'], 'key')}, limits of {plural(facts['figures'], 'scope')},"
        f" {plural(facts['counts'], 'count')}, {plural(facts['usage'], 'row')} of history"
    )
