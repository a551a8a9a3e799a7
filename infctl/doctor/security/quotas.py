"""Practice 6, watch quotas for anomalies: is usage kept, and does any tenant stand out?"""

from __future__ import annotations

from collections.abc import Iterator

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, ok, skipped
from infctl.doctor.security.unkept import unkept


def look(_case: Case) -> Iterator[Finding]:
    yield judge(unkept("gateway/quotas"), unkept("gateway/store"))


def judge(quotas: str, store: str) -> Finding:
    """What this version does instead of keeping them; empty: it keeps them."""
    if quotas or store:
        return skipped(f"no usage is kept yet: {quotas or store}")
    return ok("usage is kept; infctl quota show tells who uses most")
