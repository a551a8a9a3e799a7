"""The control plane of the running gateway, asked with the admin's key."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from infctl.cli import console
from infctl.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from infctl.api import Api
    from infctl.cli.remains import Remains
    from infctl.history.applied import Reach

ADMIN_KEY = "ADMIN_API_KEY"
"""Where the profile names no other."""


@contextlib.contextmanager
def control(files: list[Path] | None) -> Iterator[Api]:
    """Raises ProfileError, UsageError."""
    from infctl.cli.project import open_remains

    with admin_api(open_remains(files)) as api:
        yield api


def admin_api(remains: Remains, reach: Reach | None = None) -> Api:
    """Until there is an admin's key, the one that clients send is the admin's as well."""
    from infctl.api import Api

    reach = reach or remains.reach(remains.stack())
    name = _key_name(remains)
    key = remains.secret(name) or remains.env.get(name)
    if not key and reach.key_name:
        name, key = reach.key_name, remains.secret(reach.key_name)
    return Api(reach.gateway, key or None, key_name=name, transport=remains.transport(reach))


def _key_name(remains: Remains) -> str:
    from infctl.cli.project import Project

    return remains.profile.gateway.keys.admin.name if isinstance(remains, Project) else ADMIN_KEY


def consent(question: str, *, yes: bool) -> None:
    """Raises UsageError where nobody can be asked, Interrupted for a no."""
    if yes:
        return
    if not console.can_ask():
        raise UsageError("there is nobody to ask: no terminal", hint="-y says yes")
    if not console.ask(question):
        raise Interrupted("nothing was changed")


def applied(by: dict[str, object]) -> str:
    """`in force in 4 workers`, from `applied_by` of an answer."""
    from infctl.cli.text import plural

    late = by.get("late")
    said = f"in force in {plural(int(str(by.get('workers', 0))), 'worker')}"
    if isinstance(late, list) and late:
        said += f"; worker {', '.join(map(str, late))} has not said so yet, and follows within 1 s"
    others = str(by.get("others") or "")
    return f"{said}; {others}" if others else said
