"""docs/metrics.md: every metric of the gateway, as gateway/metrics.py says it.

`python scripts/metrics_page.py` rewrites it; tests/test_docs.py checks that it is current.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gateway.exposition import ALIASES
from gateway.metrics import METRICS, TENANTS, Metric

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"


def text() -> str:
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# The gateway's metrics"
    yield ""
    yield "Made by `python scripts/metrics_page.py` from `gateway/metrics.py`. Read them at `/metrics`: open"
    yield "to the addresses of `metrics_open_to` (private ranges), else with the admin key."
    yield ""
    yield "Label values are bounded: models and backends are those of the configuration, tenants the first"
    yield f"{TENANTS} that came, the rest is `other`. Workers of one gateway show the sum; where a gauge says"
    yield "something else of several workers, its line says so."
    yield ""
    yield "| name | kind | labels | what |"
    yield "|---|---|---|---|"
    for metric in METRICS:
        labels = ", ".join(metric.labels) or "-"
        yield f"| `{_told(metric)}` | {metric.kind} | {labels} | {metric.help} |"
    yield ""
    yield "The same numbers under the names of OpenTelemetry's conventions for generative AI (label"
    yield "`gen_ai_request_model`; those conventions are in development, and their buckets are not ours):"
    yield ""
    for metric, name, _ in ALIASES:
        yield f"- `{name}`: `{metric.name}`"


def _told(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.kind == "counter" else metric.name


if __name__ == "__main__":
    PAGE.write_text(text(), "utf-8")
