"""Pages of metrics, read: our own gateway's, prometheus_client's, and what nobody should write."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from gateway import exposition, metrics
from infctl.monitoring import exposed
from tests.examples import examples

NASTY = 'a"b\\c\nd\x1b[31m,}e{=' + "x" * 50


def test_names_labels_and_values_are_read() -> None:
    page = exposed.read(
        '# TYPE a_total counter\na_total{b="c",d="e"} 2.5 1700000000\na_total{b="f"} 1e3\ng NaN\n'
    )
    assert page.of("a_total") == (
        exposed.Sample({"b": "c", "d": "e"}, 2.5),
        exposed.Sample({"b": "f"}, 1000.0),
    )
    assert page.value("a_total") == 1002.5
    assert page.value("a_total", b="f") == 1000.0
    assert page.value("g") is None, "not a number is no number"
    assert page.by("b", "a_total") == {"c": 2.5, "f": 1000.0}
    assert page.by("b", "a_total", lambda labels: "d" in labels) == {"c": 2.5}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        'a{b="c" 1',
        "a{b=c} 1",
        "a",
        "a x",
        '{"quoted name"} 1',
        "1 2",
        'a{b="c\\"} 1',
        "\x00 1",
        "# TYPE",
    ],
)
def test_what_is_not_understood_is_left_out(line: str) -> None:
    assert exposed.read(f"good 1\n{line}\nbetter 2\n").names() == {"good", "better"}


def test_an_exemplar_is_no_value() -> None:
    assert exposed.read('a_bucket{le="1"} 3 # {trace_id="x"} 0.5\n').value("a_bucket") == 3


def test_metrics_without_a_series_have_their_names() -> None:
    text = "# TYPE a counter\n# TYPE b_total counter\n# TYPE c histogram\n# TYPE d gauge\n# TYPE e summary\n"
    assert exposed.read(text).names() == {
        "a", "a_total", "b_total", "c_bucket", "c_count", "c_sum", "d", "e", "e_count", "e_sum",
    }  # fmt: skip


def test_only_what_is_wanted_is_kept() -> None:
    page = exposed.read("# TYPE other gauge\nvllm:a 1\nother 2\ninfctl_b 3\n", ("vllm:", "infctl_"))
    assert page.names() == {"vllm:a", "infctl_b"}


@settings(max_examples=examples(50), deadline=None)
@given(st.text(max_size=300), st.floats(0, 1e9))
def test_what_prometheus_client_writes_is_read_back(label: str, value: float) -> None:
    label = label.encode("utf-8", "ignore").decode()
    registry = CollectorRegistry()
    Counter("a", "help", ["b"], registry=registry).labels(label).inc(value)
    (found,) = exposed.read(generate_latest(registry).decode()).of("a_total")
    assert found == exposed.Sample({"b": label}, value)


def test_what_the_gateway_writes_is_read_back() -> None:
    numbers = metrics.Metrics()
    numbers.count(metrics.REQUESTS, (NASTY, "m", "b", "ok", ""), 3)
    text = exposition.render(numbers.snapshot(), "")[1].decode()
    (found,) = exposed.read(text, ("infctl_requests",)).of("infctl_requests_total")
    assert (found.labels["tenant"], found.value) == (NASTY, 3)


def test_a_quantile_is_that_of_prometheus() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("h", "help", buckets=(0.1, 0.5, 1.0), registry=registry)
    for value in (0.05, 0.2, 0.3, 0.4, 0.7, 5.0):
        histogram.observe(value)
    counts = exposed.buckets(exposed.read(generate_latest(registry).decode()).of("h_bucket"))
    assert exposed.quantile(0.5, counts) == pytest.approx(0.1 + 0.4 * (3 - 1) / 3)
    assert exposed.quantile(0.99, counts) == 1.0, "beyond the last bound nobody knows how far"
    assert exposed.quantile(0.1, counts) == pytest.approx(0.06)
    assert exposed.quantile(0.5, {}) is None
    assert exposed.quantile(0.5, {1.0: 0.0, math.inf: 0.0}) is None
    assert exposed.quantile(0.5, {1.0: 5.0}) is None, "without the last bucket it is none"
