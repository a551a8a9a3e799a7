"""The store of counts, asked for something real; and the audit trail. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from infctl.health.found import Found, failure, ok, skipped, warning
from infctl.monitoring.exposed import Page

_KINDS = {"sqlite": "SQLite", "redis": "Redis"}


def store(page: Page | None, as_of: float | str | None, where: str) -> Iterator[Found]:
    """`as_of`: the store's clock, from a real read of it; why there is none; None: nobody may ask."""
    kind = "" if page is None else _config(page, "store")
    named = f"{where} ({_KINDS.get(kind, kind)})" if kind else where
    if page is not None and page.value("infctl_store_up") is None:
        yield ok("store", where, "no limit and no quota is set: nothing is counted")
        return
    if page is not None and page.value("infctl_store_up") == 0:
        yield failure(
            "store",
            named,
            "the gateway's store of counts does not answer it",
            why=as_of if isinstance(as_of, str) else "quotas are refused once what was leased is used up",
            fix="infctl logs gateway: the line store_away says why; docs/runbooks/StoreDown.md",
        )
    elif isinstance(as_of, str):
        yield failure(
            "store", named, "the counts cannot be read", why=as_of, fix="infctl logs gateway --tail 20"
        )
    elif as_of is not None:
        waiting = (page.value("infctl_store_waiting") if page is not None else None) or 0
        told = f", {waiting:,.0f} calls wait for it" if waiting else ""
        yield ok("store", named, f"the counts were read{told}")
    else:
        yield skipped("store", named, "the key known here is no admin's", fix="set ADMIN_API_KEY in .env")


def audit(page: Page) -> Iterator[Found]:
    """Nothing where there is no trail."""
    if page.value("infctl_audit_failing") is None:
        return
    lag = page.value("infctl_audit_lag_seconds") or 0.0
    lost = page.value("infctl_audit_records_lost_total") or 0.0
    if page.value("infctl_audit_failing"):
        yield failure(
            "audit",
            "gateway",
            "the audit trail cannot be written",
            why="gateway.audit.on_failure says what becomes of calls meanwhile",
            fix="df -h and the folder's owner; docs/runbooks/AuditFailing.md",
        )
    elif lost:
        yield warning(
            "audit",
            "gateway",
            f"{lost:,.0f} records of the audit trail were lost since the gateway began",
            why="the trail says so itself, in a record audit_lost",
            fix="docs/runbooks/AuditLost.md",
        )
    else:
        yield ok("audit", "gateway", f"written, {lag:.1f} s behind")


def _config(page: Page, label: str) -> str:
    return next((one.labels.get(label, "") for one in page.of("infctl_config_info")), "")
