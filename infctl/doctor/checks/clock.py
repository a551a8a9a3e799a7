"""Is the clock right: kept by a time server, and as others have it?"""

from __future__ import annotations

import ctypes
import email.utils
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from infctl.doctor.case import Case
from infctl.doctor.docker import Docker
from infctl.doctor.finding import Finding, failure, ok, warning
from infctl.errors import InfctlError
from infctl.models import hub

ASK_S = 4.0
SAME_S = 5.0
"""A Date header counts whole seconds, and an answer takes its time."""
WRONG_S = 300.0
"""Certificates, tokens and the days of quotas go wrong."""
TIME_ERROR = 5
"""What adjtimex answers where nobody keeps the clock."""
_TIMEX_BYTES = 208
"""Of struct timex on 64-bit Linux; zeros ask, and change nothing."""


@dataclass(frozen=True, slots=True)
class Seen:
    kept: bool | None
    """By a time server, as the kernel has it; None: it does not say."""
    ahead_s: float | None = None
    """Of another clock, that of `of`; None: none was asked."""
    of: str = ""


def look(case: Case) -> Iterator[Finding]:
    # The system's clock, not `case.now`: the question is about the one that certificates are judged by.
    docker = case.engine() if case.elsewhere else None
    other, of = _of_docker(docker) if docker is not None else (None, "")
    if other is None and not case.offline and not hub.offline(case.env):
        other, of = _of_hub(case)
    yield judge(Seen(_kept(), other, of))


def judge(found: Seen) -> Finding:
    off = None if found.ahead_s is None else abs(found.ahead_s)
    if off is not None and off > SAME_S:
        way = "ahead of" if (found.ahead_s or 0) > 0 else "behind"
        what = f"this machine's clock is {off:,.0f} s {way} that of {found.of}"
        why = "certificates, tokens and the days of quotas go by it"
        fix = "as root: timedatectl set-ntp true; one of the two is wrong, look at both"
        return (failure if off > WRONG_S else warning)(what, why=why, fix=fix)
    agrees = f", and agrees with {found.of}" if off is not None else ""
    if found.kept is False:
        return warning(
            f"no time server keeps this machine's clock{agrees}",
            why="it drifts, and the days of quotas, certificates and logs with it",
            fix="as root: timedatectl set-ntp true (chrony or systemd-timesyncd)",
        )
    return ok(f"{'a time server keeps the clock' if found.kept else 'the clock runs'}{agrees}")


def _of_docker(docker: Docker) -> tuple[float | None, str]:
    try:
        said = datetime.fromisoformat(str(docker.info["SystemTime"])[:19] + "+00:00").timestamp()
    except (KeyError, ValueError):
        return None, ""
    return time.time() - said, f"the Docker host {docker.address}"


def _of_hub(case: Case) -> tuple[float | None, str]:
    """By the Date of whatever the hub answers."""
    import httpx  # noqa: PLC0415 - a tenth of a second

    try:
        endpoint = hub.connect(case.env, ASK_S).endpoint
        with httpx.stream("GET", endpoint, timeout=ASK_S, follow_redirects=False) as answer:
            pass  # its head is enough
        said = email.utils.parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (InfctlError, httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError, TypeError):
        return None, ""
    half = answer.elapsed.total_seconds() / 2
    return time.time() - half - said - 0.5, urlsplit(endpoint).hostname or "the hub"


def _kept() -> bool | None:
    """Adjtimex with nothing set: it only answers."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError, TypeError):
        return None
    return None if state < 0 else bool(state != TIME_ERROR)
