"""What users were promised: the error budget, and the time to the first token. Pure.

Two windows each, after the SRE workbook's chapter on alerting on SLOs: the long one says that it matters, the
short one that it goes on.
"""

from __future__ import annotations

from collections.abc import Iterator

from infctl.monitoring.alerts.alert import Alert
from infctl.monitoring.terms import Terms

FAST = ((0.02, 1.0, "1h", "5m"), (0.05, 6.0, "6h", "30m"))
"""Of the budget: this share, lost in so many hours; the recordings of the long and the short window."""
SLOW = ((0.10, 24.0, "1d", "2h"), (0.10, 72.0, "3d", "6h"))


def table(terms: Terms) -> Iterator[Alert]:
    failed, late = "infctl:requests_failed:ratio", "infctl:first_token_late:ratio"
    yield Alert(
        "ErrorBudgetBurnsFast",
        "promises",
        "page",
        _burns(terms, failed, terms.errors, FAST),
        "",
        "Calls to {{ $labels.model }} fail so often that the promised availability is lost within days.",
    )
    yield Alert(
        "ErrorBudgetBurnsSlowly",
        "promises",
        "ticket",
        _burns(terms, failed, terms.errors, SLOW),
        "",
        "Calls to {{ $labels.model }} fail more often than was promised, and have for hours.",
    )
    yield Alert(
        "FirstTokenBudgetBurnsFast",
        "promises",
        "page",
        _burns(terms, late, terms.late, FAST),
        "",
        "Answers of {{ $labels.model }} begin later than promised, for many of its users.",
    )
    yield Alert(
        "FirstTokenBudgetBurnsSlowly",
        "promises",
        "ticket",
        _burns(terms, late, terms.late, SLOW),
        "",
        "Answers of {{ $labels.model }} begin later than promised, more often than was said, for hours.",
    )


def _burns(
    terms: Terms, ratio: str, budget: float, windows: tuple[tuple[float, float, str, str], ...]
) -> str:
    either = []
    for share, hours, long, short in windows:
        most = f"{terms.burn(share, hours) * budget:.6g}"  # above 1 it can never be
        either.append(f"({ratio}_{long} > {most} and {ratio}_{short} > {most})")
    return " or ".join(either)
