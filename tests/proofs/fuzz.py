"""`make proof-fuzz`: a million random changes of valid requests, and the gateway neither falls nor lies.

Every request is answered, or its connection is ended with an answer, in time; no answer is a 5xx, for the
backend is well and answers all that a JSON parser can read; every error has the API's shape; afterwards the
gateway is alive, well and holds what it held before. The figures are on the last line; the exit code is not 0
where one falls short. A failure is printed with its seed, its block and its bytes:

    python -m tests.proofs.fuzz [--cases 1000000] [--seed 1] [--clients 200]
    python -m tests.proofs.fuzz --seed 1 --block 4711     that connection again, with what was answered

Its time-boxed form is tests/proofs/test_fuzz.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import uvloop

from tests.proofs.http_client import Connection, request
from tests.proofs.mutations import BLOCK, cases
from tests.proofs.processes import Held, Watched, backend

ANSWER_WITHIN_S: Final = 60.0
"""A hang is one then as well, and a machine that is busy with other things is none."""
TIMEOUTS: Final = {"header_s": 2.0, "body_idle_s": 1.0, "drain_s": 5.0, "connect_s": 60.0}
"""Short where half a request waits, long where a busy machine may be slow."""
HTTPS_OWN: Final = frozenset((501, 505))
"""What HTTP itself says of a client's wish: a coding or a version that is not served."""
GROWTH_MAX: Final = 1.10
OURS: Final = ("_main", "run", "_housekeeping", "_watch_certificate", "probe")
"""Tasks of a gateway that does nothing."""
SLACK_MB: Final = 4.0
WARM_UP: Final = 0.2
KEPT: Final = 10
WRONGS_MAX: Final = 100
"""Then it is enough."""
LAST: Final = request("/health/live", headers={"connection": "close"})
_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@dataclass
class Fuzz:
    """One run."""

    seed: int
    blocks: int
    port: int
    told: bool = False
    next_block: int = 0
    sent: int = 0
    connections: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    wrongs: int = 0
    wrong: list[str] = field(default_factory=list)
    stopped: bool = False

    def take(self) -> int | None:
        if self.stopped or self.next_block >= self.blocks:
            return None
        self.next_block += 1
        return self.next_block - 1

    def fail(self, block: int, history: list[bytes], why: str) -> None:
        self.wrongs += 1
        if self.wrongs >= WRONGS_MAX:
            self.stopped = True
        if len(self.wrong) < KEPT:
            sent = "\n".join(f"    sent: {_shown(data)}" for data in history)
            self.wrong.append(f"{why}\n  --seed {self.seed} --block {block}, on that connection:\n{sent}")


def _shown(data: bytes) -> str:
    text = repr(data)
    return text if len(text) < 4000 else f"{text[:2000]} ...{len(data)} bytes... {text[-500:]}"


class Client(asyncio.Protocol):
    """One connection: sends what is left of its block, one by one, while the gateway keeps it open.

    LAST comes at the end of the block, behind what is empty, and behind a HEAD, whose answer cannot be told
    from one that is cut off: then the gateway has to end the connection, whatever came before.
    """

    def __init__(self, fuzz: Fuzz, block: int, left: list[bytes], done: asyncio.Future[None]) -> None:
        self._fuzz = fuzz
        self._block = block
        self._left = left
        self._done = done
        self._history: list[bytes] = []
        self._buffer = b""
        self._answers = 0
        """To what was sent last."""
        self._ends = False
        """LAST was sent, or the gateway has said that it will end the connection."""
        self._blind = False
        self._connects_at = time.monotonic()
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._fuzz.connections += 1
        self._next()

    def _next(self) -> None:
        data = LAST
        if self._left:
            data = self._left.pop(0)
            self._blind = b"HEAD " in data
            if self._blind or not data.strip():
                data += LAST
        self._ends = data.endswith(LAST)
        self._answers = 0
        self._history.append(data)
        self.sent_at = time.monotonic()
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._fuzz.told:
            sys.stdout.write(f"    answered: {_shown(data)}\n")
        if self._blind:
            return
        try:
            while (end := self._answer()) is not None:
                self._buffer = self._buffer[end:]
        except ValueError as error:
            self.fail(f"no HTTP answer ({error}): {self._buffer[:300]!r}")
            return
        if self._answers and not self._buffer and not self._ends:
            if self._fuzz.stopped:
                self._transport.close()
            else:
                self._next()

    def _answer(self) -> int | None:
        """Where the first answer in the buffer ends; None: it is not whole yet. Raises ValueError."""
        data = self._buffer
        at = data.find(b"\r\n\r\n") + 4
        if at < 4:
            return None
        line, *lines = data[: at - 4].split(b"\r\n")
        match = _STATUS.match(line)
        if match is None:
            raise ValueError("its first line")
        status = int(match[1])
        if status < 200:
            return at
        headers = {name.lower(): value for name, _, value in (each.partition(b": ") for each in lines)}
        body, after = _body(data, at, headers)
        if after is None:
            return None
        self._ends = self._ends or headers.get(b"connection") == b"close"
        self._judge(status, headers, body)
        return after

    def _judge(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self._answers += 1
        self._fuzz.statuses[status] += 1
        if self._is_ours(status):
            self.fail(f"{status}: {body[:500]!r}")
        elif status >= 400 and not (_is_error(body) and b"x-request-id" in headers):
            self.fail(f"an error in another shape: {headers} {body[:300]!r}")
        elif b"event-stream" in headers.get(b"content-type", b"") and b'"error"' in body:
            self.fail(f"an error in a stream: {body[-500:]!r}")

    def _is_ours(self, status: int) -> bool:
        """A 5xx, though the backend is well, and the client did not ask to be answered sooner than can be."""
        if status < 500 or status in HTTPS_OWN:
            return False
        return not (status == 504 and any(b"x-request-timeout" in each.lower() for each in self._history))

    def fail(self, why: str) -> None:
        self._fuzz.fail(self._block, self._history, why)
        self._ends = True
        self._blind = False
        self._answers = 1
        self._transport.abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._blind:
            for each in map(int, _STATUS.findall(self._buffer)):
                self._answers += 1
                self._fuzz.statuses[each] += 1
                if self._is_ours(each):
                    self._fuzz.fail(self._block, self._history, f"{each}: {self._buffer[-500:]!r}")
        elif b"connection: close" in self._buffer and _STATUS.match(self._buffer):
            self._answers += 1  # an HTTP/1.0 client's, which lasts to the end
        if self._was_late:
            self._left.insert(0, self._history[0])
        elif not self._answers:
            self._fuzz.fail(self._block, self._history, f"the connection ended without an answer: {exc!r}")
        if not self._done.done():
            self._done.set_result(None)

    @property
    def _was_late(self) -> bool:
        """So busy with others that the gateway had taken it for one who connects and says nothing."""
        silent_s = self.sent_at - self._connects_at
        return not self._answers and len(self._history) == 1 and silent_s > TIMEOUTS["header_s"] / 2


def _body(data: bytes, at: int, headers: dict[bytes, bytes]) -> tuple[bytes, int | None]:
    """A body that begins at `at`, and where it ends; None: not yet. Raises ValueError."""
    if b"transfer-encoding" in headers:
        pieces = []
        while (eol := data.find(b"\r\n", at)) >= 0:
            size = int(data[at:eol], 16)
            at = eol + size + 4
            if len(data) < at:
                break
            if not size:
                return b"".join(pieces), at
            pieces.append(data[eol + 2 : at - 2])
        return b"", None
    if b"content-length" in headers:
        end = at + int(headers[b"content-length"])
        return data[at:end], end if len(data) >= end else None
    if headers.get(b"connection") == b"close":
        return b"", None
    raise ValueError("neither a length nor an end")


def _is_error(body: bytes) -> bool:
    try:
        error = json.loads(body)["error"]
        return bool(error["message"] and error["type"] and error["code"] and "param" in error)
    except (ValueError, KeyError, TypeError):
        return False


async def _client(fuzz: Fuzz) -> None:
    loop = asyncio.get_running_loop()
    while (block := fuzz.take()) is not None:
        left = cases(fuzz.seed, block)
        while left and not fuzz.stopped:
            done: asyncio.Future[None] = loop.create_future()
            made = Client(fuzz, block, left, done)
            before = len(left)
            await loop.create_connection(lambda made=made: made, "127.0.0.1", fuzz.port)  # type: ignore[misc]
            while not done.done():
                looked_at = time.monotonic()
                await asyncio.wait((done,), timeout=1.0)
                if time.monotonic() - looked_at > 2.0:  # it is this side that was late
                    made.sent_at = time.monotonic()
                if not done.done() and time.monotonic() - made.sent_at >= ANSWER_WITHIN_S:
                    made.fail(f"neither an answer nor an end within {ANSWER_WITHIN_S:g} s")
            fuzz.sent += before - len(left)


@dataclass
class Figures:
    fuzz: Fuzz
    seconds: float
    before: Held
    after: Held
    gateway: Watched
    left: list[str]
    """What should not be there any more."""
    exit_code: int

    def short(self, slack_mb: float = SLACK_MB) -> list[str]:
        """Where they fall short."""
        found = [*self.fuzz.wrong, *self.gateway.wrong, *self.left]
        for what in ("rss_mb", "pss_mb"):
            was, now = getattr(self.before, what), getattr(self.after, what)
            if now > max(was * GROWTH_MAX, was + slack_mb):
                found.append(f"{what} grew from {was:.1f} to {now:.1f}")
        if self.exit_code or self.gateway.stderr():
            found.append(f"exit code {self.exit_code}: {self.gateway.stderr()}")
        return found

    def __str__(self) -> str:
        fuzz = self.fuzz
        statuses = ", ".join(f"{count:,} x {status}" for status, count in fuzz.statuses.most_common())
        return (
            f"fuzz: seed {fuzz.seed}, {fuzz.sent:,} requests on {fuzz.connections:,} connections in "
            f"{self.seconds:.0f} s ({fuzz.sent / self.seconds:,.0f}/s): {fuzz.wrongs} wrong; {statuses}; "
            f"RSS {self.before.rss_mb:.1f} -> {self.after.rss_mb:.1f} MB, "
            f"PSS {self.before.pss_mb:.1f} -> {self.after.pss_mb:.1f} MB, descriptors {self.after.fds}"
        )


def config(port: int) -> dict[str, Any]:
    """The backend `spare` is there to be drained."""
    url = f"http://127.0.0.1:{port}"

    def model(name: str, *tasks: str, **more: Any) -> dict[str, Any]:
        backends = [{"id": name, "url": url}]
        return {"name": name, "served_name": name, "tasks": list(tasks), "backends": backends, **more}

    chat = model("chat", "chat", "text2sql", aliases=["qwen"], max_model_len=2048)
    chat["backends"].append({"id": "spare", "url": url})
    return {
        "models": [chat, model("embed", "embed", "rerank")],
        "probes": {"interval_s": 2.0, "loading_interval_s": 0.1, "timeout_s": 60.0},
        "timeouts": dict(TIMEOUTS),
        "cache": {"entries": 500},
    }


async def run(  # `seconds`: stop then, whatever is left
    folder: Path, count: int, seed: int, clients: int, seconds: float = float("inf"), *, told: bool = False
) -> Figures:
    with ExitStack() as stack:
        port, _ = stack.enter_context(backend())
        gateway = Watched(folder, config(port))
        fuzz = Fuzz(seed, -(-count // BLOCK), gateway.port)
        try:
            gateway.wait_ready(3)
            began = time.monotonic()
            running = [asyncio.create_task(_client(fuzz)) for _ in range(clients)]
            before: Held | None = None
            told_at = began
            while not all(task.done() for task in running):
                await asyncio.wait(running, timeout=0.5)
                now = time.monotonic()
                for task in running:
                    if task.done():
                        task.result()
                if now - began >= seconds or gateway.process.poll() is not None:
                    fuzz.stopped = True
                if before is None and (fuzz.sent >= count * WARM_UP or now - began >= seconds * WARM_UP):
                    before = gateway.held()
                if told and now - told_at >= 30:
                    told_at = now
                    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {fuzz.sent:,}, {fuzz.wrongs} wrong\n")
                    sys.stdout.flush()
            took_s = time.monotonic() - began
            left = await _left(gateway)
            after = gateway.held()
        finally:
            code = await asyncio.to_thread(gateway.stop)
    return Figures(fuzz, took_s, before or after, after, gateway, left, code)


async def _left(gateway: Watched) -> list[str]:
    """Requests, connections and tasks that should be gone."""
    found: list[str] = []
    for _ in range(40):
        at = await Connection.open(gateway.port)
        answer = await at.ask(request("/metrics"))
        at.close()
        text = answer.body.decode()
        found = [line for line in text.splitlines() if re.match(r"infctl_backend_in_flight\{.* [1-9]", line)]
        found += [line for line in text.splitlines() if re.match(r"infctl_connections ([2-9]|\d\d)", line)]
        tasks = Counter(gateway.tasks()) - Counter(OURS)
        found += [f"a task is left: {name}" for name in tasks]
        if not found:
            break
        await asyncio.sleep(0.25)
    return found


async def replay(folder: Path, seed: int, block: int) -> list[str]:
    """One block again, told as it goes. What was wrong."""
    with backend() as (port, _):
        gateway = Watched(folder, config(port))
        fuzz = Fuzz(seed, block + 1, gateway.port, told=True, next_block=block)
        try:
            gateway.wait_ready(3)
            await _client(fuzz)
        finally:
            await asyncio.to_thread(gateway.stop)
    return [*fuzz.wrong, *gateway.wrong]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--block", type=int, help="only this one, with what is answered")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing that was started is left behind
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        if options.block is not None:
            wrong = uvloop.run(replay(Path(folder), options.seed, options.block))
            sys.stdout.write("".join(f"{line}\n" for line in wrong) or "nothing wrong\n")
            return 1 if wrong else 0
        figures = uvloop.run(run(Path(folder), options.cases, options.seed, options.clients, told=True))
    short = figures.short()
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in short))
    sys.stdout.write(f"{figures}\n")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
