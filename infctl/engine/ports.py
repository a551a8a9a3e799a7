"""Who holds the addresses a service is about to bind, asked before the start."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from pathlib import Path

from infctl.engine import procfs
from infctl.errors import EngineError, Problem
from infctl.stack import Role, Service

FIELDS: dict[Role, str] = {
    "engine": "the model's `port`",
    "gateway": "`gateway/listen`",
    "edge": "`edge/listen`",
}
"""Where a person writes these addresses in the profile."""
COMMAND_SHOWN_MAX = 100


def check(services: Iterable[Service], home: Path, sessions: Sequence[int]) -> None:
    """Raises EngineError naming each address held by a stranger, its process and the field to change.

    `sessions`: process ids of this platform's own running leaders; what they hold is about to be freed.
    """
    wanted = [(s, host, port) for s in services for host, port in s.listen]
    if not wanted:
        return
    taken = {}
    for listener in procfs.listeners():
        for service, host, port in wanted:
            if port == listener.port and _overlap(host, listener.address):
                taken[service.name, host, port] = (service, listener)
    if not taken:
        return
    ours = procfs.marked(str(home))
    problems = []
    for (name, host, port), (service, listener) in taken.items():
        pid = procfs.holder_of(listener.inode)
        if pid is not None and (pid in ours or _session(pid) in sessions):
            continue
        problems.append(
            Problem(
                f"{host}:{port} is held by {_who(pid)}",
                path=name,
                hint=f"end that process, or change {FIELDS[service.role]} in the profile",
            )
        )
    if problems:
        raise EngineError(
            str(problems[0]) if len(problems) == 1 else f"{len(problems)} addresses are held by others",
            problems=problems if len(problems) > 1 else (),
            hint=problems[0].hint,
        )


def _overlap(wanted: str, held: str) -> bool:
    """Whether binding both on one port clashes; a wildcard clashes with everything."""
    first, second = _addresses(wanted), _addresses(held)
    return any(a == b or a in _WILDCARDS or b in _WILDCARDS for a in first for b in second)


_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def _addresses(host: str) -> tuple[str, ...]:
    if host in ("", "*"):
        return _WILDCARDS
    if host == "localhost":
        return ("127.0.0.1", "::1")
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        return (host,)


def _session(pid: int) -> int:
    found = procfs.look(pid)
    return -1 if found is None else found.session


def _who(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    command = procfs.command_line(pid)
    if len(command) > COMMAND_SHOWN_MAX:
        command = f"{command[: COMMAND_SHOWN_MAX - 1]}…"
    return f"process {pid} ({command or 'no command line'})"
