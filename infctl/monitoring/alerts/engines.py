"""vLLM's own figures. Pure. Names: those of 0.32."""

from __future__ import annotations

from collections.abc import Iterator

from infctl.monitoring.alerts.alert import Alert
from infctl.monitoring.terms import Terms

BY = "by (model, backend)"


def table(terms: Terms) -> Iterator[Alert]:
    span, wait = terms.span, terms.wait
    yield Alert(
        "EngineDown",
        "engines",
        "ticket",
        'up{job="vllm"} == 0',
        wait(300),
        "{{ $labels.backend }} of {{ $labels.model }} cannot be read.",
    )
    yield Alert(
        "EngineMissing",
        "engines",
        "page",
        'absent(up{job="vllm"})',
        wait(120),
        "Prometheus knows of no engine at all.",
    )
    yield Alert(
        "EngineMetricsMissing",
        "engines",
        "ticket",
        'up{job="vllm"} == 1 unless on (instance) vllm:num_requests_running',
        wait(300),
        "{{ $labels.backend }} answers and tells nothing of its work: rules and panels are blind to it.",
    )
    yield Alert(
        "EngineStalled",
        "engines",
        "page",
        f"sum {BY} (vllm:num_requests_running) > 0 and sum {BY} (rate(vllm:generation_tokens_total"
        f"[{span(120)}]) + rate(vllm:prompt_tokens_total[{span(120)}])) == 0",
        wait(120),
        "{{ $labels.backend }} has calls and makes no tokens, though it may still say that it is well.",
    )
    yield Alert(
        "EngineErrors",
        "engines",
        "page",
        f'sum {BY} (rate(vllm:request_success_total{{finished_reason="error"}}[{span(300)}]))'
        f" / (sum {BY} (rate(vllm:request_success_total[{span(300)}])) > 0) > 0.01",
        wait(300),
        "{{ $labels.backend }} ends calls with an error of its own.",
    )
    yield Alert(
        "EngineSaturated",
        "engines",
        "ticket",
        f'min_over_time(sum {BY} (vllm:num_requests_waiting_by_reason{{reason="capacity"}})'
        f"[{span(600)}:{terms.wait(30)}]) > 0 and histogram_quantile(0.95, sum by (le, model, backend)"
        f" (rate(vllm:request_queue_time_seconds_bucket[{span(600)}]))) > 5",
        wait(300),
        "Calls wait for seconds inside {{ $labels.backend }}, all the time.",
    )
    yield Alert(
        "EngineKvPressure",
        "engines",
        "ticket",
        f"max {BY} (avg_over_time(vllm:kv_cache_usage_perc[{span(600)}])) > 0.95"
        f" and sum {BY} (rate(vllm:num_preemptions_total[{span(600)}])) > 0.05",
        wait(600),
        "{{ $labels.backend }} has too little memory for its calls, and computes parts of them twice.",
    )
    yield Alert(
        "EngineRefuses",
        "engines",
        "ticket",
        f"sum by (model, backend, reason) (rate(vllm:admission_rejections_total[{span(300)}])) > 0",
        wait(300),
        "{{ $labels.backend }} refuses calls itself ({{ $labels.reason }}).",
    )
    yield Alert(
        "EngineRestarts",
        "engines",
        "page",
        f'sum {BY} (changes(process_start_time_seconds{{job="vllm"}}[{span(1800)}])) >= 2',
        "",
        "{{ $labels.backend }} ends and starts again and again.",
    )
