"""Clients that leave, by the phase their request is in, in front of one gateway; what the backends saw of it.

    queued       another call has the model's only place
    connecting   the backend's line of unaccepted connections is full
    waiting      the backend computes, and has not said a word
    streaming    between two pieces of the answer
    backing off  the backend was busy; the next try is far away

They leave in turns: closing, resetting, or closing their sending side alone.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tests.gateway.process import KEY, Gateway
from tests.gateway.raw import EVENT, EVENTS, JSON, chunk, sized
from tests.hazards.toxics import RESET

Phase = Literal["queued", "connecting", "waiting", "streaming", "backing off"]
PHASES: tuple[Phase, ...] = get_args(Phase)
LIMIT_S = 1.0
PATIENCE_S = 10.0
"""Of the measuring, for what should have happened long before."""
FAR_S = 3600.0
SYN_SENT = "02"


@dataclass
class Tally:
    """So many clients left in one phase."""

    phase: Phase
    stream: bool
    count: int
    slowest_s: float = 0.0
    """From leaving to the end of the connection at the backend, or of the wait."""
    late: int = 0
    """Of more than LIMIT_S, or never."""
    stray: int = 0
    """Calls that reached a backend though their client had left."""

    @property
    def ok(self) -> bool:
        return not (self.late or self.stray)

    def took(self, seconds: float) -> None:
        self.slowest_s = max(self.slowest_s, seconds)
        self.late += seconds > LIMIT_S


class Backends:
    """All of them, in the measuring process. `reached` and `gone`: by the call's own number."""

    def __init__(self) -> None:
        self.reached: dict[int, int] = {}
        """How often it came."""
        self.gone: dict[int, float] = {}
        """When its connection ended (time.monotonic)."""
        self.ports: dict[str, int] = {}
        self._servers: dict[str, asyncio.Server] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.fillers: list[socket.socket] = []

    async def start(self) -> None:
        for name in (*PHASES, "elsewhere"):
            listening = socket.create_server(("127.0.0.1", 0))
            if name == "connecting":
                self._deaf = listening.dup()
            self._servers[name] = await asyncio.start_server(self._accepted, sock=listening, backlog=512)
            self.ports[name] = listening.getsockname()[1]

    def go_deaf(self) -> None:
        """No connection is accepted any more, and the line of those that wait for it is full."""
        self._servers["connecting"].close()
        self._deaf.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(("127.0.0.1", self.ports["connecting"]))
            self.fillers.append(filler)

    async def stop(self) -> None:
        for each in (*self.fillers, self._deaf, *self._servers.values()):
            each.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number: int | None = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET "):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                return
            found = re.search(rb"content-length: (\d+)", head)
            assert found is not None
            call = json.loads(await reader.readexactly(int(found[1])))
            number = int(call["messages"][0]["content"])
            self.reached[number] = self.reached.get(number, 0) + 1
            if call["model"] == "streaming":
                writer.write(
                    EVENTS + b"transfer-encoding: chunked\r\n\r\n" + chunk(EVENT)
                    if call["stream"]
                    else JSON + b'content-length: 2000000\r\n\r\n{"data":"aaaa'
                )
            elif call["model"] == "backing-off":
                writer.write(sized(b'{"error":{"message":"busy"}}', b"HTTP/1.1 503 X\r\n"))
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            if number is not None:
                self.gone[number] = time.monotonic()
            writer.close()


def config(backends: Backends) -> dict[str, Any]:
    def model(phase: Phase) -> dict[str, Any]:
        name = phase.replace(" ", "-")
        known = [{"id": name, "url": f"http://127.0.0.1:{backends.ports[phase]}"}]
        if phase == "backing off":  # the next try would go elsewhere
            known.append({"id": "elsewhere", "url": f"http://127.0.0.1:{backends.ports['elsewhere']}"})
        if phase == "queued":
            known = [known[0] | {"concurrency": 1}]  # type: ignore[dict-item]
        return {"name": name, "served_name": name, "tasks": ["chat"], "backends": known}

    return {
        "models": [model(name) for name in PHASES],
        "timeouts": {"connect_s": FAR_S, "drain_s": 1.0},
        "upstream": {"keep_alive": 0},
        "queue": {"timeout_s": FAR_S, "waiting": 100_000},
        "retries": {"backoff_s": FAR_S, "backoff_max_s": FAR_S, "budget_min": 1000},
        "breaker": {"enabled": False},
        "probes": {"interval_s": FAR_S, "loading_interval_s": FAR_S},
        "cache_salt": "shared",
    }


class Clients:
    """Those of one gateway."""

    def __init__(self, gateway: Gateway, backends: Backends) -> None:
        self.gateway = gateway
        self.backends = backends
        self._number = 0

    async def leave(self, phase: Phase, *, stream: bool, count: int, at_once: int = 50) -> Tally:
        tally = Tally(phase, stream, count)
        holder = await self._ask("queued", stream=False) if phase == "queued" else None
        if holder is not None:
            await self._until(lambda: holder.number in self.backends.reached)
        for done in range(0, count, at_once):
            await self._some(tally, min(at_once, count - done))
        if holder is not None:
            holder.leave(0)
        return tally

    async def _some(self, tally: Tally, count: int) -> None:
        before = self._descriptors()
        clients = [await self._ask(tally.phase, stream=tally.stream) for _ in range(count)]
        numbers = [client.number for client in clients]
        await self._in_phase(tally.phase, clients)
        left_at: dict[int, float] = {}
        for client in clients:
            left_at[client.number] = time.monotonic()
            client.leave(client.number)
        reached, gone = self.backends.reached, self.backends.gone
        if tally.phase == "queued":
            tally.took(await self._until(lambda: self._waiting() == 0))
        elif tally.phase == "connecting":
            # Asking the kernel for connections that are not made yet is slow: its descriptors first.
            tally.took(await self._until(lambda: self._descriptors() <= before))
            await self._until(lambda: self._connecting() == 0)
        else:
            with suppress(TimeoutError):
                await self._until(lambda: all(number in gone for number in numbers))
            for number in numbers:
                tally.took(gone.get(number, float("inf")) - left_at[number])
        expected = tally.phase not in {"queued", "connecting"}
        tally.stray += sum(reached.get(number, 0) > expected for number in numbers)
        for client in clients:
            client.writer.close()

    async def _in_phase(self, phase: Phase, clients: list[Client]) -> None:
        """Waits until all of them are in it."""
        reached, gone = self.backends.reached, self.backends.gone
        numbers = [client.number for client in clients]
        if phase == "queued":
            await self._until(lambda: self._waiting() == len(clients))
        elif phase == "connecting":
            await self._until(lambda: self._connecting() == len(clients))
        else:
            await self._until(lambda: all(number in reached for number in numbers))
        if phase == "streaming":
            for client in clients:
                await client.reader.readuntil(b"\r\n\r\n")
        if phase == "backing off":
            await self._until(lambda: all(number in gone for number in numbers))

    async def _ask(self, phase: Phase, *, stream: bool) -> Client:
        self._number += 1
        messages = [{"role": "user", "content": str(self._number)}]
        asked = {"model": phase.replace(" ", "-"), "messages": messages, "stream": stream}
        body = json.dumps(asked).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        return Client(self._number, reader, writer)

    def _waiting(self) -> int:
        return int(next(m["waiting"] for m in self.gateway.detailed()["models"] if m["name"] == "queued"))

    def _descriptors(self) -> int:
        return len(tuple(Path(f"/proc/{self.gateway.process.pid}/fd").iterdir()))

    def _connecting(self) -> int:
        """Of the gateway's connections to the deaf backend, as the kernel says. Ours keep its line full."""
        wanted = f":{self.backends.ports['connecting']:04X} {SYN_SENT} "
        ours = {f":{each.getsockname()[1]:04X}" for each in self.backends.fillers}
        lines = [line for line in Path("/proc/net/tcp").read_text().splitlines() if wanted in line]
        return sum(line.split()[1][-5:] not in ours for line in lines)

    async def _until(self, done: Callable[[], bool]) -> float:
        """Seconds it took. Raises TimeoutError."""
        began = time.monotonic()
        while not await asyncio.to_thread(done):
            if time.monotonic() - began > PATIENCE_S:
                raise TimeoutError
            await asyncio.sleep(0.005)
        return time.monotonic() - began


@dataclass
class Client:
    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def leave(self, how: int) -> None:
        if how % 3 == 0:
            self.writer.close()
        elif how % 3 == 1:
            found = self.writer.get_extra_info("socket")
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.writer.transport.abort()
        else:
            self.writer.write_eof()


async def leave_in_all(start: Callable[[dict[str, Any]], Gateway], count: int) -> Outcome:
    """`count` clients a phase, plain and streaming."""
    backends = Backends()
    await backends.start()
    gateway = await asyncio.to_thread(start, config(backends))
    try:
        await asyncio.to_thread(gateway.wait_ready, len(PHASES) + 1)
        backends.go_deaf()
        clients = Clients(gateway, backends)
        tallies = [
            await clients.leave(phase, stream=stream, count=count)
            for phase in PHASES
            for stream in (False, True)
        ]
        return await asyncio.to_thread(Outcome, tallies, gateway)
    finally:
        await backends.stop()


class Outcome:
    """The tallies, and what the gateway itself says."""

    def __init__(self, tallies: list[Tally], gateway: Gateway) -> None:
        self.tallies = tallies
        self.count = sum(tally.count for tally in tallies) + 2  # two had the only place
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and not (self._settled(gateway)):
            time.sleep(0.05)
        self.in_flight = sum(each["in_flight"] for each in gateway.detailed()["backends"])
        self.logged = sum(
            (line["status"], line["outcome"]) == (499, "client_gone") for line in gateway.events("request")
        )
        text = gateway.http.get("/metrics").text
        counted = re.findall(r'infctl_requests_total\{.*outcome="client_gone".*\} (\S+)', text)
        self.counted = sum(int(float(each)) for each in counted)
        self.failures = sum(each["errors"] for each in gateway.detailed()["backends"])

    def _settled(self, gateway: Gateway) -> bool:
        lines = sum(line["status"] == 499 for line in gateway.events("request"))
        return lines == self.count and not any(each["in_flight"] for each in gateway.detailed()["backends"])

    @property
    def ok(self) -> bool:
        return (
            all(tally.ok for tally in self.tallies)
            and (self.in_flight, self.failures) == (0, 0)
            and self.logged == self.counted == self.count
        )
