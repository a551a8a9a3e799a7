"""How much `infctl bench` can keep up with on one core: stream chunks a second, and requests a second.

    python bench/generator/run.py [--seconds 8]

The client has core 0, the stub core 1. A figure counts if the run's own verdict is not `invalid`; the last
line is the figure, exit code 1 where it falls short of GOALS.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GOALS = {"chunks": 20_000, "requests": 3_000}
BEAT_MS = 20
STREAMS = {"chunks": 440, "requests": 32}
TOKENS = {"chunks": 128, "requests": 1}


def one_core(core: int) -> None:
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {core})


def measured(kind: str, seconds: float, url: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "infctl", "bench", "run", "chat", "--url", url, "--json"]
    load = ["--out", str(TOKENS[kind]), "--in", "64", "-c", str(STREAMS[kind]), "--duration", str(seconds)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*command, *load, "--warmup", "2s", "-o", f"{folder}/bench"],
            cwd=ROOT,
            preexec_fn=lambda: one_core(0),
            capture_output=True,
            text=True,
            check=False,
        )
    if not done.stdout:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    seconds = parser.parse_args().seconds
    stub = subprocess.Popen(
        [sys.executable, HERE / "stub.py", str(BEAT_MS)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: one_core(1),  # noqa: PLW1509 - no threads here
    )
    try:
        assert stub.stdout is not None
        url = f"http://127.0.0.1:{int(stub.stdout.readline())}"
        told, good = [], True
        for kind, goal in GOALS.items():
            run = measured(kind, seconds, url)
            figures = run["figures"] or run["untrusted_figures"]
            rate = figures["tokens_out_per_s" if kind == "chunks" else "requests_per_s"]
            grade = run["verdict"]["grade"]
            reasons = "; ".join(reason["text"] for reason in run["verdict"]["reasons"])
            client = run["client"]
            print(
                f"{kind}: {rate:,.0f}/s, {figures['ok']:,} of {figures['counted']:,} ok, {grade}, "
                f"CPU {client['cpu_share']:.0%}, late p99 {client['lag_p99_us'] / 1000:.1f} ms; {reasons}"
            )
            told.append(f"{rate:,.0f} {kind}/s ({grade})")
            good = good and rate >= goal and grade != "invalid" and not figures["failed"]
    finally:
        stub.kill()
        stub.wait()
    print(f"bench-generator: {', '.join(told)}{'' if good else ' - SHORT'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
