"""Every toxic, on both sides of the gateway and in both directions: at header, body and mid-event.

All cases run at once through one gateway, each with a model, a backend, a tenant and a proxy of its own; a
test looks at what became of its case: exactly one terminal answer, the place released, the outcome in the
metrics and in the log line, the breaker's count.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import h11
import pytest

from tests.gateway.process import KEY, Gateway, until
from tests.gateway.raw import ANSWER, DONE, EVENT, EVENTS, JSON, chunk, sized
from tests.hazards import toxics
from tests.hazards.toxics import Place, Proxy, Toxic

IDLE_S = 2.5
TOTAL_S = 5.0
PATIENCE_S = 8.0
"""Of a client: longer than anything may take."""
TOXICS = ("latency", "bandwidth", "slicer", "slow_close", "timeout", "limit_data", "reset", "down")
CUTS = {"limit_data", "reset", "down"}
PLACES: dict[str, Place] = {
    "header": toxics.in_header,
    "body": toxics.in_body,
    "late body": toxics.in_body,
    "mid-event": toxics.in_event,
}
Leg = Literal["request to gateway", "answer to client", "request to backend", "answer to gateway"]
LONG_BYTES = 1_500_000
"""Longer than what is read whole before the first byte leaves."""
FLOOD_BYTES = 16_000_000
"""More than all buffers between two processes hold."""


def toxic(name: str) -> Toxic:
    return {
        "latency": toxics.Latency(0.1),
        "bandwidth": toxics.Bandwidth(10_000),
        "slicer": toxics.Slicer(16, 0.001),
        "slow_close": toxics.SlowClose(0.3),
        "timeout": toxics.Timeout(),
        "limit_data": toxics.LimitData(),
        "reset": toxics.ResetPeer(),
        "down": toxics.Down(),
    }[name]


@dataclass(frozen=True)
class Case:
    leg: Leg
    toxic: str
    place: str
    stream: bool

    @property
    def name(self) -> str:
        kind = "stream" if self.stream else "plain"
        return f"{self.leg}, {kind}, {self.place}, {self.toxic}"

    @property
    def id(self) -> str:
        return re.sub(r"[^a-z]+", "-", self.name)

    @property
    def at_client(self) -> bool:
        return self.leg in {"request to gateway", "answer to client"}

    @property
    def is_request(self) -> bool:
        return self.leg.startswith("request")


def places(leg: str, *, stream: bool) -> tuple[str, ...]:
    if leg.startswith("request"):
        return ("header", "body")
    if stream:
        return ("header", "mid-event")
    return ("header", "body") if leg == "answer to client" else ("header", "body", "late body")


def only_slows(name: str) -> bool:
    """Nothing is lost by this toxic."""
    return name not in CUTS and name != "timeout"


LEGS: tuple[Leg, ...] = ("request to gateway", "answer to client", "request to backend", "answer to gateway")
CASES = [
    Case(leg, name, place, stream)
    for leg in LEGS
    for stream in (False, True)
    for place in places(leg, stream=stream)
    for name in TOXICS
    if place != "late body" or not only_slows(name)
]


@dataclass(frozen=True)
class End:
    """What a case has to come to. `answer`: how it looks to the client."""

    answer: Literal["whole", "error", "error event", "cut", "nothing"]
    status: int
    """In the log; 0: there is no line, for there was no request."""
    outcome: str = ""
    reason: str = ""
    failures: int = 0


def expected(case: Case) -> End:  # noqa: C901 - a table
    if only_slows(case.toxic):
        return End("whole", 200, "ok")
    hangs = case.toxic == "timeout"
    match case.leg, case.place:
        case "request to gateway", "header":
            return End("error", 408, "refused", "request_timeout") if hangs else End("nothing", 0)
        case "request to gateway", _:
            if hangs:
                return End("error", 408, "refused", "request_timeout")
            return End("nothing", 499, "client_gone", "client_closed_request")
        case "answer to client", _:
            return End("cut", 499, "client_gone", "client_closed_request")
        case "request to backend", _:
            if hangs:
                return End("error", 504, "upstream_timeout", "timeout_head", 1)
            return End("error", 502, "upstream_error", "upstream_head", 1)
        case _, "header":
            if hangs:
                return End("error", 504, "upstream_timeout", "timeout_head", 1)
            return End("error", 502, "upstream_error", "upstream_head", 1)
        case _, "body":
            if hangs:
                return End("error", 504, "upstream_timeout", "timeout_body", 1)
            return End("error", 502, "upstream_truncated", "upstream_error", 1)
        case _, place:
            answer: Any = "cut" if place == "late body" else "error event"
            if hangs:
                return End(answer, 200, "upstream_timeout", "timeout_body", 1)
            return End(answer, 200, "upstream_truncated", "upstream_error", 1)


# The backend.


@dataclass
class Seen:
    """What became of a case."""

    answer: bytes = b""
    calls: int = 0
    """At the backend, whole ones."""
    fired_at: float | None = None
    left_at: float | None = None
    """When the gateway closed its connection to a backend that was not done."""
    line: dict[str, Any] = field(default_factory=dict)
    lines: int = 0
    backend: dict[str, Any] = field(default_factory=dict)
    counted: dict[tuple[str, str], int] = field(default_factory=dict)
    """(outcome, reason) -> requests, in the metrics."""


class Engine:
    """Behaves as the case wants whose model is asked for."""

    def __init__(self, seen: dict[str, Seen]) -> None:
        self.cases = {case.id: case for case in CASES}
        self.seen = seen

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /health "):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            return True
        found = re.search(rb"content-length: (\d+)", head)
        assert found is not None
        body = json.loads(await reader.readexactly(int(found[1])))
        case, seen = self.cases[body["model"]], self.seen[body["model"]]
        seen.calls += 1
        if case.leg == "answer to client" and case.toxic in CUTS:
            await self._begin(writer, case)
            await reader.read()
            seen.left_at = time.monotonic()
            return False
        if case.leg == "answer to client" and case.toxic == "timeout":
            await self._flood(writer, stream=case.stream)
        elif case.stream:
            await self._stream(writer)
        elif case.place == "late body":
            await self._begin(writer, case)
            await reader.read()
        elif case.toxic == "slow_close":
            writer.write(JSON + b"connection: close\r\n\r\n" + ANSWER)
            return False
        else:
            writer.write(sized(ANSWER))
        return True

    @staticmethod
    async def _begin(writer: asyncio.StreamWriter, case: Case) -> None:
        """Some of an answer whose rest does not come."""
        if case.stream:
            writer.write(EVENTS + b"transfer-encoding: chunked\r\n\r\n" + chunk(EVENT) * 5)
        else:
            writer.write(JSON + b"content-length: %d\r\n\r\n" % LONG_BYTES + b'{"data":"aaaaaaaaaaaaaaaaaaaa')
        await writer.drain()

    @staticmethod
    async def _stream(writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(6):
            writer.write(chunk(EVENT))
            await asyncio.sleep(0.02)
        writer.write(chunk(DONE) + b"0\r\n\r\n")

    @staticmethod
    async def _flood(writer: asyncio.StreamWriter, *, stream: bool) -> None:
        big = EVENT.replace(b'"x"', b'"%b"' % (b"x" * 64_000))
        if stream:
            writer.write(EVENTS + b"transfer-encoding: chunked\r\n\r\n" + chunk(EVENT) * 5)
        else:
            writer.write(JSON + b"content-length: %d\r\n\r\n" % FLOOD_BYTES)
        for _ in range(FLOOD_BYTES // 64_000):
            writer.write(chunk(big) if stream else b"a" * 64_000)
            await writer.drain()


# The client.


async def ask(port: int, case: Case, tenant: str, seen: Seen) -> None:
    """One request, and everything that comes until the connection ends."""
    messages = [{"role": "user", "content": "capital of France?" * 20}]
    body = json.dumps({"model": case.id, "messages": messages, "stream": case.stream}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        f"x-forwarded-for: {tenant}\r\nx-request-id: {case.id}\r\nconnection: close\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            while piece := await reader.read(65536):
                seen.answer += piece
    except (ConnectionError, TimeoutError):  # the latter where nothing passes any more, the end included
        pass
    finally:
        writer.close()


def read(answer: bytes) -> tuple[int, bytes, bool]:
    """Status, body, whether it is whole. Raises h11.RemoteProtocolError for more than one answer."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(answer)
    status, body = 0, b""
    while True:
        event = reader.next_event()
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert reader.trailing_data[0] == b""
            return status, body, True
        elif event is h11.NEED_DATA:
            return status, body, False


# All of them.


async def run_all(gateway_of: Any) -> dict[str, Seen]:
    seen = {case.id: Seen() for case in CASES}
    engine = await asyncio.start_server(Engine(seen).serve, "127.0.0.1", 0, backlog=512)
    engine_port = engine.sockets[0].getsockname()[1]
    proxies = {
        case: Proxy(
            engine_port,
            toxic(case.toxic),
            "to server" if case.is_request else "to client",
            PLACES[case.place],
        )
        for case in CASES
    }
    for case, proxy in proxies.items():
        if not case.at_client:
            await proxy.start()
    ports = {case: engine_port if case.at_client else proxy.port for case, proxy in proxies.items()}
    gateway = await asyncio.to_thread(gateway_of, ports)
    try:
        for case, proxy in proxies.items():
            if case.at_client:
                proxy.server_port = gateway.port
                await proxy.start(window_bytes=4096 if case.toxic == "timeout" else None)
            proxy.armed = True
        await asyncio.gather(
            *(
                ask(
                    proxies[case].port if case.at_client else gateway.port,
                    case,
                    tenant(case),
                    seen[case.id],
                )
                for case in CASES
            )
        )
        for case, proxy in proxies.items():
            seen[case.id].fired_at = proxy.fired_at
        await asyncio.to_thread(collect, gateway, seen)
    finally:
        for proxy in proxies.values():
            if proxy.port:
                await proxy.stop()
        engine.close()
    return seen


def tenant(case: Case) -> str:
    return f"10.0.0.{CASES.index(case)}"


def collect(gateway: Gateway, seen: dict[str, Seen]) -> None:
    """Log, metrics and breakers, once nothing is under way any more."""
    until(lambda: not any(each["in_flight"] for each in gateway.detailed()["backends"]), 5)
    until(lambda: b"\ninfctl_client_connections 1.0\n" in gateway.http.get("/metrics").content, 5)
    gateway.admin("POST", "/admin/reload")  # the log is written in turns: what is told of this is told last
    until(lambda: gateway.events("reloaded"), 5)
    for each in gateway.detailed()["backends"]:
        seen[each["id"]].backend = each
    for line in gateway.events("request"):
        if (found := seen.get(line["client_request_id"])) is not None:
            found.line, found.lines = line, found.lines + 1
    counted = re.compile(
        r'infctl_requests_total\{backend="[^"]*",model="[^"]*",outcome="([^"]*)",reason="([^"]*)",'
        r'tenant="([^"]*)"\} (\S+)'
    )
    tenants = {tenant(case): seen[case.id] for case in CASES}
    for outcome, reason, who, count in counted.findall(gateway.http.get("/metrics").text):
        if who in tenants:
            tenants[who].counted[outcome, reason] = int(float(count))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Seen]]:
    started: list[Gateway] = []

    def gateway_of(ports: dict[Case, int]) -> Gateway:
        config = {
            "models": [
                {
                    "name": case.id,
                    "served_name": case.id,
                    "tasks": ["chat"],
                    "backends": [{"id": case.id, "url": f"http://127.0.0.1:{port}"}],
                }
                for case, port in ports.items()
            ],
            "timeouts": {
                "header_s": IDLE_S, "body_idle_s": IDLE_S, "stream_idle_s": IDLE_S, "total_s": TOTAL_S,
            },
            "upstream": {"keep_alive": 0},
            "probes": {"interval_s": 600.0, "loading_interval_s": 600.0},
            "cache_salt": "shared",
        }  # fmt: skip
        started.append(Gateway(tmp_path_factory.mktemp("toxics"), config))
        return started[0].wait_ready(len(ports))

    try:
        yield asyncio.run(run_all(gateway_of))
        assert started[0].stop() == 0
    finally:
        for gateway in started:
            if gateway.process.poll() is None:
                gateway.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_ends_once_and_is_known_for_what_it_was(seen: dict[str, Seen], case: Case) -> None:
    found, want = seen[case.id], expected(case)
    assert answer_of(case, found) == want.answer, found.answer[-300:]
    if case.toxic != "slow_close":
        assert found.fired_at is not None
    assert (found.backend["in_flight"], found.backend["breaker"]["failures"]) == (0, want.failures)
    assert found.backend["state"] == "ready"
    if not want.status or (case.leg, case.place, want.status) == ("request to gateway", "header", 408):
        assert (found.lines, found.counted, found.calls) == (0, {}, 0)  # there was no request
        return
    assert found.lines == 1
    line = found.line
    assert (line["status"], line["outcome"], line["reason"]) == (want.status, want.outcome, want.reason)
    assert found.counted == {(want.outcome, want.reason): 1}
    if case.toxic == "timeout":  # the gateway itself saw to it, before the client's patience was over
        assert line["total_ms"] < PATIENCE_S * 1000 - 200
    reaches = case.leg != "request to gateway" or want.outcome == "ok"
    assert line["attempts"] == int(reaches)
    assert found.calls == int(reaches and not (case.leg == "request to backend" and want.failures))
    if found.left_at is not None:
        assert found.fired_at is not None
        assert found.left_at - found.fired_at < IDLE_S  # no time-out saw to it


def answer_of(case: Case, found: Seen) -> str:
    if not found.answer:
        return "nothing"
    status, body, whole = read(found.answer)
    if not whole:
        assert DONE not in body
        assert b'"error"' not in body
        return "cut"
    if status != 200:
        assert json.loads(body)["error"]["code"] in {"upstream_error", "upstream_timeout", "request_timeout"}
        return "error"
    if not case.stream:
        assert body == ANSWER
        return "whole"
    events = body.split(b"\n\n")
    assert events.pop() == b""
    if events[-1] + b"\n\n" == DONE:
        assert body == EVENT * 6 + DONE
        return "whole"
    assert json.loads(events[-1].removeprefix(b"data: "))["error"]["type"] == "upstream_error"
    assert body.count(b'"error"') == 1
    assert DONE not in body
    return "error event"
