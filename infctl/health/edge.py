"""What clients are shown at the edge: a TLS handshake, and a judgement of it.

`handshake` opens connections; all else is pure.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from infctl.health.found import Found, failure, ok, warning
from infctl.tls import Described

CHECK = "tls"
TIMEOUT_S = 5.0
_CHAIN = "put the chain behind it in edge.tls.certificate (the server's own first), then infctl up"
_FIXES = {
    9: "timedatectl: is this machine's clock right?",
    10: "renew it, then infctl up; docs/runbooks/CertificateEnds.md",
    18: "have clients trust it, or name one of an authority: edge.tls.certificate",
    19: "SSL_CERT_FILE=ca.pem infctl health --deep trusts an authority of your own",
    20: f"{_CHAIN}; an authority of your own: SSL_CERT_FILE=ca.pem",
    21: _CHAIN,
    62: "have one issued with this name in its subjectAltName, or correct edge.server_name",
    64: "have one issued with this address in its subjectAltName, or correct edge.server_name",
}
"""By OpenSSL's code of a failed verification."""
_UNKNOWN = {18, 19, 20, 21}
"""Signed by somebody whom this machine does not know; others may."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One handshake, as a client has it that checks what it is shown."""

    name: str
    """That was asked for."""
    certificate: bytes
    """The server's own, DER; empty: there was no handshake."""
    code: int = 0
    """OpenSSL's, of a verification that failed; 0: it did not."""
    why: str = ""
    """Why a client goes no further; empty: it does."""


def handshake(
    host: str, port: int, name: str, trust: str | None = None, timeout_s: float = TIMEOUT_S
) -> Shown:
    """`trust`: a PEM file, besides the system's. Never raises for what the other side does."""
    context = ssl.create_default_context()
    if trust is not None:
        try:
            context.load_verify_locations(trust)
        except (OSError, ssl.SSLError) as error:
            return Shown(name, b"", why=f"{trust} cannot be read: {error}")
    try:
        return Shown(name, _shown(context, host, port, name, timeout_s))
    except ssl.SSLCertVerificationError as error:
        code, why = int(error.verify_code), str(error.verify_message)
    except OSError as error:
        return Shown(name, b"", why=str(error.strerror or error).lower())
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # to see what it is that was not believed
    try:
        return Shown(name, _shown(context, host, port, name, timeout_s), code, why)
    except OSError:
        return Shown(name, b"", code, why)


def _shown(context: ssl.SSLContext, host: str, port: int, name: str, timeout_s: float) -> bytes:
    with (
        socket.create_connection((host, port), timeout_s) as plain,
        context.wrap_socket(plain, server_hostname=name) as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True) or b""


def judge(
    where: str,
    shown: Sequence[Shown],
    leaf: Described | None,
    chain: Sequence[Described],
    now: float,
    warn_days: int,
    *,
    stale: bool = False,
    strict: bool = True,
) -> Iterator[Found]:
    """`leaf`: what was shown; `chain`: of the file that nginx is to show, the server's own first, empty where
    it is not here; `stale`: what was shown is not in that file; `strict`: this machine is a client, and an
    authority that it does not know is a failure.
    """
    moment = datetime.fromtimestamp(now, UTC)
    wrong = [one for one in shown if one.why]
    for one in wrong:
        names = (
            f"; it is for {', '.join(leaf.names[:5]) or 'no name'}" if leaf and one.code in (62, 64) else ""
        )
        ends = f"; it ended on {leaf.not_after:%Y-%m-%d}" if leaf is not None and one.code == 10 else ""
        tell = warning if one.code in _UNKNOWN and not strict else failure
        yield tell(
            CHECK,
            where,
            f"clients that ask for {one.name} go no further: {one.why}{names}{ends}",
            why="a client that checks certificates cannot use the platform",
            fix=_FIXES.get(one.code, "infctl logs nginx --tail 20"),
        )
    if stale:
        yield warning(
            CHECK,
            where,
            "nginx shows another certificate than its file holds",
            why="it read the file when it began, or was reloaded",
            fix="infctl restart nginx",
        )
    ending = [each for each in (*chain[1:], *([leaf] if leaf else [])) if each.not_after > moment]
    soon = [each for each in ending if each.not_after - moment < timedelta(days=warn_days)]
    for each in soon:
        what = "the certificate" if each is leaf else "an authority's certificate in the chain"
        yield warning(
            CHECK,
            where,
            f"{what} ends in {each.days_left(moment)} days ({each.not_after:%Y-%m-%d})",
            why="after that clients refuse it",
            fix="renew it, then infctl up; docs/runbooks/CertificateEnds.md",
        )
    if leaf is not None and not wrong and not soon and not stale:
        of = f", chain of {len(chain)}" if len(chain) > 1 else ""
        names = ", ".join(one.name for one in shown)
        yield ok(CHECK, where, f"trusted for {names}, {leaf.days_left(moment)} days left{of}")


def _more(code: int, leaf: Described | None) -> str:
    if leaf is None:
        return ""
    if code in (62, 64):
        return f"; it is for {', '.join(leaf.names[:5]) or 'no name'}"
    return f"; it ended on {leaf.not_after:%Y-%m-%d}" if code == 10 else ""
