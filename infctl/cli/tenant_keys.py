"""`infctl keys`: keys of tenants, created and taken back while the platform runs. JSON: shapes.KEYS_*."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

import typer

from infctl.cli import console, limit_options
from infctl.cli.options import Files, Json, Yes
from infctl.errors import UsageError

app = typer.Typer(
    name="keys",
    help="""Create, list, rotate and revoke the keys of tenants. A key is shown once; its hash is kept.

    \b
    Examples:
      infctl keys create data-team --name ci --expires 90d
      infctl keys list
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)

KeyId = Annotated[str, typer.Argument(metavar="ID", help="As infctl keys list shows it: key_...")]


@app.command()
def create(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="Whose: it need not be in the profile")],
    *,
    name: Annotated[str, typer.Option(metavar="TEXT", help="What you call it", show_default=False)] = "",
    expires: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="It ends after 90d, 12h; default: never", show_default=False),
    ] = None,
    models: limit_options.Models = None,
    requests_per_second: limit_options.Rate = None,
    burst: limit_options.Burst = None,
    in_flight: limit_options.InFlight = None,
    tokens_per_minute: limit_options.MinuteTokens = None,
    requests_per_day: limit_options.DayRequests = None,
    tokens_per_day: limit_options.DayTokens = None,
    requests_per_month: limit_options.MonthRequests = None,
    tokens_per_month: limit_options.MonthTokens = None,
    files: Files = None,
    json_output: Json = False,
) -> None:
    """Create a key: its text is on stdout, once. Limits are its own, within those of its tenant.

    \b
    Examples:
      infctl keys create data-team --name ci --expires 90d --models chat
      infctl keys create data-team --tokens-per-day 1M > key.txt
    """
    from infctl.cli import control

    limits = limit_options.limits(
        models=models,
        requests_per_second=requests_per_second,
        burst=burst,
        in_flight=in_flight,
        tokens_per_minute=tokens_per_minute,
        requests_per_day=requests_per_day,
        tokens_per_day=tokens_per_day,
        requests_per_month=requests_per_month,
        tokens_per_month=tokens_per_month,
    )
    body: dict[str, Any] = {"tenant": tenant, "name": name, "limits": limits}
    if expires is not None:
        body["expires_s"] = _seconds(expires, "--expires")
    with control.control(files) as api:
        answer = api.admin("POST", "/admin/keys", body)
    if json_output:
        console.data(_filled(answer, "key"))
        return
    key = answer["key"]
    console.fact(answer["text"])
    ends = "" if key["expires_at"] is None else f", until {_day(key['expires_at'])}"
    console.say(f"{key['id']} of {tenant}{ends}. It is not shown again: only its hash is kept")
    console.say(control.applied(answer["applied_by"]))


@app.command("list")
def list_(
    tenant: Annotated[
        str | None, typer.Argument(metavar="[TENANT]", help="Default: all", show_default=False)
    ] = None,
    *,
    files: Files = None,
    every: Annotated[
        bool, typer.Option("--all", "-a", help="Those that have expired or were revoked as well")
    ] = False,
    json_output: Json = False,
) -> None:
    """Show the keys there are: those of the profile, and those created at run time.

    \b
    Examples:
      infctl keys list
      infctl keys list data-team --all
    """
    from infctl.cli import window
    from infctl.cli.control import control

    with control(files) as api:
        rows, _ = api.rows("/admin/keys", "keys", tenant=tenant)
    if json_output:
        console.data({"keys": [_entry(row) for row in rows]})
        return
    shown = [row for row in rows if every or row["state"] in {"active", "rotated"}]
    for line in lines(shown, time.time(), window.width()):
        console.fact(line)
    if len(shown) < len(rows):
        console.say(f"{len(rows) - len(shown)} more have expired or were revoked: --all")


@app.command()
def rotate(
    key_id: KeyId,
    *,
    overlap: Annotated[
        str, typer.Option(metavar="TIME", help="So long the old one works on: 1h, 7d, or 0s to end it now")
    ] = "1h",
    files: Files = None,
    json_output: Json = False,
) -> None:
    """Make a key's successor, with the same limits and end; the old one works on for an overlap.

    \b
    Examples:
      infctl keys rotate key_61fa5aa5a48a --overlap 1d
    """
    from infctl.cli import control

    with control.control(files) as api:
        path = f"/admin/keys/{quote(key_id, safe='')}/rotate"
        answer = api.admin("POST", path, {"overlap_s": _seconds(overlap, "--overlap")})
    if json_output:
        console.data(_filled(_filled(answer, "key"), "old"))
        return
    old, new = answer["old"], answer["key"]
    console.fact(answer["text"])
    console.say(f"{new['id']} of {new['tenant']}. It is not shown again: only its hash is kept")
    left_s = (old["expires_at"] or 0.0) - time.time()
    ends = "has ended" if left_s <= 0 else f"works until {_day(old['expires_at'])}"
    console.say(f"{old['id']} {ends}; {control.applied(answer['applied_by'])}")


@app.command()
def revoke(
    key_id: KeyId,
    *,
    files: Files = None,
    yes: Yes = False,
    json_output: Json = False,
) -> None:
    """Take a key back for good, at once, after asking. Requests under way end as they would.

    \b
    Examples:
      infctl keys revoke key_61fa5aa5a48a
      infctl keys revoke key_61fa5aa5a48a -y
    """
    from infctl.cli import control

    with control.control(files) as api:
        control.consent(f"revoke {key_id}, for good?", yes=yes)
        answer = api.admin("DELETE", f"/admin/keys/{quote(key_id, safe='')}")
    if json_output:
        console.data(_filled(answer, "key"))
        return
    key = answer["key"]
    console.fact(f"{key['id']} of {key['tenant']} is revoked, since {_day(key['revoked_at'])}")
    console.say(control.applied(answer["applied_by"]))


def lines(rows: Sequence[Mapping[str, Any]], now: float, width: int) -> list[str]:
    """A row a key."""
    from infctl.cli.text import Column, table

    if not rows:
        return ["no keys: infctl keys create TENANT makes one"]
    columns = (
        Column("tenant", tuple(row["tenant"] for row in rows)),
        Column("id", tuple(row["id"] for row in rows)),
        Column("name", tuple(row["name"] or "-" for row in rows), sacrifice=2),
        Column("state", tuple(row["state"] for row in rows), style=lambda state: _STYLE.get(state, "")),
        Column("begins", tuple(f"{row['shown']}..." if row["shown"] else "-" for row in rows), sacrifice=5),
        Column("from", tuple(_ORIGINS[row["origin"]] for row in rows), sacrifice=3),
        Column("used", tuple(_ago(row["used_at"], now) for row in rows), sacrifice=1),
        Column("ends", tuple(_ends(row, now) for row in rows), sacrifice=1),
        Column(
            "limits",
            tuple(limit_options.said(_said(row["limits"])).replace("nothing", "-") for row in rows),
            sacrifice=4,
        ),
    )
    return table(columns, width, console.styled)


_ORIGINS = {"profile": "the profile", "run_time": "keys create"}
_STYLE = {"active": "good", "rotated": "warning", "expired": "dim", "revoked": "error"}


def _ago(at: float | None, now: float) -> str:
    from infctl.cli.text import duration

    if at is None:
        return "-"
    return "just now" if now - at < 120 else f"{duration(now - at)} ago"


def _ends(row: Mapping[str, Any], now: float) -> str:
    from infctl.cli.text import duration

    at = row["revoked_at"] or row["expires_at"]
    if at is None:
        return "never"
    return f"in {duration(at - now)}" if at > now else f"{duration(now - at)} ago"


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _seconds(text: str, option: str) -> float:
    from infctl.profile.values import Misfit, duration

    try:
        return duration(text)
    except Misfit as error:
        raise UsageError(f"{option}: {error.message}", hint=error.hint) from None


def _said(limits: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in limits.items() if value is not None}


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    """With every key that `--json` promises."""
    from infctl.cli.quota import figures

    return row | {"limits": figures(row["limits"])}


def _filled(answer: dict[str, Any], field: str) -> dict[str, Any]:
    return answer | {field: _entry(answer[field])}
