"""What a client is shown by a real TLS server: trusted or not, for which names, until when."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infctl import tls
from infctl.health import edge
from infctl.health.found import Found

NOW = datetime.now(UTC)


@contextlib.contextmanager
def shown_by(pair: tls.Pair) -> Iterator[int]:
    """A server that does handshakes and no more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    one, _ = listener.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), one, context.wrap_socket(one, server_side=True) as wrapped:
                    wrapped.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def made(folder: Path, now: datetime = NOW, names: tuple[str, ...] = ("localhost",)) -> tls.Pair:
    return tls.self_signed(folder / "tls", names, now=now)


def judged(
    pair: tls.Pair, *names: str, trust: bool = True, days: int = 21, stale: bool = False
) -> list[Found]:
    with shown_by(pair) as port:
        shown = [
            edge.handshake("127.0.0.1", port, name, str(pair.certificate) if trust else None)
            for name in names
        ]
    chain = tuple(one for _, one in tls.chain(pair.certificate))
    leaf = tls.of_der(next(one.certificate for one in shown))
    return list(edge.judge("https://x", shown, leaf, chain, NOW.timestamp(), days, stale=stale))


def test_a_certificate_that_a_client_trusts_is_told_with_its_end(tmp_path: Path) -> None:
    (found,) = judged(made(tmp_path), "localhost")
    assert (found.verdict, found.what) == ("ok", "trusted for localhost, 824 days left")


def test_one_of_nobody_that_is_known_is_a_failure(tmp_path: Path) -> None:
    (found,) = judged(made(tmp_path), "localhost", trust=False)
    assert found.verdict == "failure"
    assert "self-signed certificate" in found.what.replace("self signed", "self-signed")
    assert found.fix


def test_where_no_client_of_this_machine_asks_an_unknown_authority_is_a_warning() -> None:
    leaf = None
    unknown = edge.Shown("llm.example.com", b"x", 20, "unable to get local issuer certificate")
    (found,) = edge.judge("https://x", [unknown], leaf, (), NOW.timestamp(), 21, strict=False)
    assert (found.verdict, "SSL_CERT_FILE" in found.fix) == ("warning", True)
    ended = edge.Shown("llm.example.com", b"x", 10, "certificate has expired")
    (found,) = edge.judge("https://x", [ended], leaf, (), NOW.timestamp(), 21, strict=False)
    assert found.verdict == "failure"


def test_a_name_that_it_is_not_for_is_a_failure_with_the_names_it_is_for(tmp_path: Path) -> None:
    found = judged(made(tmp_path), "localhost", "llm.example.com")
    assert [one.verdict for one in found] == ["failure"]
    assert "llm.example.com" in found[0].what
    assert "it is for localhost" in found[0].what
    assert "subjectAltName" in found[0].fix


def test_one_that_has_ended_is_a_failure_with_the_day(tmp_path: Path) -> None:
    (found,) = judged(made(tmp_path, NOW - timedelta(days=900)), "localhost")
    assert found.verdict == "failure"
    assert "expired" in found.what
    assert "it ended on" in found.what


def test_one_that_ends_soon_is_a_warning(tmp_path: Path) -> None:
    pair = made(tmp_path, NOW - timedelta(days=810))
    (found,) = judged(pair, "localhost")
    assert found.verdict == "warning"
    assert "the certificate ends in 14 days" in found.what
    assert judged(pair, "localhost", days=7)[0].verdict == "ok"


def test_an_authority_in_the_chain_that_ends_sooner_is_a_warning(tmp_path: Path) -> None:
    leaf = tls.describe(made(tmp_path).certificate)
    above = replace(leaf, not_after=NOW + timedelta(days=3))
    shown = [edge.Shown("localhost", b"x")]
    (found,) = edge.judge("https://x", shown, leaf, (leaf, above), NOW.timestamp(), 21)
    assert (found.verdict, found.what[:26]) == ("warning", "an authority's certificate")


def test_a_server_that_still_shows_the_old_one_is_a_warning(tmp_path: Path) -> None:
    (found,) = judged(made(tmp_path), "localhost", stale=True)
    assert (found.verdict, found.fix) == ("warning", "infctl restart nginx")


def test_a_server_that_is_not_there_or_speaks_no_tls_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    gone = edge.handshake("127.0.0.1", port, "localhost")
    assert (gone.certificate, gone.why) == (b"", "connection refused")
    (found,) = edge.judge("https://x", [gone], None, (), NOW.timestamp(), 21)
    assert found.verdict == "failure"
    lost = edge.handshake("127.0.0.1", port, "localhost", str(tmp_path / "none.pem"))
    assert "cannot be read" in lost.why


@pytest.mark.parametrize("raw", [b"", b"rubbish"])
def test_bytes_that_are_no_certificate_are_none(raw: bytes) -> None:
    assert tls.of_der(raw) is None


def test_a_file_with_a_chain_is_read_whole(tmp_path: Path) -> None:
    pair = made(tmp_path)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(pair.certificate.read_bytes() * 2)
    found = tls.chain(chain)
    assert len(found) == 2
    assert tls.of_der(found[0][0]) == found[0][1]
