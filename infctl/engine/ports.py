"""Who holds the addresses a service is about to bind, asked before the start."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Collection, Iterable

from infctl.engine import procfs
from infctl.errors import EngineError, Problem
from infctl.stack import Role, Service

FIELDS: dict[Role, str] = {
    "engine": "`engines/port_base`",
    "gateway": "`gateway/listen/port`",
    "edge": "`edge/https_port` or `edge/http_port`",
}
"""Where a person writes these addresses in the profile."""
COMMAND_SHOWN_MAX = 100
"""Characters."""
DYING_MAX_S = 3.0
POLL_S = 0.05


def check(services: Iterable[Service], own_processes: Callable[[], Collection[int]]) -> None:
    """Raises EngineError naming each address held by a stranger, its process and the field to change.

    `own_processes` (asked only when an address is held): ids of this platform's own.
    """
    wanted = [(s, host, port) for s in services for host, port in s.listen]
    deadline = time.monotonic() + DYING_MAX_S
    while taken := _taken(wanted):
        ours = own_processes()
        held = [(who, service, address) for who, service, address in taken if who not in ours]
        if not held:
            return
        if all(who is not None for who, _, _ in held) or time.monotonic() > deadline:
            raise _refusal(held)
        # A socket without a process may be that of one that is ending just now.
        time.sleep(POLL_S)


def _taken(wanted: Iterable[tuple[Service, str, int]]) -> list[tuple[int | None, Service, str]]:
    """(process or None, service, address) of each address that is held."""
    listeners = procfs.listeners()
    return [
        (procfs.holder_of(listener.inode), service, f"{host}:{port}")
        for service, host, port in wanted
        for listener in listeners
        if port == listener.port and overlap(host, listener.address)
    ]


def _refusal(held: Iterable[tuple[int | None, Service, str]]) -> EngineError:
    problems = [
        Problem(
            f"{address} is held by {who(pid)}",
            path=service.name,
            hint=f"end that process, or change {FIELDS[service.role]} in the profile",
        )
        for pid, service, address in dict.fromkeys(held)
    ]
    if len(problems) == 1:
        return EngineError(str(problems[0]), hint=problems[0].hint)
    return EngineError(
        f"{len(problems)} addresses are held by others", problems=problems, hint=problems[0].hint
    )


def overlap(wanted: str, held: str) -> bool:
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


def who(pid: int | None) -> str:
    """A process in words; None: nobody says."""
    if pid is None:
        return "a process of another user"
    command = procfs.command_line(pid)
    if len(command) > COMMAND_SHOWN_MAX:
        command = f"{command[: COMMAND_SHOWN_MAX - 1]}…"
    return f"process {pid} ({command or 'no command line'})"
