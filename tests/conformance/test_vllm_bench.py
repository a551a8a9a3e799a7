"""One log through our arithmetic and through that of vLLM's benchmarks/serve.py: equal to the last digit."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infctl.bench import vllm_format
from infctl.bench.record import Record
from tests.infctl.bench.virtual import side

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

PYTHON = os.environ.get("INFCTL_VLLM_PYTHON", sys.executable)
ASK = Path(__file__).with_name("vllm_bench.py")
PERCENTILES = [1, 25, 50, 90, 95, 99, 99.9]
DURATION_S = 31.7
GOODPUT = {"ttft": 160.0, "tpot": 61.0, "e2el": 1100.0}
PLAIN = (
    "completed",
    "failed",
    "request_throughput",
    "request_goodput",
    "output_throughput",
    "total_token_throughput",
    "max_output_tokens_per_s",
    "max_concurrent_requests",
)


def random_log(seed: int, count: int) -> list[Record]:
    """Any lengths, any failures, some of one token, some with several events in one read."""
    drawn = random.Random(seed)
    log = []
    for index in range(count):
        began = drawn.randrange(30_000_000)
        times = [began + drawn.randrange(1, 500_000)]
        tokens = drawn.choice([1, 2, 16, 130, 400])
        while len(times) < tokens:
            times.append(times[-1] + drawn.choice([0, drawn.randrange(100_000)]))
        ok = drawn.random() > 0.1
        log.append(
            Record(
                index=index,
                due_us=None,
                began_us=began,
                sent_us=began,
                end_us=times[-1] + 50,
                outcome="ok" if ok else "truncated",
                piece_us=times,
                pieces="t" * len(times),
                tokens_in=drawn.randrange(1, 4000),
                tokens_out=tokens,
            )
        )
    return log


LOGS = {
    "recorded": list(side(1, "recorded").records),
    **{f"random of {count}": random_log(count, count) for count in (1, 2, 7, 8, 9, 129, 1000)},
}


def vllm() -> dict[str, Any]:
    """Name of a log -> vLLM's figures of it."""
    asked = {
        name: {
            "requests": [msgspec.to_builtins(record) | {"piece_us": record.piece_us} for record in log],
            "duration": DURATION_S,
            "percentiles": PERCENTILES,
            "goodput": GOODPUT,
        }
        for name, log in LOGS.items()
    }
    env = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
    command = [PYTHON, ASK]
    done = subprocess.run(
        command, env=env, input=json.dumps(asked), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_figure_is_equal_to_the_last_digit() -> None:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("the local stack is not installed: `make setup-local`")
    wrong = {}
    for name, theirs in vllm().items():
        ours = vllm_format.result(
            LOGS[name], duration_s=DURATION_S, percentiles=PERCENTILES, goodput_ms=GOODPUT
        )
        pairs = {key: (ours[key], theirs[key]) for key in PLAIN}
        pairs["tokens"] = (
            [ours["total_input_tokens"], ours["total_output_tokens"]],
            [theirs["total_input"], theirs["total_output"]],
        )
        for metric in ("ttft", "tpot", "itl", "e2el"):
            for kind in ("mean", "median", "std"):
                key = f"{kind}_{metric}_ms"
                pairs[key] = (ours[key], theirs[key])
            for percent, value in theirs[f"percentiles_{metric}_ms"]:
                key = f"p{percent:g}_{metric}_ms"
                pairs[key] = (ours[key], value)
        wrong |= {(name, key): both for key, both in pairs.items() if both[0] != both[1]}
    assert not wrong
