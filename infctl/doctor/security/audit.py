"""Practice 7, review the audit trail: is one written, signed, and still what was written?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gateway.audit import files
from gateway.audit.anchors import FileAnchors
from gateway.audit.verify import Verdict, verify
from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, ok, skipped, warning
from infctl.doctor.security.unkept import unkept
from infctl.profile.schema import Profile

READ_BYTES_MAX = 256 * 2**20
"""A larger trail is not read through here."""


def look(case: Case) -> Iterator[Finding]:
    yield judge(case.profile, unkept("gateway/audit"))
    audit = case.profile.gateway.audit
    if not audit.enabled:
        return
    if audit.hmac_key is None:
        yield warning(
            "nothing signs the audit trail",
            why="whoever can write it can change it and compute its hashes anew",
            fix='gateway.audit: {hmac_key: "${AUDIT_HMAC_KEY}"}',
            path="gateway/audit/hmac_key",
        )
    if case.layout is None:
        return
    if case.profile.runtime == "docker":
        yield skipped("the trail lies in the gateway's volume: infctl audit verify reads it")
        return
    key = case.env.get(audit.hmac_key.name, "") if audit.hmac_key is not None else ""
    yield of_trail(case.layout.audit, case.layout.anchors, key.encode() or None)


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


def of_trail(folder: Path, anchors: Path, key: bytes | None) -> Finding:
    """Read through, where it is not too long for a look."""
    try:
        size = sum(file.path.stat().st_size for file in files.files(folder))
        if size > READ_BYTES_MAX:
            return skipped(f"the trail has {size / 2**20:.0f} MiB: infctl audit verify reads all of it")
        verdicts = verify(folder, key, FileAnchors(anchors))
    except OSError as error:
        return skipped(f"the trail cannot be read: {error.strerror}: {error.filename}")
    if not verdicts:
        return skipped(f"no trail was written yet in {folder}")
    return told(verdicts)


def told(verdicts: list[Verdict]) -> Finding:
    for verdict in verdicts:
        if (broken := verdict.broken) is not None:
            return failure(
                f"the audit trail is broken: {broken.kind} at {broken.file}:{broken.line}",
                why=f"record {broken.record}: {broken.what}",
                fix="infctl audit verify; keep the folder as it is, and ask who could write to it",
                path="gateway/audit",
            )
    return ok(f"{sum(verdict.records for verdict in verdicts)} records of the trail are what was written")
