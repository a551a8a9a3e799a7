"""Limits on the command line: `--tokens-per-day 10M`, `--requests-per-second 5`, `none`, `default`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from infctl.errors import UsageError

NO_LIMIT = "none"
BACK = "default"
"""Back to what the profile says."""


def _option(*names: str, help: str) -> Any:  # noqa: A002 - as Typer calls it
    return typer.Option(*names, metavar="N", help=help, show_default=False)


Rate = Annotated[
    str | None, _option("--requests-per-second", help="Requests a second: 5, 0.5, none, or default")
]
Burst = Annotated[str | None, _option("--burst", help="Requests at once after a pause")]
InFlight = Annotated[str | None, _option("--in-flight", help="Requests not yet answered")]
MinuteTokens = Annotated[str | None, _option("--tokens-per-minute", help="Tokens a minute: 100k")]
DayRequests = Annotated[str | None, _option("--requests-per-day", help="Requests a day (UTC)")]
DayTokens = Annotated[str | None, _option("--tokens-per-day", help="Tokens a day: 10M")]
MonthRequests = Annotated[str | None, _option("--requests-per-month", help="Requests a month")]
MonthTokens = Annotated[str | None, _option("--tokens-per-month", help="Tokens a month: 300M")]
Models = Annotated[
    str | None,
    typer.Option(
        "--models",
        metavar="A,B",
        help="The models it may use; default: as the profile says",
        show_default=False,
    ),
]


def limits(**given: str | None) -> dict[str, Any]:
    """The body that the control plane takes; null: back to the profile. Raises UsageError for all at once."""
    body: dict[str, Any] = {}
    wrong = []
    for name, text in given.items():
        if text is None:
            continue
        try:
            body[name] = _value(name, text.strip())
        except ValueError as error:
            wrong.append(f"--{name.replace('_', '-')}: {error}")
    if wrong:
        raise UsageError("; ".join(wrong))
    return body


def _value(name: str, text: str) -> Any:
    if text.lower() == BACK:
        return None
    if name == "models":
        return [part.strip() for part in text.split(",") if part.strip()]
    if text.lower() == NO_LIMIT:
        return NO_LIMIT
    read: Callable[[str], Any] = _rate if name == "requests_per_second" else _count
    return read(text)


def _rate(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no number of requests a second: 5, 0.5, none") from None
    if not 0 < found <= 1_000_000:
        raise ValueError(f"{text[:40]} is not above 0 and at most 1,000,000")
    return found


def _count(text: str) -> int:
    from infctl.profile.values import Misfit, count

    try:
        found = count(text)
    except Misfit as error:
        raise ValueError(f"{error.message}: {error.hint}") from None
    if found < 1:
        raise ValueError(f"{text[:40]} is less than 1: a limit is at least 1, or none")
    return found


def said(limits: dict[str, Any]) -> str:
    """In words: `tokens_per_day 10M, models chat`."""
    from infctl.profile.values import format_count

    parts = []
    for name, value in limits.items():
        if isinstance(value, list):
            text = ",".join(value) or "none at all"
        elif isinstance(value, int):
            text = format_count(value)
        else:
            text = f"{value:g}" if isinstance(value, float) else str(value)
        parts.append(f"{name} {text}")
    return ", ".join(parts) or "nothing"
