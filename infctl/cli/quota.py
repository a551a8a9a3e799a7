"""`infctl quota`: who has used how much of what they may, and how much that is. JSON: shapes.QUOTA_*."""

from __future__ import annotations

import csv
import io
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from infctl.cli import console, limit_options
from infctl.cli.options import Files, Json, Yes
from infctl.errors import UsageError

if TYPE_CHECKING:
    from infctl.api import Api

_WATCH_S = 1.0

app = typer.Typer(
    name="quota",
    help="""Who has used how much of what they may; and change how much that is, while it runs.

    \b
    Examples:
      infctl quota show
      infctl quota set data-team --tokens-per-day 20M
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)

TenantMaybe = Annotated[
    str | None, typer.Argument(metavar="[TENANT]", help="Default: all", show_default=False)
]
TenantName = Annotated[str, typer.Argument(metavar="TENANT", help="A name, or a client's address")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="M", help="With this model alone, within its own limits", show_default=False
    ),
]


@app.command()
def show(
    tenant: TenantMaybe = None,
    *,
    files: Files = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="Every tenant, not the busiest 20")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Redraw every second; q or Ctrl-C ends it")
    ] = False,
    json_output: Json = False,
) -> None:
    """Show what each tenant has used and reserved of its limits, what is left, and when it comes back.

    Reserved is held for requests under way or to come: it counts as used until it is given back. With --json
    and --watch: one object a line, every second.

    \b
    Examples:
      infctl quota show
      infctl quota show data-team --watch
      infctl quota show --json | jq '.quotas[] | select(.limits[].left == 0) | .tenant'
    """
    from infctl.cli.control import control

    with control(files) as api:
        if not watch:
            _show(_look(api, tenant), tenant, every=every or json_output, json_output=json_output)
        elif json_output:
            while True:
                console.data(_look(api, tenant), indent=None)
                time.sleep(_WATCH_S)
        elif console.is_tty(sys.stdout):
            _watch(api, tenant, every=every)
        else:
            raise UsageError(
                "--watch draws on a terminal, and stdout is none", hint="--watch --json works in a pipe"
            )


@app.command("set")
def set_(
    tenant: TenantName,
    *,
    requests_per_second: limit_options.Rate = None,
    burst: limit_options.Burst = None,
    in_flight: limit_options.InFlight = None,
    tokens_per_minute: limit_options.MinuteTokens = None,
    requests_per_day: limit_options.DayRequests = None,
    tokens_per_day: limit_options.DayTokens = None,
    requests_per_month: limit_options.MonthRequests = None,
    tokens_per_month: limit_options.MonthTokens = None,
    models: limit_options.Models = None,
    model: Model = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="First take back all that was set for it at run time")
    ] = False,
    files: Files = None,
    json_output: Json = False,
) -> None:
    """Set limits of a tenant while the platform runs: in force in every worker when this returns.

    They go before the profile, and `infctl up` does not take them back; what is not named stays. A figure is
    a number such as 5 or 10M; `none` for no limit; `default` for what the profile says.

    \b
    Examples:
      infctl quota set data-team --tokens-per-day 20M --requests-per-second 5
      infctl quota set data-team --model chat --requests-per-day 1000
      infctl quota set data-team --clear
    """
    from infctl.cli import control

    body = limit_options.limits(
        requests_per_second=requests_per_second,
        burst=burst,
        tokens_per_minute=tokens_per_minute,
        in_flight=in_flight,
        requests_per_day=requests_per_day,
        tokens_per_day=tokens_per_day,
        requests_per_month=requests_per_month,
        tokens_per_month=tokens_per_month,
        models=models,
    )
    if not body and not clear:
        raise UsageError("nothing to set", hint="such as --tokens-per-day 10M; --clear takes all back")
    path = f"/admin/quota/{quote(tenant, safe='')}/limits"
    with control.control(files) as api:
        if not body:
            answer = api.admin("DELETE", path, query={"model": model})
        elif clear:
            wanted = {name: value for name, value in body.items() if value is not None}
            answer = api.admin("PUT", path, wanted, {"model": model})
        else:
            answer = api.admin("PATCH", path, body, {"model": model})
    if json_output:
        console.data(_filled(answer))
        return
    who = tenant if answer["model"] is None else f"{tenant}, with {answer['model']}"
    before, after = (limit_options.said(_said(answer[when])) for when in ("before", "after"))
    was = f" (before: {before})" if before != after else ", as before"
    console.fact(f"{who}: set at run time is {after}{was}")
    console.say(control.applied(answer["applied_by"]))


@app.command()
def reset(
    tenant: TenantName,
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUOTA]", help="tokens_per_day, requests_per_day, ...; default: all", show_default=False
        ),
    ] = None,
    *,
    files: Files = None,
    yes: Yes = False,
    json_output: Json = False,
) -> None:
    """Forget what a tenant has used in this day and month, that of its keys as well, after asking.

    The history of usage stays, and so does what is reserved for requests under way.

    \b
    Examples:
      infctl quota reset data-team tokens_per_day
      infctl quota reset data-team -y
    """
    from infctl.cli import control

    what = (code or "").replace("-", "_") or None
    with control.control(files) as api:
        control.consent(f"forget what {tenant} has used{f' of {what}' if what else ''}?", yes=yes)
        path = f"/admin/quota/{quote(tenant, safe='')}/reset"
        answer = api.admin("POST", path, {} if what is None else {"code": what})
    if json_output:
        console.data(answer)
        return
    for row in answer["reset"]:
        scope = row["counter"].partition("|")[2].partition(":")
        whose = tenant if scope[0] == "tenant" else f"{tenant}'s {scope[0]} {scope[2]}"
        held = f"; {row['leased']:,} stay reserved" if row["leased"] else ""
        console.fact(f"{whose}: {row['code']} begins anew ({row['settled']:,} were used{held})")
    if not answer["reset"]:
        console.fact(f"{tenant} has used nothing of {what or 'its quotas'} yet")


@app.command()
def history(
    tenant: TenantMaybe = None,
    *,
    files: Files = None,
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help="2026-11-01; default: 30 days ago", show_default=False)
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DAY", help="Default: today", show_default=False)
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated, with a header")] = False,
    json_output: Json = False,
) -> None:
    """Show what was used, by day (UTC), tenant and model.

    Unknown is what was counted as reserved because nobody knows what was used: a plain request cut off.

    \b
    Examples:
      infctl quota history --since 2026-11-01
      infctl quota history data-team --csv > november.csv
    """
    from infctl.cli import quota_screen, window
    from infctl.cli.control import control

    with control(files) as api:
        rows, rest = api.rows("/admin/usage", "usage", since=since, until=until, tenant=tenant)
    if json_output:
        console.data({**rest, "usage": rows})
    elif as_csv:
        console.raw(_csv(rows))
    else:
        for line in quota_screen.usage_lines(rows, window.width(), console.styled):
            console.fact(line)


_CSV = (
    "day",
    "tenant",
    "model",
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "unknown_tokens",
    "total_tokens",
)


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _look(api: Api, tenant: str | None) -> dict[str, Any]:
    if tenant is not None:
        found = api.admin("GET", f"/admin/quota/{quote(tenant, safe='')}")
        moment = {name: found.pop(name) for name in ("as_of", "refused_since")}
        return {**moment, "quotas": [_quota(found)]}
    rows, moment = api.rows("/admin/quotas", "quotas")
    return {**moment, "quotas": [_quota(row) for row in rows]}


_FIGURES = (
    "requests_per_second",
    "burst",
    "tokens_per_minute",
    "in_flight",
    "requests_per_day",
    "tokens_per_day",
    "requests_per_month",
    "tokens_per_month",
    "models",
)


def _quota(row: dict[str, Any]) -> dict[str, Any]:
    """With every key that `--json` promises."""
    return row | {"set_at_run_time": figures(row["set_at_run_time"])}


def figures(said: dict[str, Any]) -> dict[str, Any]:
    """All of them: null where nothing is said."""
    return {name: said.get(name) for name in _FIGURES}


def _filled(answer: dict[str, Any]) -> dict[str, Any]:
    return answer | {when: figures(answer[when]) for when in ("before", "after")}


def _said(limits: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in limits.items() if value is not None}


def _show(found: dict[str, Any], tenant: str | None, *, every: bool, json_output: bool) -> None:
    if json_output:
        console.data(found)
        return
    for line in _screen(found, tenant, every=every):
        console.fact(line)


def _screen(found: dict[str, Any], tenant: str | None, *, every: bool, width: int | None = None) -> list[str]:
    from infctl.cli import quota_screen, window

    columns, utf8 = width or window.width(), window.speaks_utf8()
    moment = {name: value for name, value in found.items() if name != "quotas"}
    if tenant is not None:
        quota = found["quotas"][0] | moment
        return quota_screen.tenant_lines(quota, columns, utf8=utf8, paint=console.styled)
    picked = quota_screen.busiest(found["quotas"], every=every)
    total = len(found["quotas"])
    return quota_screen.lines(picked, moment, total, columns, utf8=utf8, paint=console.styled)


def _watch(api: Api, tenant: str | None, *, every: bool) -> None:
    from infctl.cli.watching import watch

    watch(lambda width: _screen(_look(api, tenant), tenant, every=every, width=width), _WATCH_S)


__all__ = ["app", "figures"]
