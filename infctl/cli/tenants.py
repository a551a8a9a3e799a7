"""`infctl tenants`: who may call, and who has called. JSON: shapes.TENANTS."""

from __future__ import annotations

from typing import Any

from infctl.cli import console, limit_options
from infctl.cli.options import Files, Json

_KNOWN = {"profile": "profile", "run_time": "quota set", "key": "keys", "counts": "has called"}


def tenants(*, files: Files = None, json_output: Json = False) -> None:
    """Show who may call: tenants of the profile, those with keys or limits set at run time, and whoever has
    called this month.

    \b
    Examples:
      infctl tenants
      infctl tenants --json | jq -r '.tenants[].tenant'
    """
    from infctl.cli import window
    from infctl.cli.control import control
    from infctl.cli.quota import figures

    with control(files) as api:
        rows, _ = api.rows("/admin/tenants", "tenants")
    if json_output:
        console.data(
            {"tenants": [row | {"set_at_run_time": figures(row["set_at_run_time"])} for row in rows]}
        )
        return
    for line in lines(rows, window.width()):
        console.fact(line)


def lines(rows: list[dict[str, Any]], width: int) -> list[str]:
    """A row a tenant."""
    from infctl.cli.text import Column, table

    if not rows:
        return ["no tenants yet: nobody has called, and the profile names none"]
    columns = (
        Column("tenant", tuple(row["tenant"] for row in rows)),
        Column("known by", tuple(", ".join(_KNOWN[one] for one in row["known_by"]) for row in rows)),
        Column("keys", tuple(str(row["keys"]) for row in rows), right=True),
        Column("addresses", tuple(", ".join(row["addresses"]) or "-" for row in rows), sacrifice=2),
        Column(
            "may use",
            tuple("all" if row["models"] is None else ", ".join(row["models"]) or "nothing" for row in rows),
            sacrifice=1,
        ),
        Column("set at run time", tuple(_set(row["set_at_run_time"]) for row in rows), sacrifice=3),
    )
    return table(columns, width, console.styled)


def _set(limits: dict[str, Any]) -> str:
    found = {name: value for name, value in limits.items() if value is not None}
    return limit_options.said(found) if found else "-"
