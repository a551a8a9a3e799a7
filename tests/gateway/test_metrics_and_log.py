"""Numbers that add up, lines that arrive."""

from __future__ import annotations

import json
import os

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as read_text

from gateway import metrics
from gateway.config import Log
from gateway.exposition import render
from gateway.log import Journal
from gateway.metrics import Metrics
from tests.examples import examples


def text_of(numbers: Metrics) -> str:
    return render(numbers.snapshot(), "")[1].decode()


def test_tenants_are_bounded_and_the_known_keep_their_name():
    numbers = Metrics()
    names = [numbers.tenant(f"10.0.{n // 256}.{n % 256}") for n in range(1000)]
    assert len(set(names)) == metrics.TENANTS + 1
    assert numbers.tenant("10.0.0.0") == "10.0.0.0"
    assert numbers.tenant("10.0.3.0") == metrics.OTHER


@given(st.lists(st.floats(0, 5000), max_size=50))
@settings(max_examples=examples(100), deadline=None)
def test_a_histogram_counts_each_value_once(values):
    numbers = Metrics()
    for value in values:
        numbers.observe(metrics.DURATION, ("m",), value)
    [family] = [each for each in read_text(text_of(numbers)) if each.name == metrics.DURATION.name]
    for sample in family.samples:
        if sample.name.endswith("_bucket"):
            assert sample.value == sum(value <= float(sample.labels["le"]) for value in values)
        elif sample.name.endswith("_count"):
            assert sample.value == len(values)


def test_names_follow_the_conventions():
    names = [metric.name for metric in metrics.METRICS]
    assert len(set(names)) == len(names) >= 30
    for metric in metrics.METRICS:
        assert metric.name.startswith("infctl_")
        assert not metric.name.endswith("_total")
        assert metric.help.endswith(".")
        known = {
            "tenant",
            "limit",
            "model",
            "backend",
            "outcome",
            "reason",
            "kind",
            "state",
            "version",
            "compiled",
        }
        known |= {"worker", "balancing", "store", "audit", "cache"}
        assert set(metric.labels) <= known


def test_odd_label_values_are_escaped():
    numbers = Metrics()
    numbers.count(metrics.TOKENS_IN, ('a"b\\c\nd', "m"), 3)
    [family] = [each for each in read_text(text_of(numbers)) if each.name == metrics.TOKENS_IN.name]
    assert family.samples[0].labels["tenant"] == 'a"b\\c\nd'


def test_lines_reach_the_descriptor_in_order():
    reading, writing = os.pipe()
    journal = Journal(Log(), lambda: 1_700_000_000.25, fd=writing)
    journal.event("info", "started", a=1)
    for n in range(300):
        journal.write({"ts": journal.now(), "n": n})
    journal.close()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        lines = [json.loads(line) for line in pipe]
    assert lines[0] == {"ts": "2023-11-14T22:13:20.250Z", "level": "info", "event": "started", "a": 1}
    assert [line["n"] for line in lines[1:]] == list(range(300))


def test_a_block_of_lines_that_hold_nothing_to_hide_is_not_looked_through():
    reading, writing = os.pipe()
    journal = Journal(Log(), lambda: 0.0, fd=writing)
    looked: list[bytes] = []

    def hide(block: bytes) -> bytes:
        looked.append(block)
        return block

    journal.hide = hide
    journal.request(b"1\n", clean=True)
    journal.flush()
    for clean in (True, False, True):
        journal.request(b"2\n", clean=clean)
    journal.flush()
    journal.request(b"3\n", clean=True)
    journal.write({"n": 4})
    journal.flush()
    journal.request(b"5\n", clean=True)
    journal.close()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b'1\n2\n2\n2\n3\n{"n":4}\n5\n'
    assert looked == [b"2\n2\n2\n", b'3\n{"n":4}\n']


def test_what_nobody_reads_is_dropped_and_counted():
    reading, writing = os.pipe()
    journal = Journal(Log(), lambda: 0.0, fd=writing)
    for _ in range(20):
        journal.write({"x": "y" * 1024 * 1024})
        journal.flush()
    assert journal.lost >= 3
    os.close(reading)  # the writer gets EPIPE and goes on
    journal.close()
    os.close(writing)


def test_a_level_hides_what_is_below_it():
    reading, writing = os.pipe()
    journal = Journal(Log(level="warning"), lambda: 0.0, fd=writing)
    assert not journal.requests
    journal.event("info", "hidden")
    journal.event("error", "shown")
    journal.close()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert [json.loads(line)["event"] for line in pipe] == ["shown"]
