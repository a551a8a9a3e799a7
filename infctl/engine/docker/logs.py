"""What containers write, several at once, in the order of time."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from infctl.engine.docker.client import Client
from infctl.engine.docker.observed import when
from infctl.engine.docker.refusals import Gone, told
from infctl.engine.logs import LogLine

LINES_MAX = 1_000_000
"""Of one container, whatever is asked for."""


@dataclass(slots=True)
class Tail:
    """One container's lines, each handed out once."""

    container_id: str
    service: str
    last: str = ""
    """The time of the last line that was handed out, as the engine writes it."""
    _at_last: list[str] = field(default_factory=list)
    """Lines of exactly that time: handed out already."""

    def fresh(self, client: Client, *, lines: int = LINES_MAX, since: float | None = None) -> list[LogLine]:
        """What came since the last call. A container that is gone says nothing."""
        if self.last:
            at = when(self.last)
            since = at if at is None else at - 0.001
        options = {"tail": max(lines, 1)} if lines < LINES_MAX else {}
        if since is not None and since > 0:
            options["since"] = since  # type: ignore[assignment]
        try:
            with told(f"the log of {self.service} cannot be read"):
                data = client.api.logs(self.container_id, timestamps=True, **options)
        except Gone:
            return []
        found = []
        for line in data.decode("utf-8", "replace").splitlines():
            at_text, _, text = line.partition(" ")
            if at_text < self.last or (at_text == self.last and text in self._at_last):
                continue
            if at_text != self.last:
                self.last, self._at_last = at_text, []
            self._at_last.append(text)
            if not lines:  # from here on
                continue
            found.append(LogLine(self.service, text.rstrip("\r"), when(at_text)))
        return found


def interleaved(several: Iterable[list[LogLine]]) -> Iterator[LogLine]:
    """By time; each list is in order already."""
    return heapq.merge(*several, key=lambda line: line.at or 0.0)


def follow(
    client: Client,
    tails: dict[str, Tail],
    containers: Iterator[dict[str, str]],
    poll_s: float,
) -> Iterator[LogLine]:
    """For ever. `containers`: id -> service, asked again each time: one that was replaced goes on."""
    for found in containers:
        for container_id, service in found.items():
            tails.setdefault(container_id, Tail(container_id, service))
        for gone in tails.keys() - found.keys():
            del tails[gone]
        yield from interleaved([tail.fresh(client) for tail in tails.values()])
        time.sleep(poll_s)
