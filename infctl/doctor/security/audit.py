"""Practice 7, review the audit trail: is one written, and lately?"""

from __future__ import annotations

from collections.abc import Iterator

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, ok, skipped, warning
from infctl.doctor.security.unkept import unkept
from infctl.profile.schema import Profile


def look(case: Case) -> Iterator[Finding]:
    yield judge(case.profile, unkept("gateway/audit"))


def judge(profile: Profile, instead: str) -> Finding:
    """`instead`: what this version does instead of writing one; empty: it writes one."""
    audit = profile.gateway.audit
    if not audit.enabled:
        return warning(
            "gateway.audit is off",
            why="who asked what, and when, cannot be told afterwards",
            fix="gateway.audit: {enabled: true}",
            path="gateway/audit/enabled",
        )
    if instead:
        return skipped(f"this version writes no trail yet: {instead}")
    return ok(f"a trail is written, and kept {audit.keep / 86_400:.0f} days")
