"""The gateway beside nginx, vllm-router, smg and litellm, in one run: speed, latency, streams, memory.

    python bench/gateway/run.py [--quick] [--only nginx,gateway] [--also NAME=CHECKOUT|NAME=FILE.yaml]

Each proxy has one core; stub and load share another. All are started first and then measured in turns,
forwards and backwards, so that what else the machine does falls on all; figures are medians over the
rounds. The stub is measured in the same turns, without a proxy: that is what "added" is added to.
README.md beside this says more.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import goals
import process
import proxies
import report
import trials

OUT = proxies.ROOT / "bench" / "results" / "gateway.json"
QUIET_LOAD, QUIET_OTHERS, QUIET_STOLEN = 1.0, 0.1, 0.02
"""Above these the figures are marked: the load average before; cores others used; cores the host took."""
HOPELESS_MS = 1000.0
SETTLE_S = 2.0
AFTER_S = 12.0
"""Of rest before memory is read again."""


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of one trial")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stream-rounds", type=int, default=3)
    parser.add_argument(
        "--streams", type=int, nargs="*", default=[64, 256, 1024], help="at once; none: left out"
    )
    parser.add_argument("--waves", type=int, default=3, help="streams one after the other on a connection")
    parser.add_argument("--only", default=",".join(proxies.KNOWN), help="names, with commas")
    parser.add_argument(
        "--also", action="append", default=[], help="one more gateway: NAME=CHECKOUT or NAME=FILE.yaml"
    )
    parser.add_argument(
        "--open-streams", type=int, default=0, help="read the gateway's memory with so many (goal: 10000)"
    )
    parser.add_argument(
        "--requests", type=int, default=0, help="of the gateway, before `after` is read (goal: 10000000)"
    )
    parser.add_argument("--quick", action="store_true", help="1 s, 2 rounds: to see that it works")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a goal is not reached")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    if args.quick:
        args.seconds, args.rounds, args.stream_rounds, args.waves = 1.0, 2, 1, 1
    return args


def wanted(args: argparse.Namespace) -> tuple[list[proxies.Proxy], list[report.Row]]:
    """What can be started, and a row for everything that was asked for."""
    makers: dict[str, Callable[[], proxies.Proxy]] = {}
    for name in filter(None, args.only.split(",")):
        if name not in proxies.KNOWN:
            raise SystemExit(f"unknown: {name}; there are {', '.join(proxies.KNOWN)}")
        makers[name] = proxies.KNOWN[name]
    for text in args.also:
        makers[text.partition("=")[0]] = lambda text=text: proxies.also(text)
    found, rows = [], []
    for name, make in makers.items():
        try:
            proxy = make()
        except proxies.Unavailable as why:
            rows.append(report.Row(name, error=str(why)))
            say(f"{name}: {why}")
            continue
        found.append(proxy)
        rows.append(report.Row(name, proxy.version, proxy.notes))
    return found, rows


def start(
    stack: contextlib.ExitStack, wanted: list[proxies.Proxy], rows: dict[str, report.Row], bench: trials.Bench
) -> list[trials.Target]:
    targets = []
    for proxy in wanted:
        say(f"{proxy.name} {proxy.version} starts")
        try:
            target = stack.enter_context(trials.started(proxy, bench))
        except proxies.Unavailable as why:
            rows[proxy.name].error = str(why)
            say(f"{proxy.name}: {why}")
            continue
        targets.append(target)
    time.sleep(SETTLE_S)
    for target in targets:
        rows[target.name].memory["pss_idle_mb"] = process.pss_mb(*target.pids)
    before = [process.cpu_s(*target.pids) for target in targets]
    time.sleep(SETTLE_S)
    for target, was in zip(targets, before, strict=True):
        rows[target.name].memory["idle_core_busy"] = (process.cpu_s(*target.pids) - was) / SETTLE_S
    return targets


def in_turns(targets: list[trials.Target], number: int) -> list[trials.Target]:
    return targets if number % 2 == 0 else targets[::-1]


def requests(
    args: argparse.Namespace, bench: trials.Bench, targets: list[trials.Target]
) -> list[trials.Trial]:
    done: list[trials.Trial] = []
    for number in range(args.rounds):
        for connections in report.CONNECTIONS:
            done += [
                trials.plain(bench, target, connections, number, args.seconds)
                for target in in_turns([bench.stub, *targets], number)
            ]
        say(f"requests: round {number + 1} of {args.rounds}")
    return done


def memory_after(
    args: argparse.Namespace,
    bench: trials.Bench,
    targets: list[trials.Target],
    done: list[trials.Trial],
    rows: dict[str, report.Row],
) -> None:
    for target in targets:
        served = sum(int(trial.found["requests"]) for trial in done if trial.target == target.name)
        if target.name == "gateway" and served < args.requests:
            say(f"{target.name}: {args.requests - served:,} more requests")
            while served < args.requests:
                served += int(trials.plain(bench, target, 64, 0, 30.0).found["requests"])
        time.sleep(AFTER_S)
        rows[target.name].memory |= {"pss_after_mb": process.pss_mb(*target.pids), "requests_before": served}


def streams(
    args: argparse.Namespace, bench: trials.Bench, targets: list[trials.Target]
) -> list[trials.Trial]:
    done: list[trials.Trial] = []
    left = [bench.stub, *targets]
    for count in sorted(args.streams):
        for number in range(args.stream_rounds):
            for target in in_turns(left, number):
                trial = trials.streams(bench, target, count, number, args.waves)
                done.append(trial)
                if trial.found["gap_p99_ms"] > HOPELESS_MS or trial.bad.get("late"):
                    left = [each for each in left if each is not target]
                    say(f"{target.name}: {count} streams are too many for it {trial.bad or ''}")
        say(f"streams: {count} at once")
    return done


def memory_of_streams(
    args: argparse.Namespace,
    bench: trials.Bench,
    targets: list[trials.Target],
    rows: dict[str, report.Row],
) -> None:
    count = min(args.open_streams, process.most_streams())
    if count < args.open_streams:
        say(f"{count} open streams at most: this machine lets nobody have more open files")
    for target in targets:
        found = {"pss_after_streams_mb": process.pss_mb(*target.pids)}
        if count and target.name == "gateway":
            held, pss = trials.pss_with_open_streams(bench, target, count)
            found |= {"open_streams": held["open"], "pss_open_streams_mb": pss}
            if held["open"] < count:
                say(f"{target.name}: of {count} streams {held}")
        rows[target.name].memory |= found


def conditions(load_before: float, done: list[trials.Trial]) -> dict[str, Any]:
    """How undisturbed the run was."""
    others = [trial.others for trial in done]
    stolen = [trial.stolen for trial in done]
    found = {
        "load_average_before": round(load_before, 2),
        "load_average_after": round(process.load_average(), 2),
        "others_cores_median": round(statistics.median(others), 3),
        "others_cores_most": round(max(others), 3),
        "stolen_cores_median": round(statistics.median(stolen), 3),
    }
    found["quiet"] = (
        load_before < QUIET_LOAD
        and found["others_cores_median"] < QUIET_OTHERS
        and found["stolen_cores_median"] < QUIET_STOLEN
    )
    return found


def main() -> int:
    args = arguments()
    load_before, began = process.load_average(), time.monotonic()
    found, row_list = wanted(args)
    rows = {row.name: row for row in row_list}
    with tempfile.TemporaryDirectory(prefix="bench-gateway-") as name, contextlib.ExitStack() as stack:
        bench = stack.enter_context(trials.stub(Path(name)))
        targets = start(stack, found, rows, bench)
        done = requests(args, bench, targets)
        memory_after(args, bench, targets, done, rows)
        done += streams(args, bench, targets)
        memory_of_streams(args, bench, targets, rows)
    direct = report.Row("direct", notes=("no proxy: the stub itself",))
    table = report.rows([direct, *row_list], done)
    reached = goals.goals(table)
    around = conditions(load_before, done)
    result = {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began),
        "machine": process.machine(),
        "versions": {row.name: row.version for row in row_list} | proxies.libraries(),
        "conditions": around,
        "settings": {
            key: getattr(args, key)
            for key in ("seconds", "rounds", "stream_rounds", "streams", "waves", "open_streams", "requests")
        },
        "rows": table,
        "goals": [goal.data() for goal in reached],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(report.text(table) + "\n")
    print("\n".join(map(str, reached)))
    print(f"\n{json.dumps(around)}")
    if not around["quiet"]:
        print("The machine was NOT quiet: these figures show that it works, and nothing more.")
    failed = any(row["bad"] for row in table if row["name"] == "gateway") or (
        args.strict and any(goal.reached is not True for goal in reached)
    )
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.SubprocessError as error:
        sys.exit(f"the load failed: {error}")
