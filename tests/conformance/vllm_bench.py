"""vLLM's own arithmetic over a log: its `calculate_metrics` is fed what its client would have kept of it.

stdin: name -> {"requests", "duration", "percentiles", "goodput"}; stdout's last line: name -> its figures.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput
from vllm.benchmarks.serve import calculate_metrics


def kept(request: dict[str, Any]) -> RequestFuncOutput:
    """As `async_request_openai_chat_completions` adds it up, its clock read at these times."""
    start = request["began_us"] / 1e6
    times = [at / 1e6 for at in request["piece_us"]]
    found = RequestFuncOutput(prompt_len=request["tokens_in"], start_time=start)
    latest = start
    for number, now in enumerate(times):
        if number == 0:
            found.ttft = now - start
        else:
            found.itl.append(now - latest)
        latest = now
    found.latency = latest - start
    found.success = request["outcome"] == "ok"
    found.output_tokens = request["tokens_out"]
    return found


def figures(asked: dict[str, Any]) -> dict[str, Any]:
    metrics, _ = calculate_metrics(
        input_requests=[],
        outputs=[kept(request) for request in asked["requests"]],
        dur_s=asked["duration"],
        tokenizer=None,
        selected_percentiles=asked["percentiles"],
        goodput_config_dict=asked["goodput"],
    )
    return vars(metrics)


def main() -> None:
    with contextlib.redirect_stdout(sys.stderr):
        told = {name: figures(asked) for name, asked in json.load(sys.stdin).items()}
    sys.stdout.write(json.dumps(told, default=float) + "\n")


if __name__ == "__main__":
    main()
