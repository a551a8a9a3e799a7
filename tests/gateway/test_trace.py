"""W3C trace context: what is gone on with, and what is no trace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.trace import Parent, line, new_span_id, new_trace_id, read

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_traceparent_says_trace_caller_and_whether_it_is_recorded():
    assert read(f"00-{TRACE}-{SPAN}-01".encode()) == Parent(TRACE, SPAN, sampled=True)
    assert read(f"00-{TRACE}-{SPAN}-00".encode()) == Parent(TRACE, SPAN, sampled=False)
    assert read(f"00-{TRACE}-{SPAN}-03".encode()) == Parent(TRACE, SPAN, sampled=True)


def test_of_a_later_version_what_is_known_counts():
    assert read(f"cc-{TRACE}-{SPAN}-01".encode()) == Parent(TRACE, SPAN, sampled=True)
    assert read(f"cc-{TRACE}-{SPAN}-01-what-comes-then".encode()) == Parent(TRACE, SPAN, sampled=True)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01 ",
        f"cc-{TRACE}-{SPAN}-01x",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",
    ],
)
def test_what_is_no_traceparent_is_no_trace(value):
    assert read(value.encode()) is None


@given(st.binary(max_size=80))
def test_any_bytes_are_read_without_an_error(value):
    found = read(value)
    assert found is None or len(found.trace_id) == 32


@pytest.mark.parametrize("sampled", [True, False])
def test_what_we_say_is_read_as_we_mean_it(sampled):
    trace_id, span_id = new_trace_id(), new_span_id()
    assert read(line(trace_id, span_id, sampled=sampled)) == Parent(trace_id, span_id, sampled=sampled)
    assert len({new_trace_id() for _ in range(1000)} | {new_span_id() for _ in range(1000)}) == 2000
