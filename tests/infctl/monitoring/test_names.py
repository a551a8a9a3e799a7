"""Every metric that a rule asks for is told by somebody; a name that is changed is found here."""

from __future__ import annotations

import pytest

from gateway import metrics
from infctl.monitoring.names import family, metrics_in
from infctl.monitoring.recordings import recordings
from infctl.monitoring.terms import FIRST_TOKEN_BOUNDS_S
from tests.infctl.monitoring import published
from tests.infctl.monitoring.prometheus import TERMS, exprs

RECORDED = {each.name for each in recordings(TERMS)}


@pytest.mark.parametrize(
    ("expr", "names"),
    [
        ("a", {"a"}),
        ('sum by (b) (rate(a_total{c="d"}[5m])) / (e > 0)', {"a_total", "e"}),
        ("max_over_time(vllm:x[10m:30s]) > 1e5 and on (f) g offset 5m or vector(1)", {"vllm:x", "g"}),
        ('label_replace(a, "b", "$1", "c", "(.*)")', {"a"}),
        ("a * on (b) group_left (c) infctl:d:ratio_5m", {"a", "infctl:d:ratio_5m"}),
        ("time() - 86400 < 0.5", set()),
        ('rate(a[$__rate_interval]) unless b{x=~"y|z"} == bool 1', {"a", "b"}),
    ],
)  # fmt: skip
def test_names_are_what_is_left_of_an_expression(expr: str, names: set[str]) -> None:
    assert metrics_in(expr) == names


@pytest.mark.parametrize(("rule", "expr"), exprs().items())
def test_every_metric_of_a_rule_is_told_by_somebody(rule: str, expr: str) -> None:
    known = published.everything() | RECORDED
    assert metrics_in(expr) <= known


def test_vllms_names_are_read_from_its_code() -> None:
    found = published.of_vllm()
    assert {"vllm:num_requests_running", "vllm:prompt_tokens_total", "vllm:num_preemptions_total"} <= found
    assert "vllm:time_to_first_token_seconds_bucket" in found
    assert "vllm:gpu_cache_usage_perc" not in found
    assert len(found) > 80


def test_the_bounds_that_promises_are_judged_by_are_the_gateways() -> None:
    assert metrics.FIRST_TOKEN.buckets == FIRST_TOKEN_BOUNDS_S


def test_the_family_of_a_series() -> None:
    assert family("a_seconds_bucket") == "a_seconds"
    assert family("a_total") == "a_total"
