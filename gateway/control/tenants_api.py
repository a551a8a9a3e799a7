"""The control plane's routes for tenants, quotas and keys. Who asks was found to be an admin before."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query
from fastapi import Path as InPath

from gateway.control import counted, quotas
from gateway.control import tenant_schemas as said
from gateway.live import Live
from gateway.policy.keys import Key
from gateway.policy.levels import BadSetting, tenant_name
from gateway.policy.limits import tenant_scope
from gateway.policy.window import window
from gateway.refusal import Refusal

PAGE: Final = 100
PAGE_MAX: Final = 1000
HISTORY_DAYS: Final = 30
"""Of usage, where nothing else is asked for."""

Size = Annotated[int, Query(alias="limit", ge=1, le=PAGE_MAX, description="Rows of a page")]
After = Annotated[str | None, Query(max_length=512, description="`next` of the page before")]
TenantName = Annotated[str, InPath(description="Such as data-team, or 10.1.4.7")]
Day = Annotated[str | None, Query(pattern=r"^\d{4}-\d{2}-\d{2}$", description="UTC, as 2026-11-27")]


def add(app: FastAPI, live: Live, guarded: dict[str, Any], errors: dict[int | str, Any]) -> None:
    """`guarded`: what all routes of an admin share."""
    counting = guarded | {
        "responses": guarded["responses"] | {code: errors[code] for code in (400, 409, 503)},
        "response_model_exclude_unset": True,
    }

    @app.get("/admin/quotas", summary="Where each tenant stands", **counting)
    async def every_quota(size: Size = PAGE, after: After = None) -> said.Quotas:
        """Tenants by name. `settled` is used; `leased` is held for requests under way or to come."""
        more: list[bool] = []

        def wanted(names: list[str]) -> list[str]:
            page, following = _page(names, after, size)
            more.append(following)
            return page

        moment, found = await counted.standing(live, wanted)
        return said.Quotas.model_validate(
            moment | {"quotas": found, "next": found[-1]["tenant"] if more[0] else None}
        )

    @app.get("/admin/quota/{tenant:path}", summary="Where one tenant stands", **counting)
    async def one_quota(tenant: TenantName) -> said.Quota:
        """A tenant that nobody has heard of has the usual limits, and has used nothing."""
        name = tenant_of_path(tenant)
        moment, [found] = await counted.standing(live, lambda _: [name])
        return said.Quota.model_validate(moment | found)

    @app.get("/admin/usage", summary="What was used, by day, tenant and model", **counting)
    async def usage(
        since: Day = None,
        until: Day = None,
        tenant: Annotated[str | None, Query(max_length=128)] = None,
        size: Size = PAGE,
        after: After = None,
    ) -> said.Usages:
        """Of the last 30 days, where nothing else is asked for."""
        who = None if tenant is None else tenant_of_path(tenant)
        today = window("day", await counted.ask(live, lambda store: store.clock_s())).period
        last = _day(until or today, "until")
        first = _day(since, "since") if since else last - timedelta(days=HISTORY_DAYS - 1)
        if first > last:
            raise _bad(f"since ({first}) is after until ({last}).", "since")
        begin = _place(after)
        rows = await counted.ask(
            live,
            lambda store: store.usage(first.isoformat(), last.isoformat(), who, after=begin, most=size + 1),
        )
        page = [
            {
                "day": use.day,
                "tenant": use.tenant,
                "model": use.model,
                "requests": use.requests,
                "prompt_tokens": use.prompt,
                "completion_tokens": use.completion,
                "unknown_tokens": use.unknown,
                "total_tokens": use.prompt + use.completion + use.unknown,
            }
            for use in rows[:size]
        ]
        last_row = rows[size - 1] if len(rows) > size else None
        return said.Usages.model_validate(
            {
                "since": first.isoformat(),
                "until": last.isoformat(),
                "usage": page,
                "next": last_row and f"{last_row.day}|{last_row.tenant}|{last_row.model}",
            }
        )

    @app.get("/admin/tenants", summary="Who may call, and who has called", **counting)
    async def tenants(size: Size = PAGE, after: After = None) -> said.Tenants:
        seen, by = await counted.counts(live), counted.rules(live)
        names, following = _page(quotas.names(by, seen), after, size)
        found = [_tenant_row(live, by, seen, name) for name in names]
        return said.Tenants.model_validate({"tenants": found, "next": names[-1] if following else None})


def _tenant_row(live: Live, by: quotas.Rules, seen: quotas.Counts, name: str) -> quotas.Row:
    document = quotas.document(by, seen, name, {})
    keys: Sequence[Key] = by.keys.get(name, ())
    written = live.settings.config.tenants.get(name)
    return {
        "tenant": name,
        "known_by": document["known_by"],
        "keys": sum(key.holds(seen.clock_s) for key in keys),
        "addresses": [] if written is None else list(written.addresses),
        "models": document["models"],
        "set_at_run_time": quotas.said_in(by.figures[scope])
        if (scope := tenant_scope(name)) in by.figures
        else {},
    }


def _page(names: list[str], after: str | None, size: int) -> tuple[list[str], bool]:
    """Of sorted names; whether more come after it."""
    begin = 0 if after is None else bisect_right(names, after)
    return names[begin : begin + size], begin + size < len(names)


def tenant_of_path(text: str) -> str:
    """Raises Refusal (400)."""
    try:
        return tenant_name(text)
    except BadSetting as error:
        raise _bad(f"{error}.", "tenant") from None


def _day(text: str, param: str) -> date:
    """Raises Refusal (400)."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _bad(f"{text} is no day of the calendar: write it as 2026-11-27.", param) from None


def _place(after: str | None) -> tuple[str, str, str]:
    """Raises Refusal (400)."""
    if after is None:
        return "", "", ""
    parts = after.split("|")
    if len(parts) != 3:
        raise _bad("`after` is what `next` of the page before said.", "after")
    day, tenant, model = parts
    return day, tenant, model


def _bad(message: str, param: str) -> Refusal:
    return Refusal(400, "invalid_request", message, param=param)
