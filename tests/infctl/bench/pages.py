"""A real loopback server whose /metrics are texts; `{n}` in one is how often it was asked for before."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from infctl.bench.server_side import HEAT
from tests.infctl.monitoring.recorded import AT_WORK, ENERGY, LABELS, POWER

Text = Callable[[int], str]


@contextmanager
def serving(pages: Mapping[str, Text]) -> Iterator[str]:
    """Path -> text, from how often it was asked for. The server's URL."""
    asked: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = pages.get(self.path)
            body = b"" if text is None else text(asked[self.path]).encode()
            asked[self.path] += 1
            self.send_response(404 if text is None else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def vllm(n: int, *, model: str = "served", requests: int = 100) -> str:
    """`requests` more each time, with 80 ms to the first token, 20 of them queued, 50 of prefill."""
    label = f'{{engine="0",model_name="{model}"}}'
    count = n * requests

    def mean(name: str, seconds: float) -> str:
        return f"{name}_sum{label} {count * seconds}\n{name}_count{label} {count}\n"

    return (
        "# HELP vllm:num_requests_running Number of requests in model execution batches.\n"
        f"vllm:num_requests_running{label} {3 + n % 2}\n"
        f"vllm:num_requests_waiting{label} {n % 2}.0\n"
        f"vllm:kv_cache_usage_perc{label} {0.25 * (1 + n % 2)}\n"
        f"vllm:num_preemptions_total{label} {n}\n"
        f"vllm:prefix_cache_queries_total{label} {count * 10}\n"
        f"vllm:prefix_cache_hits_total{label} {count * 4}\n"
        f'vllm:cache_config_info{{block_size="16",engine="0",num_gpu_blocks="1000"}} 1.0\n'
        f'vllm:iteration_tokens_total_bucket{{engine="0",le="64.0",model_name="{model}"}} {count * 0.5}\n'
        f'vllm:iteration_tokens_total_bucket{{engine="0",le="2048.0",model_name="{model}"}} {count}\n'
        f'vllm:iteration_tokens_total_bucket{{engine="0",le="+Inf",model_name="{model}"}} {count}\n'
        + mean("vllm:iteration_tokens_total", 100.0)
        + mean("vllm:time_to_first_token_seconds", 0.080)
        + mean("vllm:request_queue_time_seconds", 0.020)
        + mean("vllm:request_prefill_time_seconds", 0.050)
    )


def gateway(n: int, *, requests: int = 100, tokens: int = 0) -> str:
    return (
        f'infctl_time_to_first_token_seconds_sum{{model="served"}} {n * requests * 0.085}\n'
        f'infctl_time_to_first_token_seconds_count{{model="served"}} {n * requests}\n'
        f'infctl_gateway_overhead_seconds_sum{{model="served"}} {n * requests * 0.0002}\n'
        f'infctl_gateway_overhead_seconds_count{{model="served"}} {n * requests}\n'
        f'infctl_generation_tokens_total{{tenant="a",model="served"}} {n * tokens}\n'
        f'infctl_queue_waiting{{model="served"}} 0\n'
    )


def dcgm(n: int, *, watts: float = AT_WORK[POWER], every_s: float = 0.2, hot: bool = False) -> str:
    """Two cards that tell what was recorded of one; their counter moves by what they draw in `every_s`."""
    told = {
        **AT_WORK,
        POWER: watts,
        ENERGY: AT_WORK[ENERGY] + round(n * watts * every_s * 1e3),
    }
    lines = []
    for name, value in told.items():
        lines.append(f"# TYPE {name} {'counter' if name == ENERGY else 'gauge'}")
        for card, uuid in enumerate(("GPU-aaaa", "GPU-bbbb")):
            values = (card, uuid, f"00000000:0{card}:00.0", f"nvidia{card}", "Tesla T4", "box", "590.48.01")
            label = ",".join(f'{key}="{at}"' for key, at in zip(LABELS, values, strict=True))
            shown = 64 if hot and card == 1 and name == HEAT else value
            lines.append(f"{name}{{{label}}} {shown}")
    return "\n".join([*lines, ""])
