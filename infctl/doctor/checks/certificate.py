"""Can nginx serve the certificate: its dates, its names, its key?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, ok, skipped, warning
from infctl.errors import EngineError
from infctl.stack.names import Names
from infctl.tls import Described, describe

CERTIFICATE, KEY = "edge/tls/certificate", "edge/tls/key"


def look(case: Case) -> Iterator[Finding]:
    edge = case.profile.edge
    if not edge.enabled:
        yield skipped("edge.enabled is false: nothing serves TLS")
        return
    if case.layout is None:
        return
    certificate, key = Names(case.profile, case.layout).tls_files
    if edge.tls.makes_certificate:
        if not certificate.exists():
            yield ok("infctl up makes a self-signed certificate: none is named")
            return
        yield from judge(_described(certificate, key), ("_",), case, _days(case), made=True)
        return
    for file, path in ((certificate, CERTIFICATE), (key, KEY)):
        try:
            _ = describe(file) if path == CERTIFICATE else describe(certificate, file)
        except EngineError as error:
            yield failure(error.message, fix=error.hint, path=path)
            return
    yield from judge(_described(certificate, key), edge.server_name, case, _days(case))


def judge(
    found: Described, names: Sequence[str], case: Case, warn_days: int, *, made: bool = False
) -> Iterator[Finding]:
    """`names`: what clients call the platform; `_`: anything. `made`: by infctl, which renews it itself."""
    now = datetime.fromtimestamp(case.now, UTC)
    days = found.days_left(now)
    if found.key_matches is False:
        yield failure(
            "the key does not belong to the certificate",
            why="nginx refuses to start with the two",
            fix="name the key it was issued for; the server's own certificate comes first in the file",
            path=KEY,
        )
    if found.not_before > now:
        yield failure(
            f"the certificate is valid only from {found.not_before:%Y-%m-%d %H:%M} UTC",
            why="clients refuse it until then",
            fix="look at the clock of this machine, or wait",
            path=CERTIFICATE,
        )
    if found.not_after <= now and not made:
        yield failure(
            f"the certificate expired on {found.not_after:%Y-%m-%d}",
            why="clients refuse it",
            fix="renew it, then infctl up (nginx reloads, nothing is lost)",
            path=CERTIFICATE,
        )
    elif days < warn_days and not made:
        yield warning(
            f"the certificate ends in {days} days, on {found.not_after:%Y-%m-%d}",
            why="after that clients refuse it",
            fix="renew it, then infctl up (nginx reloads, nothing is lost)",
            path=CERTIFICATE,
        )
    lacking = [name for name in names if name != "_" and not covers(found.names, name)]
    if lacking:
        has = ", ".join(found.names) or "none"
        yield failure(
            f"the certificate is not for {', '.join(lacking)} (its names: {has})",
            why="clients that call it by this name refuse the certificate",
            fix="have it issued for these names too, or correct edge.server_name",
            path="edge/server_name",
        )
    if found.key_matches is not False and found.not_after > now and not lacking:
        by = "self-signed by infctl" if made else ("self-signed" if found.self_signed else "")
        of = f" for {', '.join(found.names[:3])}" if found.names else ""
        yield ok(f"certificate{of}, {days} days left{f' ({by})' if by else ''}")


def covers(names: Sequence[str], wanted: str) -> bool:
    """Whether one of the certificate's names is for `wanted`; `*` stands for one label."""
    wanted = wanted.lower().rstrip(".")
    for raw in names:
        name = raw.lower().rstrip(".")
        if name == wanted:
            return True
        head, _, rest = wanted.partition(".")
        if name.startswith("*.") and name[2:] == rest and head and head != "*":
            return True
    return False


def _described(certificate: Path, key: Path) -> Described:
    return describe(certificate, key)


def _days(case: Case) -> int:
    return case.profile.monitoring.alerts.certificate_days
