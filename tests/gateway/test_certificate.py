"""The certificate at the edge: when it ends, whoever serves it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import certificate
from tests.examples import examples
from tests.gateway.process import config_for, free_port, until

KEY = ec.generate_private_key(ec.SECP256R1())


def made(end: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "edge")])
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), 1 << 100)
    return (
        builder.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(end)
        .sign(KEY, hashes.SHA256())
    )


@pytest.fixture
def edge(tmp_path: Path):
    """A port that speaks TLS with such a certificate, a connection after the other."""
    cert, key = tmp_path / "c.pem", tmp_path / "k.pem"
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    cert.write_bytes(made(end).public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key.write_bytes(KEY.private_bytes(serialization.Encoding.PEM, *form))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(peer, server_side=True) as talking:
                    talking.recv(1)
            except OSError:
                peer.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"127.0.0.1:{listening.getsockname()[1]}", end.timestamp()
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(5)


@pytest.mark.parametrize(
    "end",
    [
        datetime(2030, 5, 6, 7, 8, 9, tzinfo=UTC),
        datetime(2049, 12, 31, tzinfo=UTC),
        datetime(2150, 1, 1, tzinfo=UTC),
    ],
)
def test_the_end_is_read_as_the_certificate_says_it(end):
    der = made(end).public_bytes(serialization.Encoding.DER)
    assert certificate.ends(der) == end.timestamp()


WHOLE = made(datetime(2030, 1, 1, tzinfo=UTC)).public_bytes(serialization.Encoding.DER)


@given(st.binary(max_size=80) | st.integers(0, 150).map(lambda size: WHOLE[:size]))
@settings(max_examples=examples(60), deadline=None)
def test_what_is_no_certificate_is_told_as_that(der):
    with pytest.raises(ValueError):
        certificate.ends(der)


def test_of_an_edge_that_is_away_or_speaks_no_tls_nothing_is_known():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        closed = threading.Thread(target=lambda: silent.accept()[0].close())  # noqa: PLW0108
        closed.start()
        assert asyncio.run(certificate.end_of(f"127.0.0.1:{port}")) is None
        closed.join()
    assert asyncio.run(certificate.end_of(f"127.0.0.1:{free_port()}")) is None


def test_a_gateway_tells_when_the_certificate_of_its_edge_ends(start, make_stub, edge):
    address, end = edge
    gateway = start(config_for(make_stub(), edge=address)).wait_ready(2)
    line = f"infctl_certificate_end_time_seconds {end}"
    until(lambda: line in gateway.http.get("/metrics").text)


def test_a_gateway_without_an_edge_tells_of_no_certificate(shared):
    assert "\ninfctl_certificate_end_time_seconds " not in shared.http.get("/metrics").text


def test_the_disks_of_store_and_trail_are_told(start, make_stub, tmp_path):
    config = config_for(make_stub(), store={"path": str(tmp_path / "s" / "s.db")})
    gateway = start(config | {"audit": {"folder": str(tmp_path / "a")}}).wait_ready(2)
    text = gateway.http.get("/metrics").text
    for kind in ("store", "audit"):
        numbers = [
            float(line.rpartition(" ")[2])
            for name in ("infctl_disk_free_bytes", "infctl_disk_bytes")
            for line in text.splitlines()
            if line.startswith(f'{name}{{kind="{kind}"}}')
        ]
        assert 0 < numbers[0] <= numbers[1]
