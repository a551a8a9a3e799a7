"""The table of `infctl health --deep`."""

from __future__ import annotations

import pytest

from infctl.cli.health_screen import lines
from infctl.health.found import failure, ok, skipped, warning

FOUND = (
    ok("models", "https://localhost:8443", "4 questions answered rightly"),
    failure(
        "metrics",
        "http://127.0.0.1:8101/metrics",
        "chat does not tell its figures",
        why="connection refused",
        fix="infctl logs chat --tail 20",
    ),
    warning("metrics", "http://a-very-long-name.example.com:8000/metrics", "was not read yet", fix="wait"),
    skipped("store", "gateway", "the key known here is no admin's", fix="set ADMIN_API_KEY in .env"),
)
WIDE = """\
        check    where                          what
✓ ok    models   https://localhost:8443         4 questions answered rightly
✗ FAIL  metrics  http://127.0.0.1:8101/metrics  chat does not tell its figures
                                                why  connection refused
                                                next infctl logs chat --tail 20
! warn           http://a-very-long-name.example.com:8000/metrics
                                                was not read yet
                                                next wait
- skip  store    gateway                        not looked at: the key known here is no admin's
                                                next set ADMIN_API_KEY in .env"""


def test_each_look_is_a_line_with_where_and_what_and_below_it_why_and_what_next() -> None:
    assert "\n".join(lines(FOUND, 110)) == WIDE


def test_without_utf8_and_colour_it_says_the_same() -> None:
    plain = "\n".join(lines(FOUND, 110, utf8=False))
    assert plain.isascii()
    assert "x FAIL" in plain
    painted = lines(FOUND, 110, paint=lambda text, style: f"<{style}>{text}")
    assert len(painted) == len(WIDE.splitlines())


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_window_folds_words(width: int) -> None:
    assert max(map(len, lines(FOUND, width))) < 80
