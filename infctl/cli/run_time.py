"""What was set while the platform runs: `infctl up` keeps it whatever the profile says, `diff` shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from infctl.cli import limit_options
from infctl.errors import GatewayError, UsageError

if TYPE_CHECKING:
    from infctl.cli.remains import Remains

Row = dict[str, Any]


def asked(remains: Remains) -> list[Row]:
    """Of the gateway; empty where none runs, or where it keeps nothing."""
    from infctl.cli.control import admin_api

    if remains.applied() is None:
        return []
    try:
        with admin_api(remains) as api:
            return rows(api.rows("/admin/quotas", "quotas")[0])
    except (GatewayError, UsageError):  # it is being started, or has no store: it is asked for by the way
        return []


def rows(quotas: Iterable[Mapping[str, Any]]) -> list[Row]:
    """{tenant, model, limits} of each that has something set. Pure."""
    found = []
    for quota in quotas:
        said = {name: value for name, value in quota["set_at_run_time"].items() if value is not None}
        if said:
            found.append({"tenant": quota["tenant"], "model": None, "limits": said})
        found += [
            {
                "tenant": quota["tenant"],
                "model": part["model"],
                "limits": {row["code"]: row["per_s"] or row["limit"] for row in part["limits"]},
            }
            for part in quota["by_model"]
        ]
    return found


def lines(found: Iterable[Row]) -> list[str]:
    told = []
    for row in found:
        who = row["tenant"] if row["model"] is None else f"{row['tenant']}, with {row['model']}"
        told.append(f"  {who}: {limit_options.said(row['limits'])}")
    head = "set at run time, and kept by up (infctl quota set TENANT --clear takes it back):"
    return [head, *told] if told else []
