"""What a call has cost its tenant: a row for each way it can end."""

from __future__ import annotations

import pytest

from gateway.metering import Cost, cost
from gateway.usage import Usage

UNKNOWN = Cost(unknown=True)
USED = Usage(5, 7, 12)


def of(outcome, reason="", *, attempts=1, cached=False, usage=None, late=False):
    return cost(attempts=attempts, cached=cached, outcome=outcome, reason=reason, usage=usage, late=late)


@pytest.mark.parametrize("outcome", ["ok", "client_gone", "cut", "upstream_truncated", "upstream_error"])
def test_the_usage_that_was_read_counts_however_it_ended(outcome):
    assert of(outcome, usage=USED) == Cost(5, 7)


def test_a_prompt_without_an_answer_has_a_usage_too():
    assert of("ok", usage=Usage(5, None, 5)) == Cost(5, 0)


def test_an_answer_of_the_cache_is_a_request_without_tokens():
    assert of("ok", attempts=0, cached=True) == Cost()


@pytest.mark.parametrize(
    ("outcome", "reason", "attempts"),
    [
        ("client_gone", "client_closed_request", 0),
        ("refused", "queue_timeout", 0),
        ("refused", "overloaded", 1),
        ("refused", "no_healthy_backend", 2),
        ("upstream_error", "upstream_connect", 1),
        ("upstream_timeout", "upstream_connect", 1),
    ],
)
def test_what_reached_no_backend_has_taken_nothing(outcome, reason, attempts):
    assert of(outcome, reason, attempts=attempts) is None


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        ("rejected", "upstream_400"),
        ("upstream_error", "upstream_500"),
        ("upstream_error", "upstream_head"),
        ("upstream_timeout", "timeout_head"),
    ],
)
def test_what_a_backend_failed_at_costs_no_tokens(outcome, reason):
    assert of(outcome, reason) == Cost()


@pytest.mark.parametrize(
    ("outcome", "late"),
    [
        ("client_gone", False),
        ("cut", False),
        ("upstream_truncated", False),
        ("failed", False),
        ("ok", False),
        ("upstream_timeout", True),
    ],
)
def test_what_nobody_knows_counts_as_reserved(outcome, late):
    assert of(outcome, late=late) == UNKNOWN
