"""A running service takes its changed files in, without ending a connection."""

from __future__ import annotations

from infctl.engine import causes
from infctl.engine.docker.hands import Hands
from infctl.errors import EngineError
from infctl.stack.containers import Container

CHECK_S = 20.0


def reload(hands: Hands, container: Container, container_id: str) -> None:
    """SIGHUP. nginx is asked first: of a configuration it refuses it would keep the old one, silently."""
    if container.role == "edge":
        check(hands, container, container_id)
    hands.signal(container_id, "HUP")


def check(hands: Hands, container: Container, container_id: str) -> None:
    """Would nginx take its files as they are now? Raises EngineError with its own words."""
    argv = (*container.entrypoint, *container.command)
    said = hands.exec(container_id, (argv[0], "-t", *argv[1:]), timeout_s=CHECK_S)
    if not said.code:
        return
    lines = said.text.splitlines()
    found = causes.find(lines)
    raise EngineError(
        f"{container.service} was not reloaded: {found.why if found else 'it refuses its files'}",
        hint=found.do if found else "the configuration it had goes on",
        log=causes.telling(lines),
    )
