"""Practice 4, enable redaction: is personal data taken out of what is written down?"""

from __future__ import annotations

from collections.abc import Iterator

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, ok, skipped, warning
from infctl.doctor.security.unkept import unkept
from infctl.profile.schema import Profile


def look(case: Case) -> Iterator[Finding]:
    yield judge(case.profile, unkept("gateway/redaction"))


def judge(profile: Profile, instead: str) -> Finding:
    """`instead`: what this version does instead of redacting; empty: it redacts."""
    gateway = profile.gateway
    if gateway.redaction.enabled:
        if instead:
            return skipped(f"this version does not redact yet: {instead}")
        return ok(f"redaction is on: {', '.join(gateway.redaction.kinds)}")
    if gateway.audit.enabled and gateway.audit.bodies:
        return failure(
            "redaction is off, and the trail keeps requests and answers whole",
            why="whatever people type, names and cards included, stays on the disk",
            fix="gateway.redaction: {enabled: true}, or gateway.audit: {bodies: false}",
            path="gateway/redaction/enabled",
        )
    return warning(
        "redaction is off",
        why=instead or "personal data stays in logs and in the trail",
        fix="gateway.redaction: {enabled: true}",
        path="gateway/redaction/enabled",
    )
