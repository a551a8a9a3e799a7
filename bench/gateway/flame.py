"""Where the gateway's time goes, by py-spy: a flame graph and a table for requests, and both for streams.

    python bench/gateway/flame.py [--seconds 10] [--out DIR]

py-spy looks at the process from outside and stops it for a moment at each look, so rates are lower than the
benchmark's; shares are what to read. Needs the right to trace another process (root, or ptrace_scope 0).
"""

from __future__ import annotations

import argparse
import collections
import datetime as dt
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import answers
import peers
import process
import proxies
import trials

OUT = proxies.ROOT / "bench" / "results"
RATE = 500
"""Looks a second."""
TOP = 25
STREAMS = 256
_FRAME = re.compile(r"(?P<what>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")
_HOMES = tuple(str(home) + os.sep for home in (proxies.ROOT, sys.prefix, sys.base_prefix, peers.cache()))


def recorded(program: Path, pid: int, seconds: float, kind: str, out: Path) -> None:
    argv = [str(program), "record", "--pid", str(pid), "--threads", "--duration", str(round(seconds))]
    done = subprocess.run(
        [*argv, "--rate", str(RATE), "--format", kind, "--output", str(out)],
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        preexec_fn=process.pinned(process.LOAD_CPU),
    )
    if done.returncode or not out.exists():
        raise SystemExit(f"py-spy: {' '.join((done.stderr or done.stdout).split())[-400:]}")


def clean(text: str) -> str:
    """Without the folders of this machine."""
    for home in _HOMES:
        text = text.replace(home, "")
    text = re.sub(r"py-spy-[\d.]+/bin/", "", text)
    return re.sub(r"(?:\.venv/)?lib/python[\d.]+/(?:site-packages/)?", "", text)


def room(file: str) -> str:
    """`gateway/wire`, `gateway/serve.py`, or the library."""
    parts = file.split("/")
    if parts[0] == "gateway":
        return "/".join(parts[:2])
    return parts[0]


def table(collapsed: str) -> str:
    """Samples of the main thread -> shares of functions: alone, and with what they call; of rooms, alone."""
    alone: collections.Counter[str] = collections.Counter()
    within: collections.Counter[str] = collections.Counter()
    rooms: collections.Counter[str] = collections.Counter()
    total = 0
    for line in collapsed.splitlines():
        stack, _, count = line.rpartition(" ")
        thread, _, stack = stack.partition(";")
        if not thread.endswith("MainThread"):
            continue  # py-spy takes the log's thread for busy while it waits
        frames = []
        for frame in filter(None, stack.split(";")):
            found = _FRAME.match(frame)
            frames.append((found["what"], found["file"]) if found else (frame, ""))
        if not frames:
            continue
        names = [f"{what} ({file})" if file else what for what, file in frames]
        total += int(count)
        alone[names[-1]] += int(count)
        rooms[room(frames[-1][1]) or "native"] += int(count)
        for name in set(names):
            within[name] += int(count)
    if not total:
        return "no samples\n"
    lines = [f"{total} samples", "", "  alone  with callees  function"]
    lines += [
        f"{count / total:7.1%} {within[name] / total:13.1%}  {name}" for name, count in alone.most_common(TOP)
    ]
    lines += ["", "  alone  where"]
    lines += [f"{count / total:7.1%}  {name}" for name, count in rooms.most_common(TOP)]
    return "\n".join(lines) + "\n"


def profiled(
    program: Path, bench: trials.Bench, target: trials.Target, kind: str, args: argparse.Namespace
) -> str:
    """Both recordings under load: py-spy writes one format at a time."""
    lasting = args.seconds * 2 + 8
    if kind == "requests":
        more = ["plain", str(target.port), "64", str(lasting)]
    else:
        waves = round(lasting / answers.CHUNKS / answers.PACE_S)
        more = ["streams", str(target.port), str(STREAMS), str(waves), "exact", str(lasting + 60)]
    load = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("load.py")), *more],
        stdout=subprocess.DEVNULL,
        preexec_fn=process.pinned(process.LOAD_CPU),  # noqa: PLW1509 - nothing here has threads
    )
    try:
        time.sleep(2)
        picture, samples = args.out / f"gateway-profile-{kind}.svg", bench.folder / f"{kind}.txt"
        recorded(program, target.pids[0], args.seconds, "flamegraph", picture)
        recorded(program, target.pids[0], args.seconds, "raw", samples)
    finally:
        load.kill()
        load.wait()
    picture.write_text(clean(picture.read_text("utf-8")).replace(f"{args.out}{os.sep}", ""), "utf-8")
    return table(clean(samples.read_text("utf-8")))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of one recording; there are four")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    package = peers.BY_NAME["py-spy"]
    state = peers.state(package)
    if not state["installed"]:
        raise SystemExit(f"py-spy: {state['why']}")
    args.out.mkdir(parents=True, exist_ok=True)
    proxy = proxies.gateway()
    load_before = process.load_average()
    with tempfile.TemporaryDirectory(prefix="bench-gateway-") as name, trials.stub(Path(name)) as bench:
        try:
            with trials.started(proxy, bench) as target:
                found = {
                    kind: profiled(package.program, bench, target, kind, args)
                    for kind in ("requests", "streams")
                }
        except proxies.Unavailable as why:
            raise SystemExit(f"the gateway: {why}") from None
    date = dt.datetime.now(dt.UTC).date().isoformat()
    machine = process.machine()
    head = (
        f"gateway {proxy.version} · {date} · {machine['cpu']}, {machine['cpus']} cores · "
        f"Python {machine['python']} · py-spy {package.version} · load average before {load_before:.2f}\n"
    )
    text = head + "".join(f"\n{kind}: {said}" for kind, said in found.items())
    (args.out / "gateway-profile.txt").write_text(text, "utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
