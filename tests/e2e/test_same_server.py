"""What tools say, side by side: made-up reports whose answer is known. Real ones: make proof-same-server."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.e2e.same_server import Report, interval, judged, of_guidellm, of_vllm, overlaps


def report(**more: Any) -> Report:
    given: dict[str, Any] = {"completed": 8, "failed": 0, "tokens_in": 400, "tokens_out": 384}
    return Report(**given | {"per_s": 15.0, "ttft_ms": 120.0, "tpot_ms": 65.0} | more)


def test_the_same_request_reads_alike_from_each_tools_report() -> None:
    """One request of 5 tokens: 0.5 s to the first, then one each 0.1 s."""
    vllm = {"completed": 1, "failed": 0, "total_input_tokens": 7, "total_output_tokens": 5}
    vllm |= {"mean_ttft_ms": 500.0, "mean_tpot_ms": 100.0}
    vllm |= {"start_times": [7.0], "ttfts": [0.5], "itls": [[0.1] * 4], "output_throughput": 5 / 2.9}
    request = {"request_start_time": 10.0, "request_end_time": 10.9, "prompt_tokens": 7, "output_tokens": 5}
    request |= {"time_to_first_token_ms": 500.0, "inter_token_latency_ms": 100.0}
    totals = {"successful": 1, "errored": 0, "incomplete": 0, "total": 1}
    run = {"requests": {"successful": [request]}, "metrics": {"request_totals": totals}}
    theirs, ours = of_guidellm({"benchmarks": [run]}), of_vllm(vllm)
    assert theirs.totals == ours.totals == (1, 0, 7, 5)
    assert (theirs.ttft_ms, theirs.tpot_ms) == (ours.ttft_ms, ours.tpot_ms)
    assert theirs.per_s == pytest.approx(ours.per_s)


def test_a_request_that_begins_while_another_tools_is_under_way_is_counted_once() -> None:
    assert overlaps([[(0.0, 1.0), (3.0, 4.0)], [(1.5, 2.5)], [(5.0, 6.0)]]) == 0
    assert overlaps([[(0.0, 1.0), (3.0, 4.0)], [(0.9, 2.5)], [(2.6, 3.1)]]) == 2
    assert overlaps([[(0.0, 1.0), (0.5, 2.0)], [(3.0, 4.0)]]) == 0  # its own


def test_an_interval_is_students() -> None:
    """Three values, 2 degrees of freedom: 4.303 standard errors."""
    found = interval([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.high - 2.0 == pytest.approx(4.303 / math.sqrt(3), rel=1e-3)
    assert found.low + found.high == pytest.approx(4.0)


def test_tools_that_agree_are_good_and_small_differences_between_runs_are_none() -> None:
    pairs = [(report(tpot_ms=65.0 + at % 3 * 0.2), report(tpot_ms=65.2 + at % 2 * 0.2)) for at in range(8)]
    found = judged("other", pairs)
    assert found.good, found.lines()
    assert "requests and tokens equal" in found.lines()[-1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"per_s": 15.4}, "throughput -2.63 % [-2.63, -2.63], NOT within 2 %"),
        ({"tpot_ms": 62.0}, "TPOT +4.73 % [+4.73, +4.73], NOT within 3 %"),
        ({"ttft_ms": 130.0}, "TTFT -10.00 ms [-10.00, -10.00], NOT within 6.5 ms"),
        ({"tokens_out": 383}, "requests and tokens DIFFER in pairs (1, 2, 3, 4, 5, 6, 7, 8)"),
        ({"completed": 7}, "DIFFER"),
    ],
)
def test_a_tool_that_says_something_else_is_told_with_what(more: dict[str, Any], said: str) -> None:
    found = judged("other", [(report(), report(**more))] * 8)
    assert not found.good
    assert any(said in line for line in found.lines()), found.lines()


def test_a_wide_interval_is_no_agreement() -> None:
    """As good as equal on average, but eight pairs that scatter by 10 % show nothing."""
    pairs = [(report(per_s=15.0), report(per_s=15.0 * (1.1 if at % 2 else 0.9))) for at in range(8)]
    assert not judged("other", pairs).good
