"""One person at a time, told where the services run: a container that is created and never started.

Its name is the lock, which the engine gives to one alone; its labels say who holds it and since when. The
holder's process on this machine gone, the lock is taken over; of another machine's nobody can know, so
`infctl unlock` shows whose it is and removes it.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType

from infctl.engine import procfs
from infctl.engine.docker.client import Client
from infctl.engine.docker.refusals import Gone, ImageMissing, NameTaken, told
from infctl.errors import LockError

IMAGE = "infctl/lock:1"
"""Empty: nothing ever runs from it."""
LABEL = "io.infctl.lock"
TRIES = 5


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has it."""

    id: str
    owner: str
    host: str
    pid: int
    since: float
    boot: str = ""
    ticks: int = 0
    """Of the process's start: ids are used again."""

    def told(self, now: float) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"{self.owner} on {self.host} (pid {self.pid}) since {since} ({_age(now - self.since)})"

    @property
    def is_here(self) -> bool:
        """Of this machine, where it can be known whether it lives."""
        return self.host == socket.gethostname()

    @property
    def is_gone(self) -> bool:
        """Its process has ended, and nobody will let the lock go."""
        if not self.is_here or not self.boot or not self.pid:
            return False
        return self.boot != procfs.boot_id() or not procfs.is_running(procfs.Identity(self.pid, self.ticks))


def name_of(project: str) -> str:
    return f"infctl-lock-{project}"


@contextlib.contextmanager
def hold(client: Client, project: str, owner: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold it for as long as the block runs; SIGTERM ends the block as Ctrl-C does.

    `tell`: of a lock that was taken over. Raises LockError with the holder's owner, host, pid and age.
    """
    held = _take(client, project, owner, tell)
    try:
        with _term_interrupts():
            yield
    finally:
        release(client, held)


def holder(client: Client, project: str) -> Holder | None:
    """None: nobody has it."""
    with contextlib.suppress(Gone), told("the lock cannot be looked at"):
        found = client.api.inspect_container(name_of(project))
        return _holder(found["Id"], found["Config"].get("Labels") or {})
    return None


def release(client: Client, container_id: str) -> None:
    with contextlib.suppress(Gone), told("the lock cannot be let go"):
        client.api.remove_container(container_id, force=True)


def _take(client: Client, project: str, owner: str, tell: Callable[[str], None]) -> str:
    labels = {LABEL: project, **_about(owner)}
    for _ in range(TRIES):
        try:
            with told("the lock cannot be taken"):
                body = {"Image": IMAGE, "Cmd": ["-"], "Labels": labels, "HostConfig": {"NetworkMode": "none"}}
                made = client.api.create_container_from_config(body, name_of(project))
                return str(made["Id"])
        except ImageMissing:
            make_image(client)
        except NameTaken:
            found = holder(client, project)
            if found is None:
                continue  # let go just now
            if not found.is_gone:
                raise _held(project, found) from None
            tell(f"the lock of {found.told(time.time())} was taken over: that process has ended")
            release(client, found.id)
    raise LockError(
        f"the lock of {project} changes hands all the time", hint="run the command again in a moment"
    )


def make_image(client: Client) -> None:
    """From an empty archive, so that nothing is fetched."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w"):
        pass
    repository, _, tag = IMAGE.partition(":")
    with told("the lock's image cannot be made"):
        client.api.import_image_from_data(data.getvalue(), repository=repository, tag=tag)


def _about(owner: str) -> dict[str, str]:
    own = procfs.look(os.getpid())
    return {
        f"{LABEL}.owner": owner,
        f"{LABEL}.host": socket.gethostname(),
        f"{LABEL}.pid": str(os.getpid()),
        f"{LABEL}.since": f"{time.time():.0f}",
        f"{LABEL}.boot": procfs.boot_id(),
        f"{LABEL}.ticks": str(own.start_ticks if own is not None else 0),
    }


def _holder(container_id: str, labels: Mapping[str, str]) -> Holder:
    def number(name: str) -> int:
        text = labels.get(f"{LABEL}.{name}", "")
        return int(text) if text.isdigit() else 0

    return Holder(
        id=container_id,
        owner=labels.get(f"{LABEL}.owner", "somebody"),
        host=labels.get(f"{LABEL}.host", "an unknown machine"),
        pid=number("pid"),
        since=float(number("since")),
        boot=labels.get(f"{LABEL}.boot", ""),
        ticks=number("ticks"),
    )


def _held(project: str, found: Holder) -> LockError:
    hint = "wait for it, or end that process: the lock goes with it"
    if not found.is_here:
        hint = "wait for it; if that machine or process is gone: `infctl unlock`"
    return LockError(f"{project} is being changed by {found.told(time.time())}", hint=hint)


def _age(seconds: float) -> str:
    if seconds < 90:
        return f"{max(0, seconds):.0f} s ago"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min ago"
    return f"{seconds / 3600:.0f} h ago" if seconds < 172_800 else f"{seconds / 86_400:.0f} days ago"


@contextlib.contextmanager
def _term_interrupts() -> Iterator[None]:
    """SIGTERM as KeyboardInterrupt, where nobody else deals with it: else the lock would stay."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
