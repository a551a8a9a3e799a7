"""Whole requests against backends that do anything, in any order, by a clock that a test turns: none leaks.

Real are serve, attempts, hedging, admission, cache and every policy; made up are the clock, the clients and
the bytes of the backends.
"""

from __future__ import annotations

import asyncio
import selectors
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway import app, reload
from gateway.client import Reply, UpstreamFailed
from gateway.log import Journal
from gateway.net.failure import Phase
from gateway.serve import Serve
from gateway.settings import read_settings
from tests.examples import examples

IDS = ("a", "b", "c")
FAILURES: dict[str, tuple[Phase, dict[str, bool]]] = {
    "refused": ("connect", {}),
    "no room": ("connect", {"ours": True}),
    "stale": ("send", {"reused": True}),
    "reset": ("head", {}),
    "hung": ("head", {"timed_out": True}),
    "broken": ("head", {"begun": True}),
}


class Selector(selectors.SelectSelector):
    """Nobody sleeps: the clock goes on to the next timer instead."""

    now = 0.0

    def select(self, timeout=None):
        if timeout is not None and timeout > 0:
            self.now += timeout
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = Selector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


class Head:
    method = b"POST"

    def __init__(self, path: bytes, headers: dict[bytes, bytes]) -> None:
        self.path, self.headers = path, headers

    def get(self, name: bytes) -> bytes | None:
        return self.headers.get(name)


class Client:
    """One call: what an exchange is to a handler."""

    peer = "10.0.0.1"
    id = "req_1"
    cut = started = ended = False
    status = bytes_sent = bytes_received = 0
    keep_alive = True

    def __init__(self, now: float, path: bytes, body: bytes, headers: dict[bytes, bytes]) -> None:
        self.head, self.received_at, self._body = Head(path, headers), now, body
        self.answers = 0

    async def body(self) -> bytes:
        return self._body

    def respond(self, status: int, lines: bytes, body: bytes) -> None:
        self.status, self.ended, self.started = status, True, True
        self.answers += 1
        if status == 503 and b"model_loading" in body + b"overloaded":
            assert b"retry-after: 0" not in lines

    def start(self, status: int, lines: bytes, length: int | None) -> None:
        self.status, self.started = status, True

    def write(self, data: bytes) -> None:
        self.bytes_sent += len(data)

    async def drain(self) -> None:
        pass

    def end(self) -> None:
        self.ended = True
        self.answers += 1

    def abort(self) -> None:
        self.ended = True
        self.answers += 1


class Answer(Reply):
    """Whole, or a head whose body is yet to come."""

    __slots__ = ("_body", "_sends", "closed")

    def __init__(self, sends: Sends, status: int, *, whole: bool) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.status, self.headers, self.length = status, ((b"content-type", b"application/json"),), 2
        self._sends, self.closed = sends, False
        self._body = None if whole else asyncio.get_running_loop().create_future()
        if self._body is not None:
            sends.bodies.append(self._body)

    def whole(self, limit: int) -> bytes | None:
        return b"{}" if self._body is None else None

    async def read(self) -> bytes:
        body = self._body
        if body is None:
            return b""
        piece: bytes = await body
        self._body = None
        return piece

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._sends.open -= 1


class Sends:
    """The client side, in place of the pools: each call waits here until the test says what becomes of it."""

    def __init__(self) -> None:
        self.open = 0
        """Sent, and neither failed nor closed: the connections in use."""
        self.waiting: list[tuple[str, asyncio.Future[object]]] = []
        self.bodies: list[asyncio.Future[bytes]] = []

    def configure(self, *_: object) -> None:
        pass

    async def send(self, backend, call, head, request_id, deadline, more=b"", *, fresh=False) -> Reply:
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((backend.id, future))
        self.open += 1
        answered = False
        try:
            async with asyncio.timeout_at(deadline):
                says = await future
            if isinstance(says, UpstreamFailed):
                raise says
            answered = True
            return Answer(self, says[0], whole=says[1])
        except TimeoutError:
            raise UpstreamFailed("head", "deadline", timed_out=True) from None
        finally:
            self.waiting = [each for each in self.waiting if each[1] is not future]
            if not answered:
                self.open -= 1


def config(*, hedging: bool, waiting: int, ids: tuple[str, ...] = IDS, **cache: object) -> dict[str, object]:
    def model(name: str, task: str) -> dict[str, object]:
        backends = [
            {"id": f"{name}-{each}", "url": f"http://{each}-{name}:1", "concurrency": 2} for each in ids
        ]
        return {"name": name, "served_name": name, "tasks": [task], "backends": backends}

    return {
        "models": [model("chat", "chat"), model("embed", "embed")],
        "keys": {"shared_env": None},
        "breaker": {"failures": 2, "recovery_s": 5.0},
        "retries": {"attempts": 3, "budget_min": 2},
        "queue": {"timeout_s": 2.0, "waiting": waiting},
        "hedging": {"enabled": hedging, "after_s": 0.5},
        "log": {"level": "error"},
        "timeouts": {"total_s": 60.0},
    } | {"cache": cache}


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        self.folder = tempfile.TemporaryDirectory()
        self.calls: list[tuple[Client, asyncio.Task[None]]] = []
        self.seen: set[object] = set()
        self.loop.run_until_complete(self.start())

    async def start(self) -> None:
        settings = self.read(config(hedging=True, waiting=3))
        self.live, _ = app._assemble(settings, Journal(settings.config.log, lambda: 0.0), 0.0)
        self.sends = self.live.client = Sends()  # type: ignore[assignment]
        self.serve = Serve(self.live, None)  # type: ignore[arg-type]
        for backend in self.live.balancer.backends():
            backend.health.probed("answered", "", 0.0, 10.0, 1.0)

    def read(self, data):
        file = Path(self.folder.name) / "gateway.yaml"
        file.write_text(yaml.safe_dump(data))
        return read_settings(file, {})

    def run(self, seconds: float = 0.0) -> None:
        async def later() -> None:
            for _ in range(8):
                await asyncio.sleep(0)
            if seconds:
                await asyncio.sleep(seconds)
                for _ in range(8):
                    await asyncio.sleep(0)

        self.loop.run_until_complete(later())
        for client, task in [each for each in self.calls if each[1].done()]:
            self.calls.remove((client, task))
            if task.cancelled():
                assert client.answers == 0
            else:
                assert task.exception() is None
                assert client.answers == 1

    @rule(
        embed=st.booleans(),
        text=st.sampled_from("xyz"),
        tenant=st.sampled_from(["10.0.0.1", "10.0.0.2"]),
        timeout=st.sampled_from([None, b"0.3", b"4"]),
    )
    def come(self, embed, text, tenant, timeout):
        self.send_one(embed, text, tenant, timeout)
        self.run()

    def send_one(self, embed, text, tenant, timeout):
        path, name = (b"/v1/embeddings", "embed") if embed else (b"/v1/chat/completions", "chat")
        said = f'"input":"{text}"' if embed else f'"messages":[{{"role":"user","content":"{text}"}}]'
        client = Client(self.loop.time(), path, f'{{"model":"{name}",{said}}}'.encode(), {})
        client.peer = tenant
        if timeout is not None:
            client.head.headers[b"x-request-timeout"] = timeout
        self.calls.append((client, self.loop.create_task(self.serve(client))))  # type: ignore[arg-type]

    @precondition(lambda self: self.sends.waiting)
    @rule(
        n=st.integers(0, 50),
        status=st.sampled_from([200, 200, 200, 400, 429, 500, 502, 503]),
        whole=st.booleans(),
    )
    def answer(self, n, status, whole):
        self.sends.waiting[n % len(self.sends.waiting)][1].set_result((status, whole))
        self.run()

    @precondition(lambda self: len(self.sends.waiting) > 1)
    @rule(n=st.integers(0, 50), m=st.integers(0, 50))
    def answer_two_at_once(self, n, m):
        for at in {n % len(self.sends.waiting), m % len(self.sends.waiting)}:
            self.sends.waiting[at][1].set_result((200, True))
        self.run()

    @rule(tenant=st.sampled_from(["10.0.0.1", "10.0.0.2"]))
    def come_to_a_silent_backend(self, tenant):
        """Long enough for a second one to be asked."""
        self.send_one(False, "x", tenant, None)
        self.run(0.6)

    @precondition(lambda self: self.sends.waiting)
    @rule(n=st.integers(0, 50), how=st.sampled_from(sorted(FAILURES)))
    def fail(self, n, how):
        phase, facts = FAILURES[how]
        self.sends.waiting[n % len(self.sends.waiting)][1].set_result(UpstreamFailed(phase, how, **facts))
        self.run()

    @precondition(lambda self: any(not body.done() for body in self.sends.bodies))
    @rule(n=st.integers(0, 50), breaks=st.booleans())
    def body(self, n, breaks):
        waiting = [body for body in self.sends.bodies if not body.done()]
        body = waiting[n % len(waiting)]
        if breaks:
            body.set_exception(UpstreamFailed("body", "broke off", begun=True))
            body.exception()  # nobody may be reading
        else:
            body.set_result(b"{}")
        self.run()

    @precondition(lambda self: self.calls)
    @rule(n=st.integers(0, 50), at_once=st.booleans())
    def leave(self, n, at_once):
        """A client goes; `at_once`: in the moment in which its answer comes."""
        if at_once and self.sends.waiting:
            self.sends.waiting[n % len(self.sends.waiting)][1].set_result((200, True))
        self.calls[n % len(self.calls)][1].cancel()
        self.run()

    @rule(seconds=st.sampled_from([0.1, 0.5, 2.0, 6.0]))
    def wait(self, seconds):
        self.run(seconds)

    @rule(n=st.integers(0, 5), what=st.sampled_from(["down", "up", "drain", "undrain"]))
    def changes(self, n, what):
        known = self.live.balancer.backends()
        backend = known[n % len(known)]
        now = self.loop.time()
        if what == "down":
            backend.health.connect_failed("refused", now)
        elif what == "up":
            backend.health.probed("answered", "", now, 10.0, 1.0)
            backend.breaker.reset()
        else:
            backend.drained = what == "drain"
        self.loop.run_until_complete(self.pump())
        self.run()

    async def pump(self) -> None:
        self.live.admission.pump_all()

    @rule(
        hedging=st.booleans(),
        waiting=st.integers(1, 4),
        ids=st.sampled_from([IDS, ("a", "b")]),
        cache=st.booleans(),
    )
    def reloads(self, hedging, waiting, ids, cache):
        wanted = self.read(config(hedging=hedging, waiting=waiting, ids=ids, enabled=cache))

        async def go() -> None:
            reload.apply(self.live, wanted, self.loop.time())

        self.loop.run_until_complete(go())
        self.run()

    @invariant()
    def counts_are_those_of_the_calls(self):
        live, self.seen = self.live, self.seen | set(self.live.balancer.backends())
        assert live.balancer.in_flight == sum(each.in_flight for each in self.seen)
        assert all(0 <= each.in_flight <= 2 for each in self.seen)
        assert self.sends.open <= live.balancer.in_flight
        assert live.retries.retrying <= len(self.calls)
        assert sum(len(line.queue) for line in live.admission.lines.values()) <= len(self.calls)
        assert len(live.caching.cache._flights) <= len(self.calls)

    @invariant()
    def nobody_waits_while_there_is_a_place(self):
        for model, line in self.live.admission.lines.items():
            free = [
                each
                for each in self.live.balancer.of(model)
                if each.takes_requests and each.breaker.state == "closed" and each.in_flight < each.capacity
            ]
            assert not (free and line.queue.first())

    def teardown(self) -> None:
        try:
            self.end_all()
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()
            self.folder.cleanup()

    def end_all(self) -> None:
        for _ in range(3):  # whoever waits is served, tries again, or is told no
            for _, future in list(self.sends.waiting):
                future.set_result((200, True))
            for body in self.sends.bodies:
                if not body.done():
                    body.set_result(b"{}")
            self.run(3.0)
        self.run(70.0)
        assert self.calls == []
        assert (self.live.balancer.in_flight, self.live.retries.retrying, self.sends.open) == (0, 0, 0)
        assert (self.live.admission.lines, self.live.caching.cache._flights) == ({}, {})
        assert not [task for task in asyncio.all_tasks(self.loop) if not task.done()]


Machine.TestCase.settings = settings(max_examples=examples(40), stateful_step_count=50, deadline=None)
TestMachine = pytest.mark.sources(Machine.TestCase)
