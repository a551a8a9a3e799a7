"""The tables of `infctl quota`, as lines. Pure: understood without colour, and in ASCII."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infctl.cli.text import Column, Paint, fitted, table, unpainted
from infctl.shown import shown

Row = Mapping[str, Any]

NEAR = 0.9
"""Of a limit: from there on it is worth a look."""
SHOWN = 20
"""Tenants, where not all are asked for."""
_BAR = 20
_WIDE = 100
"""Columns, from which on there is room for exact figures."""
_NAMES = {
    "requests_per_second": "requests a second",
    "tokens_per_minute": "tokens a minute",
    "in_flight": "in flight",
    "requests_per_day": "requests today",
    "tokens_per_day": "tokens today",
    "requests_per_month": "requests this month",
    "tokens_per_month": "tokens this month",
}
_REFUSED = {
    "requests_per_second": "rate",
    "tokens_per_minute": "token rate",
    "in_flight": "in flight",
    "requests_per_day": "requests",
    "tokens_per_day": "tokens",
    "requests_per_month": "requests, month",
    "tokens_per_month": "tokens, month",
}
_LEVELS = {
    "key": "the key",
    "run_time": "infctl quota set",
    "tenant": "the profile, for it",
    "environment": "the environment",
    "profile": "the profile",
    "built_in": "built in",
}


@dataclass(frozen=True, slots=True)
class Glyphs:
    used: str
    reserved: str
    left: str
    none: str


UNICODE = Glyphs("█", "▒", "·", "∞")
ASCII = Glyphs("#", "+", ".", "no limit")


def bar(used: int, reserved: int, limit: int, glyphs: Glyphs, width: int = _BAR) -> str:
    """What is used is seen, however little; a bar is full only when nothing is left."""
    if limit <= 0 or width <= 0:
        return ""
    least = 1 if used else 0
    full = width if used >= limit else min(width - 1, max(least, used * width // limit))
    held = min(limit, used + reserved)
    both = (
        width if held >= limit else min(width - 1, max(full + (1 if reserved else 0), held * width // limit))
    )
    both = min(width, max(full, both))
    return glyphs.used * full + glyphs.reserved * (both - full) + glyphs.left * (width - both)


def short(count: int) -> str:
    """812, 3.4k, 88M, 1.2B."""
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            shown = count / size
            text = f"{int(shown * 10) / 10:g}" if shown < 10 else str(int(shown))
            return f"{text}{letter}"
    return str(count)


def share(row: Row) -> float:
    """Used and reserved, of the limit; 0 where there is none."""
    return 0.0 if not row.get("limit") else 1 - row["left"] / row["limit"]


def is_near(row: Row) -> bool:
    """A rate comes back in a moment: to be at its limit is nothing to be told of."""
    return row["code"] not in {"requests_per_second", "tokens_per_minute"} and share(row) >= NEAR


def busiest(quotas: Sequence[Row], *, every: bool) -> list[Row]:
    """Those near a limit first; of the rest, those that the profile or somebody knows, and who uses most."""

    def place(quota: Row) -> tuple[float, str]:
        return -max((share(row) for row in quota["limits"] if not row["per_s"]), default=0.0), quota["tenant"]

    found = sorted(quotas, key=place)
    if every:
        return found
    known = [quota for quota in found if set(quota["known_by"]) - {"counts"} or quota["refused"]]
    rest = [quota for quota in found if quota not in known]
    picked = known[:SHOWN] + rest[: max(0, SHOWN - len(known))]
    return sorted(picked, key=place)


def lines(
    quotas: Sequence[Row], moment: Row, total: int, width: int, *, utf8: bool, paint: Paint = unpainted
) -> list[str]:
    """One row a tenant. `total`: so many tenants there are."""
    glyphs = UNICODE if utf8 else ASCII
    if not quotas:
        return ["no tenants yet: nobody has called, and the profile names none"]
    by = [{row["code"]: row for row in quota["limits"]} for quota in quotas]

    def cells(code: str, *, exact: bool) -> tuple[str, ...]:
        return tuple(_amount(rows.get(code), glyphs, exact=exact) for rows in by)

    columns = _fitting(
        lambda bar_width: (
            Column("tenant", tuple(quota["tenant"] for quota in quotas)),
            Column(
                "tokens today",
                tuple(
                    _beside(_bar(rows.get("tokens_per_day"), glyphs, bar_width), amount)
                    for rows, amount in zip(by, cells("tokens_per_day", exact=False), strict=True)
                ),
                style=_style,
            ),
            Column("requests today", cells("requests_per_day", exact=True), sacrifice=2, style=_style),
            Column("tokens, month", cells("tokens_per_month", exact=False), sacrifice=4, style=_style),
            Column("in flight", cells("in_flight", exact=True), sacrifice=3, style=_style),
            Column("refused", tuple(_refused(quota["refused"]) for quota in quotas), sacrifice=1),
        ),
        width,
        least=4,
    )
    out = table(columns, width, paint)
    if total > len(quotas):
        out.append(f"and {total - len(quotas):,} more: --all")
    return [*out, "", *(paint(line, "dim") for line in _legend(quotas, moment, glyphs, width))]


def tenant_lines(quota: Row, width: int, *, utf8: bool, paint: Paint = unpainted) -> list[str]:
    """One tenant: a row for each limit, then its keys and models that have limits of their own."""
    glyphs = UNICODE if utf8 else ASCII
    known = ", ".join(quota["known_by"]).replace("_", " ")
    out = [f"{paint(quota['tenant'], 'bold')} · {known}" if utf8 else f"{quota['tenant']} - {known}"]
    if not known:
        out = [f"{paint(quota['tenant'], 'bold')}: nothing is known of it; it has the usual limits"]
    out += _limits(quota["limits"], width, glyphs, paint)
    if quota["models"] is not None:
        out.append(f"may use: {', '.join(quota['models']) or 'no model'}")
    for part in quota["by_key"]:
        named = f" ({part['name']})" if part["name"] else ""
        out += ["", f"key {part['key']}{named}", *_limits(part["limits"], width, glyphs, paint)]
        if part["models"] is not None:
            out.append(f"may use: {', '.join(part['models']) or 'no model'}")
    for part in quota["by_model"]:
        out += ["", f"with {part['model']}", *_limits(part["limits"], width, glyphs, paint)]
    if quota["refused"]:
        out += ["", f"refused since {_clock(quota['refused_since'])}: {_refused(quota['refused'])}"]
    legend = f"{glyphs.used} used  {glyphs.reserved} reserved  {glyphs.left} left"
    return [*out, "", paint(f"{legend} · as of {_clock(quota['as_of'])}".replace("·", _dot(utf8)), "dim")]


def near(rows: Sequence[Row]) -> list[str]:
    """For `infctl status`: `data-team 91 % of tokens today (resets in 9 h 57 min)`."""
    from infctl.cli.text import duration

    return [
        f"{shown(row['tenant'], 40)} {100 * share(row):.0f} % of {_NAMES.get(row['code'], row['code'])}"
        f" (resets in {duration(row['reset_s'])})"
        for row in rows
    ]


def usage_lines(rows: Sequence[Row], width: int, paint: Paint = unpainted) -> list[str]:
    """A row a day, tenant and model, and their sum."""
    if not rows:
        return ["nothing was used in these days"]
    names = ("requests", "prompt_tokens", "completion_tokens", "unknown_tokens", "total_tokens")
    total = {name: sum(row[name] for row in rows) for name in names}
    every = [*rows, {"day": "", "tenant": "", "model": "all", **total}]
    titles = ("requests", "prompt", "answer", "unknown", "tokens")
    sacrifice = {"unknown": 3, "prompt": 2, "answer": 2}
    columns = [
        Column("day", tuple(row["day"] for row in every)),
        Column("tenant", tuple(row["tenant"] for row in every)),
        Column("model", tuple(row["model"] for row in every)),
        *(
            Column(
                title,
                tuple(f"{row[name]:,}" for row in every),
                right=True,
                sacrifice=sacrifice.get(title, 0),
            )
            for title, name in zip(titles, names, strict=True)
        ),
    ]
    return table(columns, width, paint)


# Private


def _limits(rows: Sequence[Row], width: int, glyphs: Glyphs, paint: Paint) -> list[str]:
    if not rows:
        return ["  no limits"]
    said = _exact if width >= _WIDE else _rough
    uses = [said(_used(row)) for row in rows]
    most = max(map(len, uses))
    columns = _fitting(
        lambda bar_width: (
            Column("limit", tuple(_NAMES[row["code"]] for row in rows)),
            Column(
                "used",
                tuple(
                    _beside(_bar(row, glyphs, bar_width), used, most)
                    for row, used in zip(rows, uses, strict=True)
                ),
            ),
            Column("reserved", tuple(said(row["leased"]) for row in rows), right=True, sacrifice=3),
            Column(
                "of",
                tuple(glyphs.none if row["limit"] is None else said(row["limit"]) for row in rows),
                right=True,
            ),
            Column(
                "left",
                tuple(said(row["left"]) + (" !" if is_near(row) else "") for row in rows),
                right=True,
                sacrifice=1,
                style=_style,
            ),
            Column("resets in", tuple(_resets(row) for row in rows), sacrifice=2),
            Column("set by", tuple(str(_LEVELS.get(row["level"], "?")) for row in rows), sacrifice=4),
        ),
        width,
        least=6,
    )
    return table(columns, width, paint)


def _fitting(made: Callable[[int], tuple[Column, ...]], width: int, least: int) -> tuple[Column, ...]:
    """With as wide a bar as leaves room for `least` columns."""
    for bar_width in (_BAR, _BAR // 2):
        columns = made(bar_width)
        if len(fitted(columns, width)) >= least:
            return columns
    return made(0)


def _beside(bar_: str, text: str, right: int = 0) -> str:
    padded = text.rjust(right)
    return f"{bar_}  {padded}" if bar_ else padded


def _bar(row: Row | None, glyphs: Glyphs, width: int) -> str:
    """Where there is no limit: as much room."""
    if row is None or row["limit"] is None:
        return " " * width
    used = row["limit"] - row["left"] - row["leased"]
    return bar(max(0, used), row["leased"], row["limit"], glyphs, width)


def _amount(row: Row | None, glyphs: Glyphs, *, exact: bool) -> str:
    """`9.1M / 10M`, and a `!` near the limit: what is used and reserved, of it."""
    if row is None or row["limit"] is None:
        return glyphs.none
    held = row["settled"] + row["leased"]
    of = row["limit"]
    text = f"{held:,} / {of:,}" if exact else f"{short(held)} / {short(of)}"
    return f"{text} !" if is_near(row) else text


def _style(cell: str) -> str:
    return "warning" if cell.endswith("!") else ""


def _used(row: Row) -> int | None:
    if row["limit"] is None:
        return None
    return max(0, row["limit"] - row["left"] - row["leased"]) if row["per_s"] else int(row["settled"])


def _exact(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _rough(count: int | None) -> str:
    return "-" if count is None else short(count)


def _resets(row: Row) -> str:
    from infctl.cli.text import duration

    if row["limit"] is None:
        return "-"
    if row["code"] == "in_flight":
        return "as requests end"
    if row["per_s"]:
        return f"{row['per_s']:g} a second"
    return duration(row["reset_s"])


def _refused(refused: Mapping[str, int]) -> str:
    """`2,310 (requests)`."""
    if not refused:
        return "0"
    return ", ".join(f"{count:,} ({_REFUSED[code]})" for code, count in refused.items())


def _legend(quotas: Sequence[Row], moment: Row, glyphs: Glyphs, width: int) -> Iterator[str]:
    from infctl.cli.text import duration

    utf8 = glyphs is UNICODE
    ends = {
        row["code"].rpartition("_")[2]: row["reset_s"]
        for quota in quotas
        for row in quota["limits"]
        if row["code"].endswith(("_day", "_month")) and row["reset_s"] is not None
    }
    yield (
        f"{glyphs.used} used  {glyphs.reserved} reserved  {glyphs.left} left"
        f"{'  ! near its limit' if any(is_near(row) for q in quotas for row in q['limits']) else ''}"
    )
    told = [f"the {span} (UTC) ends in {duration(ends[span])}" for span in ("day", "month") if span in ends]
    told.append(f"refused since {_clock(moment['refused_since'])}")
    told.append(f"as of {_clock(moment['as_of'])}")
    line = ""
    for piece in told:
        joined = f"{line} {_dot(utf8)} {piece}" if line else piece
        if line and len(joined) > width:
            yield line
            joined = piece
        line = joined
    yield line


def _dot(utf8: bool) -> str:
    return "·" if utf8 else "-"


def _clock(at: float) -> str:
    """The time of today, or the day as well."""
    then = time.localtime(at)
    same = time.strftime("%Y-%m-%d", then) == time.strftime("%Y-%m-%d")
    return time.strftime("%H:%M:%S" if same else "%Y-%m-%d %H:%M", then)
