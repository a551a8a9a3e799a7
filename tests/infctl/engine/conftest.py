"""A platform of small real processes: one-file HTTP servers that behave like the services the engine runs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infctl.engine import procfs
from infctl.engine.model import Event, ObservedService
from infctl.engine.process import ProcessEngine
from infctl.stack import Layout, Readiness, Service, Stack

DEADLINE_S = 30.0
SERVER = Path(__file__).with_name("toy_server.py")


def until(ask: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Ask until the answer is true; fails with `what` after the deadline."""
    end = time.monotonic() + deadline_s
    while not (answer := ask()):
        if time.monotonic() > end:
            pytest.fail(f"not within {deadline_s:g} s: {what}")
        time.sleep(0.02)
    return answer


def started_under(folder: str) -> list[int]:
    """Living processes that some test started whose own folder begins with `folder`, pytest itself left out.

    A mark is not enough: nginx overwrites its environment, and its workers outlive a killed master. What they
    keep is where they run and where they log.
    """
    ours = set()
    pid = os.getpid()
    while pid and (process := procfs.look(pid)):
        ours.add(pid)
        pid = process.parent
    return [
        pid
        for pid in procfs.pids()
        if pid not in ours
        and (process := procfs.look(pid))
        and process.is_alive
        and any(folder in trace for trace in _traces(pid))
    ]


def _traces(pid: int) -> Iterator[str]:
    yield procfs.environment(pid).get(procfs.STACK_VARIABLE, "")
    for name in ("cwd", "fd/1", "fd/2"):
        with contextlib.suppress(OSError):
            yield str(Path(f"/proc/{pid}/{name}").readlink())


class Toy:
    """One platform in a folder of its own, taken down whatever the test did."""

    until = staticmethod(until)

    def __init__(self, base: Path) -> None:
        self.layout = Layout(base, base / ".infctl" / "toy")
        self.home = os.path.realpath(self.layout.home)
        self.engine = ProcessEngine(self.layout)
        self.ports: dict[str, int] = {}

    def port(self, name: str) -> int:
        if name not in self.ports:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.ports[name] = probe.getsockname()[1]
        return self.ports[name]

    def service(self, name: str, *flags: str, **fields: Any) -> Service:
        """One toy server; `flags` go to toy_server.py, `fields` to the Service."""
        port = self.port(name)
        settled: dict[str, Any] = {
            "role": "engine",
            "argv": (sys.executable, str(SERVER), "--port", str(port), *flags),
            "ready": Readiness(f"http://127.0.0.1:{port}/health", DEADLINE_S),
            "listen": (("127.0.0.1", port),),
            "stop_timeout_s": 5.0,
        }
        return Service(name, **{**settled, **fields})

    def stack(self, *services: Service) -> Stack:
        return Stack("toy", "process", services)

    def up(self, *services: Service, **secrets: str) -> list[Event]:
        return list(self.engine.apply(self.stack(*services), secrets))

    def seen(self, name: str) -> ObservedService:
        found = self.engine.observe().service(name)
        assert found is not None
        return found

    def pid(self, name: str) -> int:
        pid = self.seen(name).pid
        assert pid is not None
        return pid

    def pid_or_none(self, name: str) -> int | None:
        found = self.engine.observe().service(name)
        return None if found is None else found.pid

    def ask(self, name: str, path: str = "/health") -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port(name)}{path}", timeout=5) as reply:
            return reply.read().decode()

    def alive(self, service: str | None = None) -> list[int]:
        """Processes that carry this platform's mark, of one service or all."""
        marked = procfs.marked(self.home)
        return sorted(pid for pid, name in marked.items() if service in (None, name))

    def leaders(self, service: str) -> list[int]:
        """How many copies: its processes less those that another of them forked."""
        alive = self.alive(service)
        return [pid for pid in alive if (p := procfs.look(pid)) and p.parent not in alive]

    def supervisor(self) -> int:
        """The one that acts."""
        book, _ = self.engine._read("observed.json")
        return book["supervisor"]["pid"] if book else 0

    def standby(self) -> int:
        found = [pid for pid in self.alive(procfs.SUPERVISOR) if pid != self.supervisor()]
        return found[0] if len(found) == 1 else 0

    def kill(self, pid: int) -> None:
        assert pid > 1, "0 would be our own process group"
        os.kill(pid, signal.SIGKILL)

    def kill_supervisors(self) -> None:
        """Both; and what one of them may just have started."""

        def none_left() -> bool:
            for pid in self.alive(procfs.SUPERVISOR):
                process = procfs.look(pid)
                if process is not None:
                    procfs.send(process, signal.SIGKILL)
            return not self.alive(procfs.SUPERVISOR)

        until(none_left, "no supervisor is left")

    def log(self, name: str) -> str:
        return (self.layout.logs / f"{name}.log").read_text()

    def wipe(self) -> None:
        """Supervisors first: they would bring the others back."""
        for pid in self.alive(procfs.SUPERVISOR) + started_under(self.home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    made = Toy(tmp_path)
    yield made

    def none_left() -> bool:
        made.wipe()
        return not started_under(made.home)

    until(none_left, "no process of the test is left")


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of no test's platform may a process outlive the run, whichever test started it and however it ended."""
    yield
    # What a fixture of the whole session runs lies beside the tests' own folders, and may end after this.
    folder = tmp_path_factory.getbasetemp().resolve() / "test_"
    left = {pid: procfs.command_line(pid) for pid in started_under(str(folder))}
    assert not left, f"processes of tests are still there: {left}"
