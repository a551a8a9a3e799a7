"""nginx while gateways are replaced: told which addresses to use, by a reload that loses no request.

A reload counts only once it is seen: new workers there, the old ones leaving. Those answer for another moment
on connections that clients keep, so what they lead to must stay for as long.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infctl import atomic
from infctl.engine.docker import reload, rollout_upstream
from infctl.engine.docker.hands import Hands, polls
from infctl.engine.docker.refusals import told
from infctl.errors import EngineError
from infctl.stack.containers import Container, Project
from infctl.stack.names import EDGE_KEPT_S, EDGE_LOOKS_UP_S, ETC_NGINX

UPSTREAM = "upstream.conf"
MODE = 0o644
TAKEN_S = 15.0
"""From the signal to the new workers."""
KEPT_S = EDGE_KEPT_S + 1.0
LOOKED_UP_S = EDGE_LOOKS_UP_S + 2.0
"""After an address has gone from Docker's names, nginx has none of it any more."""


@dataclass(slots=True)
class Edge:
    """A running nginx of ours."""

    hands: Hands
    container: Container
    id: str
    file: Path
    """upstream.conf, as it lies here."""
    _mtime: tuple[int, int] | None = field(default=None, init=False)
    """Of the rendered file: it was not changed, so its time is put back as well."""

    @property
    def networks(self) -> frozenset[str]:
        return frozenset(self.hands.inspect(self.id)["NetworkSettings"]["Networks"])

    @property
    def is_pointed(self) -> bool:
        return rollout_upstream.is_pointed(self._read())

    def check(self) -> None:
        """Raises EngineError where it could not be pointed."""
        self._pointed(())
        reload.check(self.hands, self.container, self.id)

    def point(self, addresses: Sequence[str]) -> None:
        """From now on only these are used, for new requests. Raises EngineError; then all is as it was."""
        before, text = self._read(), self._pointed(addresses)
        if self._mtime is None and not rollout_upstream.is_pointed(before):
            stat = self.file.stat()
            self._mtime = stat.st_atime_ns, stat.st_mtime_ns
        self._take(text, before)

    def release(self) -> None:
        """By the gateway's name again, as rendered."""
        before = self._read()
        text = rollout_upstream.rendered(before)
        if text != before:
            self._take(text, before)
            if self._mtime is not None:
                os.utime(self.file, ns=self._mtime)

    def wait_kept(self) -> None:
        """Until nobody is led to an address of before: the old workers are gone, or hold streams alone."""
        deadline = time.monotonic() + KEPT_S
        for now in polls():
            if now > deadline or not any(leaving for leaving in self._workers().values()):
                return

    def wait_looked_up(self) -> None:
        """Until nginx has forgotten an address that Docker's names no longer have."""
        time.sleep(LOOKED_UP_S)

    def reload(self) -> None:
        """Raises EngineError, with nginx's own words where it refuses its files."""
        before = self._workers()
        reload.reload(self.hands, self.container, self.id)
        deadline = time.monotonic() + TAKEN_S
        for now in polls():
            workers = self._workers()
            staying = [pid for pid, leaving in workers.items() if pid in before and not leaving]
            if workers.keys() - before.keys() and not staying:
                return
            if now > deadline:
                raise EngineError(
                    f"{self.container.service} did not take its configuration over within {TAKEN_S:.0f} s",
                    hint="its log says why: `infctl logs nginx --tail 20`",
                    log=self.hands.logs(self.id, 10),
                )

    def _pointed(self, addresses: Sequence[str]) -> str:
        try:
            return rollout_upstream.pointed(self._read(), addresses)
        except ValueError as error:
            raise EngineError(
                f"{self.file} is not as infctl renders it: {error}", hint="`infctl render` writes it again"
            ) from None

    def _take(self, text: str, before: str) -> None:
        atomic.replace(self.file, text.encode(), mode=MODE)
        try:
            self.reload()
        except EngineError:
            atomic.replace(self.file, before.encode(), mode=MODE)
            raise

    def _read(self) -> str:
        try:
            return self.file.read_text(encoding="utf-8")
        except OSError as error:
            raise atomic.cannot("read", self.file, error) from None

    def _workers(self) -> dict[str, bool]:
        """Process id -> whether it is on its way out."""
        with told("nginx's processes cannot be listed"):
            listed = self.hands.client.api.top(self.id, ps_args="-eo pid,args")
        rows = [(row[0], " ".join(row[1:])) for row in listed["Processes"]]
        return {pid: "shutting down" in title for pid, title in rows if "nginx: worker process" in title}


def running(hands: Hands, projects: Iterable[Project]) -> Edge | None:
    """None: there is none, or it does not run."""
    for project in projects:
        for container in project.containers:
            source = next((m.source for m in container.mounts if m.target == ETC_NGINX), "")
            if container.role != "edge" or not source:
                continue
            there = hands.find(container.container_name(project.name))
            if there is not None and hands.inspect(there)["State"]["Status"] == "running":
                return Edge(hands, container, there, Path(source) / UPSTREAM)
    return None


def mend(hands: Hands, projects: Iterable[Project], rendered: Path) -> bool:
    """Put back what a killed replace of a gateway left in upstream.conf. True: there was something.

    `rendered`: the folder of rendered files. To be called before those are read or written: it is no edit of
    anybody's. By its name nginx finds every gateway that runs, the old one and the new one.
    """
    file = rendered / "nginx" / UPSTREAM
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    if not rollout_upstream.is_pointed(text):
        return False
    edge = running(hands, projects)
    if edge is not None:
        edge.wait_looked_up()
    atomic.replace(file, rollout_upstream.rendered(text).encode(), mode=MODE)
    if edge is not None:
        with contextlib.suppress(EngineError):  # a broken nginx.conf is told by whoever reloads it next
            edge.reload()
    return True
