"""Practice 2, use strong certificates: of somebody clients trust, with a strong key, and not about to end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, ok, skipped, warning
from infctl.errors import EngineError
from infctl.stack.names import Names
from infctl.tls import Described, describe

RSA_BITS = 2048
EC_BITS = 224
WEAK_HASHES = ("md5", "sha1")


@dataclass(frozen=True, slots=True)
class Strength:
    kind: str
    """rsa, ec, other."""
    bits: int
    hash: str
    """Of its signature, lower case."""


def look(case: Case) -> Iterator[Finding]:
    edge = case.profile.edge
    if not edge.enabled:
        yield skipped("edge.enabled is false: nothing serves TLS (see exposure)")
        return
    if case.layout is None:
        return
    file = Names(case.profile, case.layout).tls_files[0]
    if not file.exists():
        made = edge.tls.makes_certificate
        yield _self_signed(local=_local(edge.bind)) if made else skipped(f"{file} is not there")
        return
    try:
        found, strength = describe(file), _strength(file)
    except EngineError as error:
        yield failure(error.message, fix=error.hint, path="edge/tls/certificate")
        return
    days = case.profile.monitoring.alerts.certificate_days
    yield from judge(found, strength, case.now, days, local=_local(edge.bind))


def judge(
    found: Described, strength: Strength, now: float, warn_days: int, *, local: bool
) -> Iterator[Finding]:
    """`local`: the platform answers on this machine alone."""
    path = "edge/tls/certificate"
    days = found.days_left(datetime.fromtimestamp(now, UTC))
    weak = {"rsa": strength.bits < RSA_BITS, "ec": strength.bits < EC_BITS}.get(strength.kind, False)
    if found.self_signed:
        yield _self_signed(local=local)
    forged = strength.hash in WEAK_HASHES and not found.self_signed
    if weak or forged:
        what = f"{strength.kind.upper()} of {strength.bits} bits" if weak else f"signed with {strength.hash}"
        yield failure(
            f"the certificate is weak: {what}",
            why="it can be forged, and clients refuse it",
            fix="have one issued with ECDSA P-256 or RSA 2048 and SHA-256",
            path=path,
        )
    if days < 0:
        yield failure(
            f"the certificate ended {-days} days ago", why="clients refuse it", fix="renew it", path=path
        )
    elif days < warn_days:
        yield warning(
            f"the certificate ends in {days} days",
            why="after that clients refuse it, or learn to look away",
            fix="renew it, then infctl up; an ACME client renews it by itself",
            path=path,
        )
    if not (found.self_signed or weak or forged or days < warn_days):
        yield ok(
            f"certificate of an authority, {days} days left, {strength.kind.upper()} {strength.bits} bits"
        )


def _self_signed(*, local: bool) -> Finding:
    if local:
        return ok("a self-signed certificate, for this machine alone")
    return warning(
        "the certificate is self-signed",
        why="clients cannot tell it from a stranger's, and get used to skipping the check",
        fix="name one of an authority: edge.tls.certificate and edge.tls.key",
        path="edge/tls",
    )


def _local(bind: str) -> bool:
    return bind in {"127.0.0.1", "::1", "localhost"}


def _strength(file: Path) -> Strength:
    from cryptography import x509  # noqa: PLC0415 - 0.1 s
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415

    with file.open("rb") as stream:
        leaf = x509.load_pem_x509_certificates(stream.read(1024 * 1024))[0]
    key = leaf.public_key()
    name = leaf.signature_hash_algorithm.name.lower() if leaf.signature_hash_algorithm is not None else ""
    if isinstance(key, rsa.RSAPublicKey):
        return Strength("rsa", key.key_size, name)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return Strength("ec", key.key_size, name)
    return Strength("other", 0, name)
