"""Models: vLLM's own figures, of 0.32. Pure."""

from __future__ import annotations

from infctl.monitoring.boards.board import MODEL, RATE, Board, Row, line
from infctl.monitoring.boards.service import M, p
from infctl.monitoring.terms import Terms

BY = "model, backend"


def rate(metric: str, by: str = BY) -> str:
    return f"sum by ({by}) (rate({metric}{{{M}}}{RATE}))"


def mean(histogram: str) -> str:
    return f"{rate(f'{histogram}_sum')} / ({rate(f'{histogram}_count')} > 0)"


def board(_: Terms) -> Board:
    first, gap = "vllm:time_to_first_token_seconds", "vllm:inter_token_latency_seconds"
    hits, asked = rate("vllm:prefix_cache_hits_total"), rate("vllm:prefix_cache_queries_total")
    return Board(
        "models",
        "Models",
        "vLLM's own figures.",
        (
            Row(
                "Speed",
                (
                    line(
                        "Time to first token",
                        "s",
                        "From the engine's door: without waiting at the gateway.",
                        (p(0.5, first, BY), "{{backend}} p50"),
                        (p(0.95, first, BY), "{{backend}} p95"),
                    ),
                    line(
                        "Between tokens",
                        "s",
                        "Each gap between two outputs of a call.",
                        (p(0.5, gap, BY), "{{backend}} p50"),
                        (p(0.95, gap, BY), "{{backend}} p95"),
                    ),
                    line(
                        "Where the time goes",
                        "s",
                        "Means of a call: waiting inside, reading the prompt, writing the answer.",
                        (mean("vllm:request_queue_time_seconds"), "{{backend}} queue"),
                        (mean("vllm:request_prefill_time_seconds"), "{{backend}} prefill"),
                        (mean("vllm:request_decode_time_seconds"), "{{backend}} decode"),
                    ),
                    line(
                        "Tokens of prompts",
                        "short",
                        "A second.",
                        (rate("vllm:prompt_tokens_total"), "{{backend}}"),
                        stacked=True,
                    ),
                    line(
                        "Tokens of answers",
                        "short",
                        "A second.",
                        (rate("vllm:generation_tokens_total"), "{{backend}}"),
                        stacked=True,
                    ),
                    line(
                        "How calls end",
                        "reqps",
                        "stop and length are well; abort is a client that left; error is the engine's.",
                        (
                            f"sum by (finished_reason) (rate(vllm:request_success_total{{{M}}}{RATE}))",
                            "{{finished_reason}}",
                        ),
                        stacked=True,
                    ),
                ),
            ),
            Row(
                "Room",
                (
                    line(
                        "Running and waiting",
                        "short",
                        "Inside the engine. Waiting for long: more calls than it can compute.",
                        (f"sum by ({BY}) (vllm:num_requests_running{{{M}}})", "{{backend}} running"),
                        (f"sum by ({BY}) (vllm:num_requests_waiting{{{M}}})", "{{backend}} waiting"),
                    ),
                    line(
                        "KV cache",
                        "percentunit",
                        "How full. Full alone is normal; full with preemptions is not.",
                        (f"max by ({BY}) (vllm:kv_cache_usage_perc{{{M}}})", "{{backend}}"),
                    ),
                    line(
                        "Preemptions",
                        "short",
                        "Calls thrown out of the cache to be computed again, a second.",
                        (rate("vllm:num_preemptions_total"), "{{backend}}"),
                    ),
                    line(
                        "Prefix cache hits",
                        "percentunit",
                        "Share of prompt tokens that need not be computed.",
                        (f"{hits} / ({asked} > 0)", "{{backend}}"),
                    ),
                    line(
                        "Length of prompts",
                        "short",
                        "Tokens, mean and 95 %.",
                        (mean("vllm:request_prompt_tokens"), "{{backend}} mean"),
                        (p(0.95, "vllm:request_prompt_tokens", BY), "{{backend}} p95"),
                    ),
                    line(
                        "Length of answers",
                        "short",
                        "Tokens, mean and 95 %.",
                        (mean("vllm:request_generation_tokens"), "{{backend}} mean"),
                        (p(0.95, "vllm:request_generation_tokens", BY), "{{backend}} p95"),
                    ),
                ),
            ),
        ),
        (MODEL,),
    )
