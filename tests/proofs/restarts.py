"""`make proof-restarts`: gateway and backends are restarted a hundred times under load, and nobody notices.

Processes, no containers: nginx with TLS and the nginx.conf that infctl renders, a gateway, two backends that
stop as vLLM does. A gateway is replaced as infctl replaces one in containers (rollout_turns.py there): the
new one beside the old one, nginx turned by a reload, KEPT_S for connections that clients keep, then SIGTERM
and an exit code of 0. A backend is drained over the control plane, stopped, started, undrained. All the while
clients ask, streaming and not, on kept connections and on new ones (tests/e2e/load.py).

    python -m tests.proofs.restarts [--gateways 100] [--backends 100] [--workers 1]

The figures are on the last line; the exit code is not 0 where a request failed or a stream broke. The short
form is tests/proofs/test_restarts.py; the same with containers is `make proof-rolling`.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from infctl import tls
from infctl.host import look
from infctl.plan import place
from infctl.profile.schema import Profile
from infctl.render import render
from infctl.stack import Layout
from infctl.stack.build import build
from infctl.stack.names import EDGE
from tests.e2e.load import Tally, Target, under_load
from tests.gateway.process import ADMIN, KEY, free_port, until
from tests.proofs.processes import Engine, Watched, ask

KEPT_S: Final = 2.0
"""After a reload nginx's old workers keep idle connections so long; then nobody asks the old gateway."""
AROUND_S: Final = 1.0
"""Of load before the first restart and after the last."""
LIMIT_S: Final = 2 * 3600.0


@dataclass
class Edge:
    """A real nginx in front of one gateway at a time."""

    file: Path
    text: str
    first: int
    """The port that `text` has for the gateway."""
    port: int
    process: subprocess.Popen[bytes]

    def turn(self, port: int) -> None:
        """To the gateway at `port`: seen when new workers are there and the old ones are leaving."""
        before = self._workers()
        self.file.write_text(self.text.replace(f"127.0.0.1:{self.first}", f"127.0.0.1:{port}"))
        self.process.send_signal(signal.SIGHUP)

        def turned() -> bool:
            now = self._workers()
            return bool(now.keys() - before.keys()) and not any(
                pid in before and not leaving for pid, leaving in now.items()
            )

        until(turned, 30)

    def _workers(self) -> dict[str, bool]:
        """Process id -> whether it is on its way out."""
        found = {}
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                title = Path(f"/proc/{pid}/cmdline").read_text()
                if "nginx: worker process" in title:
                    found[pid] = "shutting down" in title
        return found


@contextlib.contextmanager
def edge(folder: Path, gateway: int) -> Iterator[Edge]:
    """nginx, as infctl's process runtime starts it, with the reload that its containers have."""
    https = free_port()
    profile = Profile.model_validate(
        {
            "name": "restarts",
            "runtime": "process",
            "gpus": "cpu",
            "models": {"chat": {"source": "a/b", "task": "chat"}},
            "gateway": {"listen": {"port": gateway}},
            "edge": {"bind": "127.0.0.1", "https_port": https, "http_port": free_port()},
        }
    )
    layout, plan = Layout(folder, folder), place(profile, ())
    stack = build(profile, plan, layout, look())
    layout.rendered.mkdir()
    layout.state.mkdir()
    for file in render(stack, profile, plan, layout):
        (layout.rendered / file.path).write_text(file.text)
    tls.self_signed(layout.rendered / "tls", tls.names_of(profile.edge.server_name), now=datetime.now(UTC))
    conf = layout.rendered / "nginx.conf"
    # A directive of nginx 1.27.4, which a platform of processes does not take for granted.
    text = conf.read_text().replace(
        "    keepalive_timeout ", f"    keepalive_min_timeout {KEPT_S:g}s;\n    keepalive_timeout ", 1
    )
    conf.write_text(text)
    with (folder / "nginx.log").open("ab") as log:
        process = subprocess.Popen(stack.service(EDGE).argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until(lambda: process.poll() is not None or _listens(https), 20)
        assert process.poll() is None, (folder / "nginx.log").read_text()
        yield Edge(conf, text, gateway, https, process)
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@dataclass
class Figures:
    gateways: int = 0
    backends: int = 0
    tally: Tally = field(default_factory=Tally)
    problems: list[str] = field(default_factory=list)

    @property
    def is_short(self) -> bool:
        return bool(self.tally.failed or self.tally.broken or self.problems or not self.tally.streams)

    def __str__(self) -> str:
        tally = self.tally
        return (
            f"restarts: {self.gateways} of the gateway, {self.backends} of a backend, {tally.seconds:.0f} s; "
            f"{tally.total:,} requests, {tally.streams:,} of them streams, slowest {tally.slowest_s:.1f} s: "
            f"{tally.failed} lost requests, {tally.broken} broken streams"
        )


@dataclass
class Platform:
    folder: Path
    engines: list[Engine]
    edge: Edge
    gateway: Watched
    figures: Figures
    workers: int

    def replace_gateway(self) -> None:
        """The new one beside the old one."""
        home = self.folder / f"gateway-{self.figures.gateways + 1}"
        old, self.gateway = self.gateway, gateway(home, self.engines, free_port(), self.workers)
        self.edge.turn(self.gateway.port)
        time.sleep(KEPT_S)
        self._ended(old)
        self.figures.gateways += 1

    def end(self) -> None:
        self._ended(self.gateway)

    def _ended(self, gateway: Watched) -> None:
        code = gateway.stop()
        if code or gateway.stderr() or gateway.wrong:
            self.figures.problems.append(f"exit code {code}: {gateway.stderr()} {gateway.wrong}")

    def restart_backend(self, number: int) -> None:
        name, engine = f"chat{number}", self.engines[number]
        self._admin(name, "drain")
        until(lambda: self._state(name) == "drained", 60)
        code = engine.stop()
        if code:
            self.figures.problems.append(f"{name} ended with {code}")
        engine.start()
        engine.wait_ready()
        self._admin(name, "undrain")
        until(lambda: self._state(name) == "ready", 30)
        self.figures.backends += 1

    def _state(self, name: str) -> str:
        found = ask(self.gateway.port, "GET", "/admin/backends", ADMIN).json()["backends"]
        return next(str(each["state"]) for each in found if each["id"] == name)

    def _admin(self, name: str, verb: str) -> None:
        ask(self.gateway.port, "POST", f"/admin/backends/{name}/{verb}", ADMIN).raise_for_status()


def gateway(home: Path, engines: list[Engine], port: int, workers: int) -> Watched:
    """A new one, ready."""
    home.mkdir()
    backends = [{"id": f"chat{n}", "url": engine.url} for n, engine in enumerate(engines)]
    config: dict[str, Any] = {
        "listen": {"port": port},
        "workers": workers,
        "models": [{"name": "chat", "served_name": "served", "tasks": ["chat"], "backends": backends}],
        "probes": {"interval_s": 1.0, "loading_interval_s": 0.1},
        "timeouts": {"drain_s": 30.0},
    }
    made = Watched(home, config)
    made.wait_ready(len(engines) * workers)
    return made


def run(folder: Path, gateways: int, backends: int, *, workers: int = 1, told: bool = False) -> Figures:
    figures = Figures()
    with contextlib.ExitStack() as stack:
        engines = [Engine(token_s=0.01) for _ in range(2)]
        for engine in engines:
            stack.callback(engine.process_ends)
        for engine in engines:
            engine.wait_ready()
        port = free_port()
        first = gateway(folder / "gateway-0", engines, port, workers)
        front = stack.enter_context(edge(folder, port))
        platform = Platform(folder, engines, front, first, figures, workers)
        stack.callback(platform.end)
        trusted = ssl.create_default_context(cafile=str(folder / "rendered/tls/certificate.pem"))
        target = Target("127.0.0.1", front.port, KEY, "chat", trusted, "localhost")
        with under_load(target, limit_s=LIMIT_S) as load:
            figures.tally = load.tally
            time.sleep(AROUND_S)
            for number in range(max(gateways, backends)):
                if number < gateways:
                    platform.replace_gateway()
                if number < backends:
                    platform.restart_backend(number % len(engines))
                if told:
                    figures.tally.seconds = 0.0
                    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {figures}\n")
                    sys.stdout.flush()
            time.sleep(AROUND_S)
    return figures


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--gateways", type=int, default=100)
    parser.add_argument("--backends", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1, help="of each gateway")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing that was started is left behind
    with tempfile.TemporaryDirectory(prefix="restarts-") as folder:
        figures = run(Path(folder), options.gateways, options.backends, workers=options.workers, told=True)
    sys.stdout.write("".join(f"{line}\n" for line in (*figures.tally.failures, *figures.problems)))
    sys.stdout.write(f"{figures}\n")
    return 1 if figures.is_short else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
