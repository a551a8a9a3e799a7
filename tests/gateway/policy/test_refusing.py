"""What a refused client reads: which limit, how much, when."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import headers
from gateway.policy.limits import Limit, tenant_scope
from gateway.policy.refusing import Refused, duration

T = tenant_scope("data-team")
DAY = Limit("tokens_per_day", T, 10_000_000, owner="data-team")
RATE = Limit("requests_per_second", T, 100, 50.0, "data-team")
MINUTE = Limit("tokens_per_minute", T, 60_000, 1000.0, "data-team")
SLOTS = Limit("in_flight", T, 120, owner="data-team")


@pytest.mark.parametrize(
    ("refused", "type_", "retry_after", "message"),
    [
        (
            Refused(DAY, "reached", 300, 0, 35_820.0), "quota_exceeded", 35_820,
            "data-team has used 10,000,000 of 10,000,000 tokens today (UTC). The day ends in 9 h 57 min.",
        ),
        (
            Refused(DAY, "reached", 300, 200, 35_820.0), "quota_exceeded", 35_820,
            ("data-team has 200 of 10,000,000 tokens left today (UTC), and this request may need 300."
            " Ask for fewer with max_tokens. The day ends in 9 h 57 min."),
        ),
        (
            Refused(Limit("requests_per_month", T, 5, owner="data-team"), "reached", 1, 0, 200_000.0),
            "quota_exceeded", 200_000,
            "data-team has used 5 of 5 requests this month (UTC). The month ends in 2 d 8 h.",
        ),
        (
            Refused(RATE, "reached", 1, 0, 0.013), "rate_limit_exceeded", 1,
            "data-team may send 50 requests a second, 100 at once. Try again in 0.1 s.",
        ),
        (
            Refused(MINUTE, "reached", 9000, 1200, 7.8), "rate_limit_exceeded", 8,
            ("data-team may use 60,000 tokens a minute, and this request may need 9,000; 1,200 are left."
            " Try again in 7.8 s."),
        ),
        (
            Refused(SLOTS, "reached", 1, 0, 1.0), "rate_limit_exceeded", 1,
            "data-team has 120 of 120 requests in flight. Send this one when another has been answered.",
        ),
        (
            Refused(MINUTE, "too_large", 90_000, 60_000, None), "rate_limit_exceeded", None,
            ("This request may need up to 90,000 tokens, and data-team may use 60,000 a minute: it cannot be"
            " served at any time. Ask for fewer with max_tokens, or send a shorter prompt."),
        ),
    ],
)  # fmt: skip
def test_a_refusal_says_which_limit_how_much_and_when(refused, type_, retry_after, message):
    assert (refused.status, refused.type, refused.code) == (429, type_, refused.limit.code)
    assert refused.retry_after == retry_after
    assert refused.message == message


def test_a_store_that_is_away_is_ours_to_answer_for():
    refused = Refused(DAY, "store", 300, 0, 5.0)
    assert (refused.status, refused.type, refused.code, refused.retry_after) == (
        503,
        "overloaded",
        "quota_unavailable",
        5,
    )
    assert b"ratelimit" not in headers.refusal_lines(refused, 5.0)


@given(st.floats(0, 40 * 86_400))
def test_a_duration_is_never_told_shorter_than_it_is(seconds: float):
    unit_s = {"d": 86_400, "h": 3600, "min": 60, "s": 1}
    words = re.findall(r"([\d.]+) (d|h|min|s)", duration(seconds))
    told = sum(float(number) * unit_s[unit] for number, unit in words)
    assert (
        seconds - 1e-5
        <= told
        <= seconds
        + max(0.11, 0.5 * 3600 * (seconds > 86_400) + 60 * (seconds > 3600) + 3600 * (seconds > 170_000) + 1)
    )


def test_a_reply_carries_both_forms():
    lines = headers.template(RATE, DAY) % (2, 35_821, 2, 35_821) % (42, 9_000_000, 42, 9_000_000)
    assert lines.decode().splitlines() == [
        "x-ratelimit-limit-requests: 100",
        "x-ratelimit-remaining-requests: 42",
        "x-ratelimit-reset-requests: 2s",
        "x-ratelimit-limit-tokens: 10000000",
        "x-ratelimit-remaining-tokens: 9000000",
        "x-ratelimit-reset-tokens: 35821s",
        'ratelimit: "requests-second";r=42;t=2, "tokens-day";r=9000000;t=35821',
        'ratelimit-policy: "requests-second";q=100;w=2, "tokens-day";q=10000000;w=86400',
    ]
    assert headers.template(None, None) == b""


def test_a_refusal_carries_the_limit_that_was_reached_and_when_to_come_again():
    refused = Refused(DAY, "reached", 300, -5, 35_820.0)
    assert headers.refusal_lines(refused, 35_820.0).decode().splitlines() == [
        'ratelimit: "tokens-day";r=0;t=35820',
        'ratelimit-policy: "tokens-day";q=10000000;w=86400',
        "retry-after: 35820",
    ]
