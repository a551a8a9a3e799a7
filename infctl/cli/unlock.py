"""`infctl unlock`: who is changing the platform, and a lock that nobody will let go. JSON: shapes.UNLOCK."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json, Yes
from infctl.cli.text import duration
from infctl.errors import Interrupted, LockError, UsageError

if TYPE_CHECKING:
    from infctl.cli.remains import Remains


@dataclass(frozen=True, slots=True)
class Holder:
    owner: str
    host: str
    pid: int
    since: float
    """Seconds since the epoch."""
    is_gone: bool
    """Its process has ended; False also where nobody here can know."""

    def told(self, now: float) -> str:
        begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"{self.owner} on {self.host} (pid {self.pid}), since {begun}: {duration(now - self.since)}"


def unlock(
    *,
    files: Files = None,
    show: Annotated[bool, typer.Option("--show", help="Say who holds it, and take nothing away")] = False,
    yes: Yes = False,
    json_output: Json = False,
) -> None:
    """Take the lock away from a change that ended without letting it go, after asking.

    One change at a time holds a platform's lock: a container on the Docker host, a file for processes. The
    kernel frees the file with its holder, and a lock whose process on this machine is gone is taken over by
    the next command; what is left to do here is a holder on another machine that is gone.

    \b
    Examples:
      infctl unlock --show
      infctl unlock
    """
    from infctl.cli.project import open_remains

    remains = open_remains(files)
    found = holder(remains)
    freed = False
    if found is not None and not show:
        _consent(remains, found, yes=yes)
        if remains.docker is None:
            raise LockError(
                f"{remains.name} is being changed by {found.told(time.time())}",
                hint=f"that process lives: wait for it, or end it (kill {found.pid}); its lock goes with it",
            )
        freed = remains.docker.unlock() is not None
    if json_output:
        told = None if found is None else {"owner": found.owner, "host": found.host, "pid": found.pid}
        since = None if found is None else found.since
        console.data({"name": remains.name, "holder": told, "since": since, "unlocked": freed})
    elif found is None:
        console.fact(f"{remains.name} is not locked")
    else:
        console.fact(f"{'unlocked' if freed else 'locked'}: {found.told(time.time())}")


def holder(remains: Remains) -> Holder | None:
    """None: nobody."""
    if remains.docker is not None:
        found = remains.docker.lock_holder()
        if found is None:
            return None
        return Holder(found.owner, found.host, found.pid, found.since, found.is_gone)
    from infctl.engine import locks

    about = locks.holder(remains.layout.state / locks.LOCK)
    if about is None:
        return None
    return Holder(
        str(about.get("owner", "somebody")),
        str(about.get("host", "this machine")),
        int(about.get("pid", 0)),
        float(about.get("since", time.time())),
        is_gone=False,
    )


def _consent(remains: Remains, found: Holder, *, yes: bool) -> None:
    if yes or remains.docker is None:
        return
    if not console.can_ask():
        raise UsageError(
            "a lock would be taken from its holder, and nobody can be asked here", hint="-y says yes"
        )
    gone = "its process has ended" if found.is_gone else "it may still be at work"
    console.say(f"{remains.name} is locked by {found.told(time.time())}; {gone}")
    if not console.ask("take its lock away?"):
        raise Interrupted("not unlocked", hint="nothing was changed")
