"""Times in logs of several formats, and one order for all of them."""

from __future__ import annotations

from datetime import datetime

import pytest

from infctl.cli.log_lines import dated, interleaved, since, written_at
from infctl.errors import UsageError

NOON = datetime(2026, 3, 4, 12, 0, 0).astimezone().timestamp()
"""In this machine's own zone, as the services log."""
UTC_NOON = datetime.fromisoformat("2026-03-04T12:00:00+00:00").timestamp()


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026/03/04 12:00:00 [error] 7#7: *1 connect() failed", NOON),
        ("(APIServer pid=4711) INFO 03-04 12:00:00 [api_server.py:1] Starting", NOON),
        ('10.0.0.1 - - [04/Mar/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 2', UTC_NOON),
        ('{"ts": "2026-03-04T12:00:00Z", "msg": "hello"}', UTC_NOON),
        ('{"time": 1700000000.5}', 1700000000.5),
        ("2026-03-04T12:00:00.250+00:00 hello", UTC_NOON + 0.25),
        ("  File x.py, line 3, in main", None),
        ('{"not": "a time"}', None),
        ("{broken", None),
        ("2026/99/99 12:00:00 nonsense", None),
        ("", None),
    ],
)
def test_a_line_says_when_it_was_written(text: str, at: float | None) -> None:
    assert written_at(text, NOON) == at


def test_a_december_line_read_in_january_is_last_years() -> None:
    january = datetime(2027, 1, 1, 0, 0, 5).astimezone().timestamp()
    at = written_at("INFO 12-31 23:59:59 [core.py:1] x", january)
    assert at == pytest.approx(january - 6)


def test_services_are_merged_by_time_and_a_traceback_stays_with_its_first_line() -> None:
    logs = {
        "a": list(
            dated(
                "a", ["2026-03-04T12:00:01Z one", "  and its second line", "2026-03-04T12:00:05Z two"], NOON
            )
        ),
        "b": list(dated("b", ["2026-03-04T12:00:03Z middle"], NOON)),
    }
    assert [line.text.split()[-1] for line in interleaved(logs)] == ["one", "line", "middle", "two"]


def test_a_services_own_order_survives_a_clock_that_went_back() -> None:
    logs = {"a": list(dated("a", ["2026-03-04T12:00:05Z first", "2026-03-04T12:00:01Z second"], NOON))}
    assert [line.text.split()[-1] for line in interleaved(logs)] == ["first", "second"]


@pytest.mark.parametrize(
    ("text", "ago"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86_400), ("11:30", 1800)]
)
def test_since_takes_ages_and_clock_times(text: str, ago: float) -> None:
    assert since(text, NOON) == NOON - ago


def test_a_clock_time_later_than_now_is_yesterdays() -> None:
    assert since("12:01", NOON) == NOON + 60 - 86_400


@pytest.mark.parametrize("text", ["", "yesterday", "10 parsecs", "25:00"])
def test_since_refuses_what_is_no_time_and_says_what_is(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        since(text, NOON)
    assert "10m" in caught.value.hint
