# ruff: noqa: E501 - screens as they are seen
"""How quotas look, at each width."""

from __future__ import annotations

from typing import Any

import pytest

from infctl.cli import quota_screen as screen

AT = 1_795_780_800.0
MOMENT = {"as_of": AT, "refused_since": AT}


def row(code: str, limit: int | None, settled: int, leased: int, **rest: Any) -> dict[str, Any]:
    return {
        "code": code,
        "limit": limit,
        "per_s": None,
        "level": "profile",
        "settled": settled,
        "leased": leased,
        "unknown": 0,
        "left": None if limit is None else max(0, limit - settled - leased),
        "resets_at": 1.0,
        "reset_s": 35_820.0,
    } | rest


def quota(tenant: str, used: tuple[int, int, int, int], **rest: Any) -> dict[str, Any]:
    """`used`: tokens, requests, tokens of the month, in flight."""
    tokens, requests, month, flight = used
    return {
        "tenant": tenant,
        "known_by": ["profile"],
        "models": None,
        "by_key": [],
        "by_model": [],
        "set_at_run_time": {},
        "refused": {},
        "limits": [
            row("requests_per_second", 100, 0, 3, per_s=50.0, level="environment"),
            row("in_flight", 120, 0, flight, level="built_in"),
            row("requests_per_day", 100_000, requests, 0),
            row("tokens_per_day", 10_000_000, tokens, 20_000 if tokens > 10**6 else 0, level="run_time"),
            row("tokens_per_month", 300_000_000, month, 0, reset_s=864_000.0),
        ],
    } | rest


QUOTAS = [
    quota("search", (1_200_000, 96_020, 20_000_000, 3), refused={"requests_per_day": 2310}),
    quota("data-team", (9_100_000, 41_233, 88_000_000, 12)),
    quota("10.1.4.7", (3400, 12, 3400, 0), refused={"requests_per_second": 14}),
]


def shown(width: int, utf8: bool = True, total: int = 3) -> list[str]:
    return screen.lines(QUOTAS, MOMENT, total, width, utf8=utf8)


def test_a_wide_window_shows_all_of_every_tenant():
    assert shown(120)[:4] == [
        "tenant     tokens today                        requests today      tokens, month  in flight  refused",
        "search     ██▒·················  1.2M / 10M    96,020 / 100,000 !  20M / 300M     3 / 120    2,310 (requests)",
        "data-team  ██████████████████▒·  9.1M / 10M !  41,233 / 100,000    88M / 300M     12 / 120   0",
        "10.1.4.7   █···················  3.4k / 10M    12 / 100,000        3.4k / 300M    0 / 120    14 (rate)",
    ]


def test_a_narrow_one_gives_up_the_least_first_and_never_the_tokens():
    assert shown(80)[:3] == [
        "tenant     tokens today              requests today      refused",
        "search     █▒········  1.2M / 10M    96,020 / 100,000 !  2,310 (requests)",
        "data-team  █████████·  9.1M / 10M !  41,233 / 100,000    0",
    ]
    assert shown(60)[:2] == [
        "tenant     tokens today  refused",
        "search     1.2M / 10M    2,310 (requests)",
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("utf8", [True, False])
def test_no_line_is_wider_than_the_window_and_ascii_is_ascii(width: int, utf8: bool):
    lines = shown(width, utf8, total=5) + screen.tenant_lines(QUOTAS[1] | MOMENT, width, utf8=utf8)
    assert max(map(len, lines)) <= width
    assert utf8 or all(line.isascii() for line in lines)
    assert "and 2 more: --all" in lines


def test_one_tenant_is_shown_with_all_its_limits_and_who_set_them():
    parts = {
        "by_key": [{"key": "key_1", "name": "ci", "models": ["chat"], "limits": [row("in_flight", 2, 0, 1)]}],
        "by_model": [{"model": "chat", "limits": [row("tokens_per_day", None, 0, 0)]}],
        "refused": {"in_flight": 3},
    }
    lines = screen.tenant_lines(QUOTAS[1] | MOMENT | parts, 140, utf8=True)
    assert lines[0] == "data-team · profile"
    day = next(line for line in lines if line.startswith("tokens today"))
    assert day.split() == [
        *("tokens", "today", "██████████████████▒·", "9,100,000", "20,000", "10,000,000", "880,000", "!"),
        *("9", "h", "57", "min", "infctl", "quota", "set"),
    ]
    assert "key key_1 (ci)" in lines
    assert "may use: chat" in lines
    assert any("∞" in line for line in lines[lines.index("with chat") :])
    assert any(line.endswith(": 3 (in flight)") for line in lines)


@pytest.mark.parametrize(
    ("used", "reserved", "bar"),
    [
        (0, 0, "··········"),
        (1, 0, "█·········"),
        (1, 1, "█▒········"),
        (99, 0, "█████████·"),
        (99, 1, "█████████▒"),
        (100, 0, "██████████"),
        (250, 9, "██████████"),
        (0, 100, "▒▒▒▒▒▒▒▒▒▒"),
        (50, 25, "█████▒▒···"),
    ],
)
def test_a_bar_is_full_only_when_nothing_is_left_and_never_empty_for_a_little(
    used: int, reserved: int, bar: str
):
    assert screen.bar(used, reserved, 100, screen.UNICODE, 10) == bar


def test_figures_are_short_and_never_say_more_than_there_is():
    given = (0, 812, 999, 1000, 3499, 9_999_999, 10_000_000, 299_999_999, 1_250_000_000)
    assert [screen.short(count) for count in given] == [
        *("0", "812", "999", "1k", "3.4k", "9.9M", "10M", "299M", "1.2B")
    ]


def test_the_busiest_come_first_and_those_somebody_knows_before_strangers():
    strangers = [quota(f"10.0.0.{n}", (n, 0, 0, 0), known_by=["counts"]) for n in range(50)]
    picked = screen.busiest([*strangers, *QUOTAS], every=False)
    assert [each["tenant"] for each in picked[:2]] == ["search", "data-team"]
    assert len(picked) == screen.SHOWN
    assert "10.0.0.49" in {each["tenant"] for each in picked}
    assert len(screen.busiest([*strangers, *QUOTAS], every=True)) == 53


def test_usage_ends_with_its_sum():
    rows = [
        {
            "day": f"2026-11-2{n}",
            "tenant": "acme",
            "model": "chat",
            "requests": n,
            "prompt_tokens": 10,
            "completion_tokens": 20,
            "unknown_tokens": 0,
            "total_tokens": 1000,
        }
        for n in (1, 2)
    ]
    lines = screen.usage_lines(rows, 100)
    assert lines[-1].split() == ["all", "3", "20", "40", "0", "2,000"]
    assert screen.usage_lines([], 100) == ["nothing was used in these days"]


def test_status_says_who_is_near_a_limit():
    near = [{"tenant": "data-team", "code": "tokens_per_day", "limit": 100, "left": 9, "reset_s": 35_820.0}]
    assert screen.near(near) == ["data-team 91 % of tokens today (resets in 9 h 57 min)"]
