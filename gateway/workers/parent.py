"""The parent of a gateway's workers: it serves nothing, so that nothing a client sends can end it.

    start      the files are read once; one listening socket a worker; all workers started
    a death    the worker is started again, with the settings and drains that are in force
    HUP        the files are read and judged here; all workers take them over, or none
    TERM, INT  all drain together: none stops accepting while another still has clients
    its end    the kernel ends the workers

A worker that ends before any of them has served ends the gateway, with its exit code.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from gateway import metrics
from gateway.config import ConfigError
from gateway.log import Journal
from gateway.metrics import Snapshot
from gateway.settings import Sources, read_sources, settings_of
from gateway.version import compiled, version
from gateway.workers import sums
from gateway.workers.channel import Channel, Facts, FailedError
from gateway.workers.link import sources_to_wire
from gateway.workers.listeners import Listeners
from gateway.workers.restart import FIRST_S, Pace

PORT_TAKEN: Final = 5
INTERNAL: Final = 70
ANSWER_S: Final = 2.0
"""For one worker to say how it is; one that does not is told of by what it last said."""
DO_S: Final = 12.0
"""For one worker to do what all do: an undrained backend is probed first."""
SETTLE_S: Final = 2.0
"""For one worker to take over what was set at run time, or to tell the store what it has counted."""
STOP_SLACK_S: Final = 5.0
"""Beyond the drain's limit, until a worker that will not end is killed."""

State = Literal["starting", "serving", "stopping", "waiting"]


class Seat:
    """A worker's place: the sockets it listens on, and whoever sits there now."""

    def __init__(self, number: int, now: float) -> None:
        self.number = number
        self.listeners: list[socket.socket] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: Channel | None = None
        self.state: State = "starting"
        self.since = now
        """When it was started, by the loop's clock."""
        self.start_at: float | None = None
        self.quiet = False
        self.restarts = 0
        self.last_end = ""
        self.pace = Pace()
        self.latest: Snapshot = {}
        self.tallies: dict[str, list[int]] = {}

    @property
    def serves(self) -> bool:
        return self.process is not None and self.state in {"serving", "stopping"}

    def report(self, value: Facts) -> None:
        self.latest = sums.from_wire(value["numbers"])
        self.tallies = value["tallies"]

    def row(self, now: float) -> Facts:
        """For /health/detailed."""
        runs = self.process is not None
        return {
            "worker": self.number,
            "pid": self.process.pid if self.process is not None else None,
            "state": self.state,
            "up_s": round(now - self.since, 3) if runs else None,
            "restarts": self.restarts,
            "last_end": self.last_end,
            "start_in_s": None if self.start_at is None else round(max(0.0, self.start_at - now), 3),
        }


def run(sources: Sources, path: Path, environ: Mapping[str, str], workers: int) -> int:
    """Until it is stopped; the settings were found good. The exit code."""

    async def parent() -> int:
        return await Parent(sources, path, environ, workers).run()

    with asyncio.Runner() as runner:  # not uvloop: 5 MB, and nothing here is fast
        return runner.run(parent())


class Parent:
    def __init__(self, sources: Sources, path: Path, environ: Mapping[str, str], workers: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._environ = environ
        self._sources = sources
        self._settings = settings_of(sources, environ)
        self._created = time.time()
        self._seats = [Seat(number, self._loop.time()) for number in range(workers)]
        self._log_lock = _nameless()
        self._journal = Journal(self._settings.config.log, time.time, lock=self._log_lock)
        self._drained: set[str] = set()
        self._refused = ""
        self._left: Snapshot = {}
        """What workers counted that are no more, and what is counted here."""
        self._left_tallies: dict[str, list[int]] = {}
        self._serving_once = False
        self._stopping = False
        self._code = 0
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reloading = asyncio.Lock()
        self._listeners: Listeners

    async def run(self) -> int:
        config, loop = self._settings.config, self._loop
        address = f"{config.listen.host}:{config.listen.port}"
        try:
            self._listeners = Listeners(config.listen.host, config.listen.port, len(self._seats))
            for seat in self._seats:
                seat.listeners = self._listeners.of_worker()
        except OSError as error:
            self._journal.event("error", "not_started", why=error.strerror, address=address)
            self._journal.close()
            return PORT_TAKEN
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        loop.add_signal_handler(signal.SIGHUP, self._hup)
        for seat in self._seats:
            await self._start(seat)
        await self._ended.wait()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listeners.close()
        if self._serving_once:
            self._journal.event("info", "gateway_stopped")
        self._journal.close()
        return self._code

    # Starting, and starting again.

    async def _start(self, seat: Seat) -> None:
        """Raises OSError."""
        ours, theirs = socket.socketpair()
        told = _nameless()
        seat.start_at, seat.state, seat.quiet, seat.since = None, "starting", False, self._loop.time()
        try:
            if not seat.listeners:
                seat.listeners = self._listeners.of_worker()
            listeners = [each.fileno() for each in seat.listeners]
            post = {
                "number": seat.number,
                "workers": len(self._seats),
                "restarted": self._serving_once,
                "created": self._created,
                "sources": sources_to_wire(self._sources),
                "refused": self._refused,
                "drained": sorted(self._drained),
                "channel": theirs.fileno(),
                "listeners": listeners,
                "log_lock": self._log_lock,
            }
            _fill(told, orjson.dumps(post))
            seat.process = subprocess.Popen(  # noqa: ASYNC220 - a few ms, and nothing is served here
                [sys.executable, "-m", "gateway.worker", str(told), str(os.getpid())],
                pass_fds=(told, theirs.fileno(), self._log_lock, *listeners),
                stdin=subprocess.DEVNULL,
            )
        except OSError:
            ours.close()
            raise
        finally:
            os.close(told)
            theirs.close()
        channel = Channel(lambda op, facts: self._hear(seat, op, facts), lambda: self._hung_up(seat))
        seat.channel = channel
        await self._loop.create_unix_connection(lambda: channel, sock=ours)
        if self._stopping:  # it was being started when the stop came
            channel.tell("stop")

    async def _start_after(self, seat: Seat, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        while not self._stopping:
            try:
                await self._start(seat)
            except OSError as error:
                seat.state = "waiting"
                self._journal.event("error", "worker_not_started", worker=seat.number, why=str(error))
                await asyncio.sleep(FIRST_S)
            else:
                return

    def _reap(self) -> None:
        for seat in self._seats:
            if seat.process is not None and seat.process.poll() is not None:
                self._check_dead(seat)

    def _hung_up(self, seat: Seat) -> None:
        seat.channel = None
        self._check_dead(seat)

    def _check_dead(self, seat: Seat) -> None:
        """It has ended, and its last word was heard."""
        if seat.process is not None and seat.process.returncode is not None and seat.channel is None:
            code, seat.process = seat.process.returncode, None
            self._bury(seat, code, self._loop.time() - seat.since)

    def _bury(self, seat: Seat, code: int, lived_s: float) -> None:
        self._left = sums.total([self._left, sums.counted(seat.latest)])
        for backend_id, (requests, errors) in seat.tallies.items():
            known = self._left_tallies.setdefault(backend_id, [0, 0])
            known[0] += requests
            known[1] += errors
        seat.latest, seat.tallies = {}, {}
        seat.last_end = _end_of(code)
        if self._stopping:
            seat.state = "stopping"
            _close(seat)
            self._check_end()
            return
        if not self._serving_once:
            self._give_up(seat, code)
            return
        pause_s = seat.pace.after(lived_s)
        seat.state, seat.restarts = "waiting", seat.restarts + 1
        self._count(metrics.WORKER_RESTARTS, (str(seat.number),))
        self._journal.event(
            "error",
            "worker_ended",
            worker=seat.number,
            how=seat.last_end,
            lived_s=round(lived_s, 3),
            restart_in_s=pause_s,
        )
        if pause_s:
            _close(seat)  # else connections would wait there for somebody to come
            seat.start_at = self._loop.time() + pause_s
        self._later(self._start_after(seat, pause_s))

    def _give_up(self, seat: Seat, code: int) -> None:
        """No worker has ever served: it would be the same again."""
        self._code = code if 0 < code < 128 else INTERNAL
        self._stopping = True
        self._journal.event("error", "not_started", worker=seat.number, why=f"a worker {seat.last_end}")
        for each in self._seats:
            if each.process is not None:
                each.process.kill()
        self._check_end()

    # Stopping.

    def _interrupted(self) -> None:
        """A second Ctrl-C is somebody who will not wait for the drain."""
        if self._stopping:
            self._tell_all("hurry")
        self._stop()

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        limit_s = self._settings.config.timeouts.drain_s
        self._journal.event("info", "draining", limit_s=limit_s)
        for seat in self._seats:
            if seat.state == "serving":
                seat.state = "stopping"
        self._tell_all("stop")
        self._later(self._kill_after(limit_s + STOP_SLACK_S))
        self._check_end()

    def _check_quiet(self) -> None:
        if self._stopping and all(seat.quiet for seat in self._seats if seat.process is not None):
            self._tell_all("over")
            for seat in self._seats:
                _close(seat)

    async def _kill_after(self, limit_s: float) -> None:
        await asyncio.sleep(limit_s)
        for seat in self._seats:
            if seat.process is not None:
                self._journal.event(
                    "error", "worker_killed", worker=seat.number, why="it did not stop in time"
                )
                seat.process.kill()

    def _check_end(self) -> None:
        if all(seat.process is None for seat in self._seats):
            self._ended.set()
        else:
            self._check_quiet()

    # What workers say.

    def _hear(self, seat: Seat, op: str, facts: Facts) -> Any:
        return _HEARD[op](self, seat, **facts)

    def _ready(self, seat: Seat) -> None:
        seat.state = "stopping" if self._stopping else "serving"
        if not self._serving_once and all(each.state == "serving" for each in self._seats):
            self._serving_once = True
            config = self._settings.config
            self._journal.event(
                "info",
                "started",
                version=version(),
                compiled=compiled(),
                address=f"{config.listen.host}:{config.listen.port}",
                models=[model.name for model in config.models],
                workers=len(self._seats),
                pid=os.getpid(),
            )

    def _is_quiet(self, seat: Seat, quiet: bool) -> None:
        seat.quiet = quiet
        self._check_quiet()

    def _pushed(self, seat: Seat, value: Facts) -> None:
        seat.report(value)

    async def _total(self, seat: Seat, value: Facts) -> sums.Wire:
        seat.report(value)
        await self._each("numbers", ANSWER_S, lambda each, said: each.report(said), self._others(seat))
        # Of one moment: who died meanwhile is in what is left, and not among those who live.
        serving = sum(each.serves for each in self._seats)
        ours: Snapshot = {metrics.WORKERS: {(): (serving,)}}
        living = [
            {metric: series for metric, series in each.latest.items() if metric is not metrics.WORKERS}
            for each in self._seats
        ]
        return sums.to_wire(sums.total([self._left, ours, *living]))

    async def _documents(self, seat: Seat, value: Facts) -> Facts:
        found = {seat.number: value}

        def take(each: Seat, said: Facts) -> None:
            found[each.number] = said

        await self._each("document", ANSWER_S, take, self._others(seat))
        now = self._loop.time()
        return {
            "documents": {str(number): found[number] for number in sorted(found)},
            "workers": [each.row(now) for each in self._seats],
            "tallies": self._left_tallies,
        }

    async def _story(self, seat: Seat, request_id: str) -> Facts | None:
        found: list[Facts] = []

        def take(_: Seat, said: Facts | None) -> None:
            if said is not None:
                found.append(said)

        await self._each("story", ANSWER_S, take, self._others(seat), request_id=request_id)
        return found[0] if found else None

    async def _drain(self, _: Seat, backend: str, *, drained: bool) -> list[int]:
        """The workers that have not done it in time. Those that start from now on know of it."""
        if drained:
            self._drained.add(backend)
        else:
            self._drained.discard(backend)
        return await self._each("set_drained", DO_S, backend=backend, drained=drained)

    async def _all_do(self, _: Seat, what: str, least: int) -> Facts:
        """Who starts from now on reads anew what the store says, so only those that serve are asked."""
        serving = [seat for seat in self._seats if seat.serves]
        done: list[int] = []

        def take(seat: Seat, came_to: int) -> None:
            if came_to >= least:
                done.append(seat.number)

        await self._each(what, SETTLE_S, take, serving)
        return {"done": sorted(done), "late": [each.number for each in serving if each.number not in done]}

    # To all workers.

    def _tell_all(self, op: str, **facts: Any) -> None:
        for seat in self._seats:
            if seat.channel is not None:
                seat.channel.tell(op, **facts)

    def _others(self, seat: Seat) -> list[Seat]:
        """That can say how they are."""
        return [each for each in self._seats if each is not seat and each.serves]

    async def _each(
        self,
        op: str,
        limit_s: float,
        take: Callable[[Seat, Any], None] = lambda *_: None,
        seats: Sequence[Seat] | None = None,
        **facts: Any,
    ) -> list[int]:
        """Asks all that run, or those of `seats`; who is starting answers when it has started.

        The numbers of those that did not answer; one that has ended is none of them.
        """

        async def ask(seat: Seat, channel: Channel) -> bool:
            try:
                said = await channel.ask(op, limit_s, **facts)
            except TimeoutError:
                return False
            except FailedError:
                return True
            if seat.channel is channel:
                take(seat, said)
            return True

        asked = [
            (seat, seat.channel)
            for seat in (self._seats if seats is None else seats)
            if seat.channel is not None
        ]
        answered = await asyncio.gather(*(ask(seat, channel) for seat, channel in asked))
        return [seat.number for (seat, _), came in zip(asked, answered, strict=True) if not came]

    def _hup(self) -> None:
        self._later(self._reload())

    async def _reload(self) -> Facts:
        """All or nothing: they take over what is read here, not what each would read."""
        async with self._reloading:
            try:
                sources = read_sources(self._path)
                settings = settings_of(sources, self._environ)
            except ConfigError as error:
                self._refused = str(error)
                self._count(metrics.RELOADS, ("refused",))
                self._journal.event("error", "reload_refused", file=error.file, problems=list(error.problems))
                await self._each("refuse", DO_S, why=self._refused)
                return {"problems": list(error.problems), "gone": []}
            self._sources, self._settings, self._refused = sources, settings, ""
            self._journal.configure(settings.config.log)
            known = {backend.id for model in settings.config.models for backend in model.backends}
            self._drained &= known
            gone: dict[str, None] = {}

            def take(_: Seat, said: list[str]) -> None:
                gone.update(dict.fromkeys(said))

            missing = await self._each("reload", DO_S, take, sources=sources_to_wire(sources))
            self._count(metrics.RELOADS, ("applied",))
            level = "warning" if missing else "info"
            self._journal.event(level, "reloaded_everywhere", workers=len(self._seats), missing=missing)
            return {"problems": [], "gone": list(gone)}

    # Small things.

    def _count(self, metric: metrics.Metric, labels: metrics.Labels) -> None:
        self._left = sums.total([self._left, {metric: {labels: (1,)}}])

    def _later(self, doing: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._journal.event("error", "internal_error", why=repr(error))


_HEARD: dict[str, Callable[..., Any]] = {
    "ready": Parent._ready,  # noqa: SLF001 - the table of this class
    "quiet": Parent._is_quiet,  # noqa: SLF001
    "push": Parent._pushed,  # noqa: SLF001
    "total": Parent._total,  # noqa: SLF001
    "story": Parent._story,  # noqa: SLF001
    "documents": Parent._documents,  # noqa: SLF001
    "drain": Parent._drain,  # noqa: SLF001
    "all_do": Parent._all_do,  # noqa: SLF001
    "reload": lambda parent, _: parent._reload(),  # noqa: SLF001
}


def _close(seat: Seat) -> None:
    for listener in seat.listeners:
        listener.close()
    seat.listeners.clear()


def _fill(fd: int, data: bytes) -> None:
    """With what is to be read from its beginning."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)


def _end_of(code: int) -> str:
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"ended with exit code {code}"


def _nameless() -> int:
    """A file without a name, gone with the last process that has it open."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("infctl-gateway")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
