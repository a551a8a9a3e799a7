"""`make proof-workers`: workers of one gateway are killed under load, and only their own clients notice.

One gateway of two workers, kept connections, each asking again when it has its answer. A worker is killed
with SIGKILL, the other one some seconds later, and so on. Before each kill the kernel says which connections
are the worker's: those may break, once each. Any other request that fails is stray, one that waited in the
dead worker's queue too. At the end the metrics are compared with the answers: never more, and of each killed
worker at most what it served since it last told its parent.

    python -m tests.proofs.workers [--kills 20] [--pause 5.5] [--clients 16] [--back 1.0]

`--back`: seconds within which the next worker has to serve. The figures are on the last line; the exit code
is not 0 where a request was lost that was not the killed worker's, or a worker was not back in time.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.app import PUSH_S
from tests.gateway.process import KEY, Gateway, config_for, until
from tests.gateway.stub import Stub

BODY = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "capital of France?"}]})
HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
THINK_S = 0.01
"""Between two requests of a client: the machine is to have time for more than load."""
START_S = 60.0


@dataclass
class Figures:
    kills: int = 0
    answered: int = 0
    cut: int = 0
    """Requests of connections that were the killed worker's."""
    stray: list[str] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)
    counted: float = 0.0
    """Answers in the metrics at the end."""
    limit_s: float = 1.0
    uncounted_most: float = 0.0
    """What the metrics may have lost with the killed workers."""

    def short(self) -> list[str]:
        late = [f"a worker was back after {each:.2f} s" for each in self.back_s if each > self.limit_s]
        wrong = []
        if not self.answered - self.uncounted_most <= self.counted <= self.answered + self.cut:
            wrong.append(f"{self.answered} were answered, {self.counted:.0f} are in the metrics")
        return [*self.stray, *late, *wrong]

    def __str__(self) -> str:
        return (
            f"workers: {self.kills} killed, {self.answered:,} requests answered, {self.cut} cut with their"
            f" worker, {len(self.stray)} others lost; back after {statistics.median(self.back_s):.2f} s, at"
            f" most {max(self.back_s):.2f} s; {self.answered - self.counted:.0f} answers not in the metrics"
        )


class Client(threading.Thread):
    """A kept connection; a new one when it was cut."""

    def __init__(self, port: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._gateway, self._over = port, stop
        self.answered = 0
        self.failed: list[tuple[int, str]] = []
        """The connection's own port, and what went wrong."""
        self.start()

    def run(self) -> None:
        while not self._over.is_set():
            connection, own = http.client.HTTPConnection("127.0.0.1", self._gateway, timeout=30), 0
            try:
                connection.connect()
                own = connection.sock.getsockname()[1]
                while not self._over.is_set():
                    connection.request("POST", "/v1/chat/completions", BODY, HEADERS)
                    reply = connection.getresponse()
                    text = reply.read()
                    if reply.status != 200:
                        raise ConnectionError(f"{reply.status}: {text[:200]!r}")
                    self.answered += 1
                    time.sleep(THINK_S)
            except (OSError, http.client.HTTPException) as error:
                self.failed.append((own, repr(error)))
            finally:
                connection.close()


def connections_of(pid: int, port: int) -> set[int]:
    """The clients' ports of the connections that a process has accepted on `port`."""
    inodes = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(each.readlink()).removeprefix("socket:[").removesuffix("]"))
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes and fields[1].endswith(f":{port:04X}"):
            found.add(int(fields[2].partition(":")[2], 16))
    return found


def run(folder: Path, kills: int, pause_s: float, clients: int, limit_s: float) -> Figures:
    figures = Figures(limit_s=limit_s)
    stub = Stub()
    gateway = Gateway(folder, config_for(stub, workers=2))
    stop = threading.Event()
    try:
        ready = lambda: len(gateway.events("backend_ready")) >= 4 and gateway.events("started")  # noqa: E731
        until(ready, START_S)
        asking = [Client(gateway.port, stop) for _ in range(clients)]
        until(lambda: all(client.answered for client in asking), START_S)
        for number in range(kills):
            time.sleep(pause_s)
            _kill(gateway, number % 2, asking, figures)
        time.sleep(min(pause_s, 1.0))
        stop.set()
        for client in asking:
            client.join(START_S)
        figures.answered = sum(client.answered for client in asking)
        figures.counted = _answers(gateway)
    finally:
        stop.set()
        gateway.stop()
        stub.stop()
    return figures


def _kill(gateway: Gateway, worker: int, asking: list[Client], figures: Figures) -> None:
    pid = next(row["pid"] for row in _detailed(gateway)["workers"] if row["worker"] == worker)
    started = len(gateway.events("worker_started"))
    before = [len(client.failed) for client in asking]
    answered = sum(client.answered for client in asking)
    since = time.monotonic()
    os.kill(pid, signal.SIGSTOP)  # so that what it has does not change while we look
    own = connections_of(pid, gateway.port)
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    until(lambda: len(gateway.events("worker_started")) > started, START_S)
    figures.back_s.append(time.monotonic() - killed_at)
    figures.kills += 1
    pace = (sum(client.answered for client in asking) - answered) / (time.monotonic() - since)
    # It tells its parent once in PUSH_S, and looks whether to do so each quarter of a second.
    figures.uncounted_most += 2 * (PUSH_S + 0.5) * max(pace, len(asking) / THINK_S)
    time.sleep(0.5)
    for client, count in zip(asking, before, strict=True):
        for port, why in client.failed[count:]:
            if port in own:
                own.discard(port)  # once
                figures.cut += 1
            else:
                figures.stray.append(f"kill {figures.kills}: a connection of no killed worker: {why}")


def _detailed(gateway: Gateway) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    connection.request("GET", "/health/detailed", headers=HEADERS)
    found: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return found


def _answers(gateway: Gateway) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("infctl_requests_total{") and 'outcome="ok"' in line
    )


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pause", type=float, default=5.5, help="each worker then lives long enough")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--back", type=float, default=1.0, help="seconds until the next worker serves")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="workers-") as folder:
        figures = run(Path(folder), options.kills, options.pause, options.clients, options.back)
    short = figures.short()
    sys.stdout.write("".join(f"{line}\n" for line in short))
    sys.stdout.write(f"{figures}\n")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
