"""One trial: one kind of load on one proxy, with what it cost and what else the machine did meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import answers
import process
import proxies

_LOAD = str(Path(__file__).with_name("load.py"))


@dataclass
class Target:
    """A started proxy, or the stub itself."""

    name: str
    port: int
    pids: tuple[int, ...]
    check: str = "exact"


@dataclass(frozen=True)
class Bench:
    """What every trial needs."""

    folder: Path
    stub: Target


@dataclass(frozen=True)
class Trial:
    """`found` is what the load printed."""

    target: str
    kind: str
    size: int
    """Connections or streams."""
    round: int
    found: dict[str, float]
    bad: dict[str, int]
    cpu_s: float
    stub_cpu_s: float
    seconds: float
    others: float
    """Cores that everything else on the machine kept busy."""
    stolen: float
    """Cores that the host took away."""


@contextlib.contextmanager
def stub(folder: Path) -> Iterator[Bench]:
    argv = [sys.executable, str(Path(__file__).with_name("stub.py"))]
    with process.running(argv, process.LOAD_CPU, folder / "stub.log", says_port=True) as started:
        assert started.stdout is not None
        line = started.stdout.readline().strip()
        if not line.isdigit():
            raise SystemExit(f"the stub did not start:\n{(folder / 'stub.log').read_text()[-2000:]}")
        yield Bench(folder, Target("direct", int(line), (started.pid,)))


@contextlib.contextmanager
def started(proxy: proxies.Proxy, bench: Bench) -> Iterator[Target]:
    """Raises Unavailable when it gives no good answer in its time."""
    place = proxies.place(bench.folder, proxy.name, bench.stub.port)
    command = proxy.command(place)
    log = place.folder / "log"
    with contextlib.ExitStack() as stack:
        if proxy.beside is not None:
            argv = proxy.beside(place)
            stack.enter_context(process.running(argv, process.LOAD_CPU, place.folder / "beside.log"))
        running = stack.enter_context(
            process.running(
                command.argv, process.PROXY_CPU, log, env=command.env, cwd=command.cwd or place.folder
            )
        )
        end = time.monotonic() + proxy.starts_within_s
        while (said := _asked(place.port)) is not None:
            tail = " ".join(log.read_text(errors="replace").replace(f"{place.folder}/", "")[-300:].split())
            if running.poll() is not None:
                raise proxies.Unavailable(f"ended with {running.returncode} at its start: {tail}")
            if time.monotonic() > end:
                raise proxies.Unavailable(
                    f"no good answer within {proxy.starts_within_s:g} s ({said}): {tail}"
                )
            time.sleep(0.2)
        yield Target(proxy.name, place.port, process.family(running.pid), proxy.check)


def _asked(port: int) -> str | None:
    """None: it answered a chat call as it should; else what it did."""
    head, _, body = answers.request(stream=False).partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/v1/chat/completions", body, headers)
        reply = connection.getresponse()
        text = reply.read()
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        connection.close()
    return None if reply.status == 200 and b"finish_reason" in text else f"{reply.status} {text[:100]!r}"


def set_pace(bench: Bench, pace_s: float) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", bench.stub.port, timeout=10)
    connection.request("GET", f"/pace/{pace_s * 1000:.0f}")
    connection.getresponse().read()
    connection.close()


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime + time.process_time()


def _trial(
    bench: Bench, target: Target, kind: str, size: int, number: int, *more: object, limit_s: float
) -> Trial:
    pids = target.pids if target is not bench.stub else ()
    stub_pids = bench.stub.pids
    argv = [sys.executable, _LOAD, kind, str(target.port), str(size), *map(str, more)]
    clock, children = process.machine_clock(), _children_s()
    cpu, stub_cpu = process.cpu_s(*pids), process.cpu_s(*stub_pids)
    done = subprocess.run(
        argv,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=limit_s,
        preexec_fn=process.pinned(process.LOAD_CPU),
    )
    cpu, stub_cpu = process.cpu_s(*pids) - cpu, process.cpu_s(*stub_pids) - stub_cpu
    after = process.machine_clock()
    seconds = after.wall - clock.wall
    ours = cpu + stub_cpu + _children_s() - children
    found = json.loads(done.stdout)
    bad = found.pop("bad")
    if kind == "plain":  # its own reading leaves out warm-up and start
        *of_proxy, stub_cpu = found.pop("cpu_s")
        cpu = sum(of_proxy)
    return Trial(
        target.name,
        kind,
        size,
        number,
        found,
        bad,
        cpu,
        stub_cpu,
        found.get("seconds", seconds),
        max(0.0, after.busy - clock.busy - ours) / seconds,
        (after.stolen - clock.stolen) / seconds,
    )


def plain(bench: Bench, target: Target, connections: int, number: int, seconds: float) -> Trial:
    """Closed loop: each connection asks again when it has its answer."""
    pids = (*(target.pids if target is not bench.stub else ()), *bench.stub.pids)
    return _trial(bench, target, "plain", connections, number, seconds, *pids, limit_s=seconds + 60)


def streams(bench: Bench, target: Target, count: int, number: int, waves: int) -> Trial:
    """`count` streams at once, `waves` times one after the other on the same connections."""
    nominal_s = answers.CHUNKS * answers.PACE_S * waves
    limit_s = 5 * nominal_s + 5
    more = (waves, target.check, limit_s)
    return _trial(bench, target, "streams", count, number, *more, limit_s=limit_s + 120)


def pss_with_open_streams(bench: Bench, target: Target, count: int) -> tuple[dict[str, Any], float]:
    """How many streams could be held open at once, and the memory then. The stub's beat is 2 s meanwhile."""
    set_pace(bench, 2.0)
    held = subprocess.Popen(
        [sys.executable, _LOAD, "open", str(target.port), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=process.pinned(process.LOAD_CPU),  # noqa: PLW1509 - nothing here has threads
    )
    try:
        assert held.stdout is not None
        found = json.loads(held.stdout.readline())
        return found, process.pss_mb(*target.pids)
    finally:
        held.communicate(timeout=60)
        set_pace(bench, answers.PACE_S)
