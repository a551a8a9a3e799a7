"""What a scrape is told: as prometheus_client would write it, and so fast that calls do not wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, core
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from gateway import exposition, metrics
from gateway.exposition import ALIASES, OPENMETRICS, TEXT, render
from gateway.metrics import METRICS, Metrics, Snapshot
from tests.examples import examples
from tests.infctl import cpu_time

MAKERS: dict[str, Any] = {
    "counter": core.CounterMetricFamily,
    "histogram": core.HistogramMetricFamily,
    "gauge": core.GaugeMetricFamily,
}
SERIES = 10_000
LIMIT_S = 0.020
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


class Oracle:
    """The same numbers in prometheus_client's own classes."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def collect(self) -> Iterator[Any]:
        told = [(metric, metric.name, metric.help, metric.labels) for metric in self.snapshot]
        told += [(metric, name, help_, ("gen_ai_request_model",)) for metric, name, help_ in ALIASES]
        for metric, name, help_, labels in told:
            family = MAKERS[metric.kind](name, help_, labels=labels)
            for values, numbers in self.snapshot[metric].items():
                if metric.kind == "histogram":
                    bounds = [*map(str, metric.buckets), "+Inf"]
                    sums = [sum(numbers[: n + 1]) for n in range(len(bounds))]
                    family.add_metric(values, list(zip(bounds, sums, strict=True)), numbers[-1])
                else:
                    family.add_metric(values, numbers[0])
            yield family


def registry(snapshot: Snapshot) -> CollectorRegistry:
    made = CollectorRegistry(auto_describe=False)
    made.register(Oracle(snapshot))
    return made


def read(parser: Any, said: bytes) -> list[Any]:
    return [(each.name, each.type, each.documentation, each.samples) for each in parser(said.decode())]


@given(st.lists(st.tuples(st.sampled_from(METRICS), text, st.floats(0, 1e12) | st.integers(0, 2**60))))
@settings(max_examples=examples(100), deadline=None)
def test_it_is_what_prometheus_own_library_writes(happened):
    numbers = Metrics()
    gauges: Snapshot = {}
    for metric, label, value in happened:
        labels = (label,) * len(metric.labels)
        if metric.kind == "counter":
            numbers.count(metric, labels, value)
        elif metric.kind == "histogram":
            numbers.observe(metric, labels, value)
        else:
            gauges.setdefault(metric, {})[labels] = (value,)
    snapshot = numbers.snapshot() | gauges
    kind, ours = render(snapshot, "text/plain")
    assert kind == TEXT
    assert read(read_text, ours) == read(read_text, generate_latest(registry(snapshot)))
    kind, ours = render(snapshot, OPENMETRICS)
    assert kind == OPENMETRICS
    assert read(read_openmetrics, ours) == read(read_openmetrics, generate_openmetrics(registry(snapshot)))


@pytest.mark.parametrize("accept", ["", "text/plain", OPENMETRICS])
@pytest.mark.parametrize(
    "value", ['a"b', "a\nb\n", "\\", '\\"', "# HELP x", "}", "é\u2028", "\ud800", "x" * 10_000, ""]
)
def test_a_hostile_label_value_is_one_series_and_breaks_none(value, accept):
    numbers = Metrics()
    numbers.count(metrics.TOKENS_IN, (value, "m"), 3)
    numbers.count(metrics.TOKENS_IN, (f"{value}z", "m"), 4)
    found = render(numbers.snapshot(), accept)[1].decode()
    families = list((read_openmetrics if accept == OPENMETRICS else read_text)(found))
    [family] = [each for each in families if each.name == metrics.TOKENS_IN.name]
    assert [sample.value for sample in family.samples] == [3, 4]
    told = [sample.labels["tenant"] for sample in family.samples]
    assert len(set(told)) == 2
    assert max(map(len, told)) <= exposition.LABEL_CHARS
    if len(value) < 100 and value != "\ud800":
        assert told == [value, f"{value}z"]
    assert len({each.name for each in families}) == len(METRICS) + len(ALIASES)


def many() -> Metrics:
    """As many series as a busy gateway of 200 tenants and 20 backends has."""
    numbers = Metrics()
    for tenant in range(200):
        for backend in range(20):
            call = numbers.of_call((f"10.0.0.{tenant}", f"model{backend % 5}", f"backend{backend}", "ok", ""))
            call.requests.value += 1
            call.duration.observe(0.1)
    for model in range(90):
        for metric in METRICS:
            if metric.kind == "histogram":
                numbers.observe(metric, (f"model{model}",) * len(metric.labels), 0.3)
    return numbers


@pytest.mark.serial
def test_10_000_series_are_written_in_under_20_ms_of_cpu():
    numbers = many()
    lines = [line for line in render(numbers.snapshot(), "")[1].splitlines() if not line.startswith(b"#")]
    assert len(lines) >= SERIES
    for accept in (TEXT, OPENMETRICS):
        took_s = cpu_time.own(lambda accept=accept: render(numbers.snapshot(), accept), LIMIT_S)
        assert took_s < LIMIT_S


def test_what_is_kept_of_lines_is_bounded(monkeypatch):
    monkeypatch.setattr(exposition, "LINES_MAX", 50)
    for n in range(200):
        numbers = Metrics()
        numbers.count(metrics.BYTES_OUT, (f"m{n}",), n)
        assert f'{{model="m{n}"}} {n}.0' in render(numbers.snapshot(), "")[1].decode()
    assert len(exposition._lines) <= 50
