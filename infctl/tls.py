"""Certificates of the edge: described, checked, and made when none is named.

    describe(certificate, key)      what nginx would serve: expiry, names, whether the key belongs to it
    check(certificate, key, ...)    the problems of files a person named, in words
    self_signed(folder, names, now) the certificate infctl makes itself, kept while it is good for 30 days

`cryptography` takes 0.1 s to import, so it is imported where it is used.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from infctl.atomic import replace
from infctl.errors import EngineError, Location, Problem, ProfileError

if TYPE_CHECKING:
    from cryptography import x509

# Apple's clients refuse certificates that live longer.
LIFETIME = timedelta(days=825)
RENEW_BEFORE = timedelta(days=30)
# A certificate made by a machine whose clock is ahead is good on its neighbours at once.
CLOCK_SKEW = timedelta(hours=1)
PEM_BYTES_MAX = 1024 * 1024

CERTIFICATE = "certificate.pem"
KEY = "key.pem"


@dataclass(frozen=True, slots=True)
class Described:
    """A certificate, as far as an operator cares."""

    names: tuple[str, ...]
    """DNS names and addresses of the subjectAltName, sorted."""
    not_before: datetime
    not_after: datetime
    self_signed: bool
    key_matches: bool | None
    """None: no key was given."""

    def days_left(self, now: datetime) -> int:
        """Whole days; negative once it has expired."""
        return (self.not_after - now).days


@dataclass(frozen=True, slots=True)
class Pair:
    """What nginx is to serve, and what was done to get it."""

    certificate: Path
    key: Path
    note: str = ""
    """Empty when the files were there and good."""


def names_of(server_names: Iterable[str]) -> tuple[str, ...]:
    """What a local certificate answers to: this machine, and the profile's own names."""
    told = {name for name in server_names if name != "_"}
    return tuple(sorted({"localhost", "127.0.0.1", "::1", socket.gethostname(), *told} - {""}))


def describe(certificate: Path, key: Path | None = None) -> Described:
    """The first certificate of a PEM file. Raises EngineError where a file cannot be read or understood."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    leaf = _leaf(certificate)
    matches = None
    if key is not None:
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        matches = _public_half(key) == leaf.public_key().public_bytes(*form)
    return _described(leaf, matches)


def chain(certificate: Path) -> tuple[tuple[bytes, Described], ...]:
    """(DER, what it is) of every certificate of a PEM file, in its order. Raises EngineError."""
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    return tuple((one.public_bytes(Encoding.DER), _described(one, None)) for one in _all(certificate))


def of_der(certificate: bytes) -> Described | None:
    """As a handshake shows it; None: it is none."""
    from cryptography import x509  # noqa: PLC0415

    try:
        return _described(x509.load_der_x509_certificate(certificate), None)
    except ValueError:
        return None


def _described(leaf: x509.Certificate, matches: bool | None) -> Described:
    from cryptography import x509  # noqa: PLC0415

    try:
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [
            *alternative.get_values_for_type(x509.DNSName),
            *(str(address) for address in alternative.get_values_for_type(x509.IPAddress)),
        ]
    except x509.ExtensionNotFound:
        names = []
    return Described(
        names=tuple(sorted(names)),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        self_signed=leaf.issuer == leaf.subject,
        key_matches=matches,
    )


def check(
    certificate: Path,
    key: Path,
    *,
    now: datetime,
    where: tuple[Location | None, Location | None] = (None, None),
    paths: tuple[str, str] = ("edge/tls/certificate", "edge/tls/key"),
) -> Described:
    """Files a person named, before nginx meets them. Raises ProfileError with every problem found.

    `where`, `paths`: the places of the certificate and of the key in the profile.
    """
    problems = []
    for file, place, path in zip((certificate, key), where, paths, strict=True):
        try:
            if file == certificate:
                _leaf(file)
            else:
                _public_half(file)
        except EngineError as error:
            problems.append(Problem(error.message, path=path, where=place, hint=error.hint))
    if not problems:
        found = describe(certificate, key)
        problems = [
            Problem(message, path=path, where=place, hint=hint)
            for wrong, message, hint, path, place in (
                (
                    found.not_after <= now,
                    f"{certificate} expired on {found.not_after:%Y-%m-%d}",
                    "renew it, or leave edge.tls out for a self-signed one",
                    paths[0],
                    where[0],
                ),
                (
                    found.not_before > now,
                    f"{certificate} is valid only from {found.not_before:%Y-%m-%d %H:%M} UTC",
                    "check the clock of this machine",
                    paths[0],
                    where[0],
                ),
                (
                    found.key_matches is False,
                    f"{key} is not the key of {certificate}",
                    "name the key the certificate was issued for; the server's own comes first in the file",
                    paths[1],
                    where[1],
                ),
            )
            if wrong
        ]
    if problems:
        raise ProfileError("the certificate of the edge cannot be served", problems=problems)
    return found


def self_signed(folder: Path, names: tuple[str, ...], *, now: datetime) -> Pair:
    """`folder/certificate.pem` and `folder/key.pem` (0600), made or kept.

    Kept while both files belong together, carry exactly `names` and are good for 30 days more.
    """
    pair = Pair(folder / CERTIFICATE, folder / KEY)
    reason = _stale(pair, names, now)
    if not reason:
        return pair
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    certificate, key = _make(names, now)
    # Killed between the two, the pair does not match and is made again.
    replace(pair.key, key, mode=0o600)
    replace(pair.certificate, certificate, mode=0o644)
    until = f"{now + LIFETIME:%Y-%m-%d}"
    return Pair(pair.certificate, pair.key, f"made a self-signed certificate, valid until {until} ({reason})")


def _stale(pair: Pair, names: tuple[str, ...], now: datetime) -> str:
    """Why a new one is needed; empty if none is."""
    if not pair.certificate.exists() or not pair.key.exists():
        return "edge.tls names none"
    try:
        found = describe(pair.certificate, pair.key)
    except EngineError:
        return "the old one cannot be read"
    if not found.key_matches:
        return "the old one had another key"
    if found.names != tuple(sorted(names)):
        return f"the names are now {', '.join(names)}"
    if found.not_after - now <= RENEW_BEFORE:
        return f"the old one ends on {found.not_after:%Y-%m-%d}"
    return ""


def _make(names: tuple[str, ...], now: datetime) -> tuple[bytes, bytes]:
    """(certificate, key), PEM."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "infctl self-signed")])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now - CLOCK_SKEW + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        # A CA that may sign nothing further: so that `curl --cacert` and Python accept it as its own root.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _general(name: str) -> x509.GeneralName:
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _leaf(certificate: Path) -> x509.Certificate:
    return _all(certificate)[0]


def _all(certificate: Path) -> list[x509.Certificate]:
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.load_pem_x509_certificates(_read(certificate))
    except ValueError:
        raise EngineError(
            f"{certificate} holds no PEM certificate",
            hint="it begins with -----BEGIN CERTIFICATE-----: the server's first, then its chain",
        ) from None


def _public_half(key: Path) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    try:
        private = serialization.load_pem_private_key(_read(key), password=None)
    except TypeError:
        raise EngineError(
            f"{key} is encrypted, and nginx would ask for its passphrase",
            hint=f"openssl pkey -in {key} -out plain.key",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise EngineError(
            f"{key} holds no PEM private key", hint="it begins with -----BEGIN PRIVATE KEY-----"
        ) from None
    return private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(PEM_BYTES_MAX)
    except OSError as error:
        raise EngineError(
            f"{path} cannot be read: {error.strerror or error}",
            hint="name files that exist under edge.tls, or leave edge.tls out for a self-signed certificate",
        ) from None
