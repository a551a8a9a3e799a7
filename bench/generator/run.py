"""How much load tools keep up with on one core: stream chunks a second, and requests a second.

    python bench/generator/run.py [--seconds 10] [--only infctl,aiperf]

A tool and all its processes have core 0, the stub core 1. `infctl bench` has to reach GOALS with a verdict
that is `valid`; the last line is the figure, exit code 1 where it falls short. A whole run writes
bench/results/generator.json and the table in docs/bench.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import http.client
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from table import BEAT_MS, GOALS, OUT, PAGE, SPREAD, STREAMS, TOKENS, put, rates, table, tpot
from tools import Load, Said, Tool, tools

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WITHIN_S = 240.0
_CORES = sorted(os.sched_getaffinity(0))
_EVERY_S = 0.25
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def on_core(core: int) -> None:
    if len(_CORES) > 1:
        os.sched_setaffinity(0, {_CORES[core]})


# --- what is seen from outside -----------------------------------------------------------------------------


def counts(port: int) -> dict[str, float]:
    """The stub's own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/counts")
        found: dict[str, float] = json.load(connection.getresponse())
        return found
    finally:
        connection.close()


def cpu_s(session: int) -> float:
    """Of all processes of a session, and of those of its that have ended and were waited for."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[3]) == session:
            ticks += sum(map(int, fields[11:15]))
    return ticks * _TICK_S


def measured(tool: Tool, load: Load, port: int) -> dict[str, Any]:
    """One row."""
    row: dict[str, Any] = {"tool": tool.name, "version": tool.version, "load": load.kind}
    if tool.missing:
        return row | {"error": tool.missing}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        argv = tool.argv(load, f"http://127.0.0.1:{port}", folder)
        env = {**os.environ, "DO_NOT_TRACK": "1", "HF_HOME": str(folder / "hf"), "NO_COLOR": "1", **tool.env}
        before = counts(port)["requests"]
        log = folder / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                argv,
                cwd=ROOT if tool.name.startswith("infctl") else folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=lambda: on_core(0),  # noqa: PLW1509 - no threads here
            )
        samples = []
        deadline = time.monotonic() + WITHIN_S
        try:
            while process.poll() is None and time.monotonic() < deadline:
                samples.append((counts(port), cpu_s(process.pid)))
                time.sleep(_EVERY_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        try:
            said: Said = tool.read(folder)
        except (OSError, StopIteration, KeyError, ValueError) as error:
            tail = log.read_text(errors="replace").strip().splitlines()[-3:]
            why = " ".join(" ".join(tail).split())[-300:]
            return row | {"error": f"exit code {process.returncode}, no report ({error!r}): {why}"}
    return row | {"said": asdict(said), "seen": rates(samples, before, load.seconds)}


# --- the run -----------------------------------------------------------------------------------------------


def short(row: dict[str, Any]) -> str:
    """Why our own row is short of its goal; empty: it is not."""
    if row.get("error"):
        return str(row["error"])
    said, kind = row["said"], row["load"]
    if said["verdict"] != "valid":
        return f"{said['verdict']}: {said['why']}"
    if said["failed"]:
        return f"{said['failed']} failed"
    return "" if said[f"{kind}_per_s"] >= GOALS[kind] else f"fewer than {GOALS[kind]:,}"


def shown(row: dict[str, Any]) -> str:
    name = f"{row['load']:8} {row['tool']:12}"
    if row.get("error"):
        return f"{name} {row['error']}"
    said, seen = row["said"], row["seen"]
    rate = said[f"{row['load']}_per_s"]
    text = f"{name} says {rate:9,.0f}/s"
    if seen:
        text += f", the stub {seen[row['load'] + '_per_s']:9,.0f}/s, CPU {seen['cpu_share']:.0%}"
    if row["load"] == "chunks":
        text += f", TPOT {tpot(row)} ms"
    return ": ".join(filter(None, (", ".join(filter(None, (text, said["verdict"]))), said["why"])))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--only", default="", help="tools whose names begin so: infctl,guidellm,aiperf")
    parser.add_argument("--keep", action=argparse.BooleanOptionalAction, default=None, help="write results")
    asked = parser.parse_args()
    wanted = tuple(filter(None, asked.only.split(",")))
    chosen = [tool for tool in tools() if not wanted or tool.name.startswith(wanted)]
    load_average = os.getloadavg()[0]
    on_core(1)
    stub = subprocess.Popen(
        [sys.executable, HERE / "stub.py", str(BEAT_MS)], stdout=subprocess.PIPE, text=True
    )
    rows = []
    try:
        assert stub.stdout is not None
        port = int(stub.stdout.readline())
        for kind in GOALS:
            for tool in chosen:
                load = Load(kind, STREAMS[kind], TOKENS[kind], SPREAD[kind], asked.seconds)
                rows.append(measured(tool, load, port))
                print(shown(rows[-1]), flush=True)
    finally:
        stub.kill()
        stub.wait()
    found = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "load_average": round(load_average, 2),
        "seconds": asked.seconds,
        "rows": rows,
    }
    if asked.keep if asked.keep is not None else not wanted:
        OUT.write_text(json.dumps(found, indent=2) + "\n")
        PAGE.write_text(put(PAGE.read_text(), table(found)))
    own = [row for row in rows if row["tool"] == "infctl bench"]
    why = [f"{row['load']}: {reason}" for row in own if (reason := short(row))]
    told = [
        f"{row['said'][row['load'] + '_per_s']:,.0f} {row['load']}/s ({row['said']['verdict']})"
        for row in own
        if not row.get("error")
    ]
    print("bench-generator: " + ", ".join(told) + (f" - SHORT: {'; '.join(why)}" if why else ""))
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main())
