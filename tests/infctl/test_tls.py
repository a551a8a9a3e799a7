"""The edge's certificate: made once, kept while good, and refused with a reason where a named one is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infctl import tls
from infctl.errors import EngineError, Location, ProfileError

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = ("127.0.0.1", "::1", "llm.example.com", "localhost")


def test_a_self_signed_certificate_covers_its_names_and_belongs_to_its_key(tmp_path: Path) -> None:
    pair = tls.self_signed(tmp_path / "tls", NAMES, now=NOW)
    found = tls.describe(pair.certificate, pair.key)
    assert found.names == NAMES
    assert found.key_matches
    assert found.self_signed
    assert found.not_after - found.not_before == timedelta(days=825)
    assert found.days_left(NOW) == 824
    assert pair.key.stat().st_mode & 0o777 == 0o600
    assert pair.note.startswith("made a self-signed certificate")


def test_it_is_kept_while_it_is_good(tmp_path: Path) -> None:
    first = tls.self_signed(tmp_path, NAMES, now=NOW)
    before = first.certificate.read_bytes(), first.key.read_bytes()
    again = tls.self_signed(tmp_path, NAMES, now=NOW + timedelta(days=790))
    assert again.note == ""
    assert (again.certificate.read_bytes(), again.key.read_bytes()) == before


def test_it_is_renewed_30_days_before_its_end(tmp_path: Path) -> None:
    tls.self_signed(tmp_path, NAMES, now=NOW)
    again = tls.self_signed(tmp_path, NAMES, now=NOW + timedelta(days=796))
    assert "the old one ends on" in again.note


def test_other_names_ask_for_another_one(tmp_path: Path) -> None:
    tls.self_signed(tmp_path, NAMES, now=NOW)
    assert "the names are now" in tls.self_signed(tmp_path, ("localhost",), now=NOW).note


@pytest.mark.parametrize("name", [tls.CERTIFICATE, tls.KEY])
def test_a_half_written_pair_is_made_again(tmp_path: Path, name: str) -> None:
    tls.self_signed(tmp_path, NAMES, now=NOW)
    (tmp_path / name).write_text("rubbish")
    pair = tls.self_signed(tmp_path, NAMES, now=NOW)
    assert "cannot be read" in pair.note
    assert tls.describe(pair.certificate, pair.key).key_matches


def test_a_key_from_a_killed_renewal_is_noticed(tmp_path: Path) -> None:
    one = tls.self_signed(tmp_path / "one", NAMES, now=NOW)
    other = tls.self_signed(tmp_path / "other", NAMES, now=NOW)
    one.key.write_bytes(other.key.read_bytes())
    assert "another key" in tls.self_signed(tmp_path / "one", NAMES, now=NOW).note


def test_names_are_this_machine_and_the_profiles(tmp_path: Path) -> None:
    names = tls.names_of(("_", "llm.example.com", "*.example.org"))
    assert {"localhost", "127.0.0.1", "::1", "llm.example.com", "*.example.org"} <= set(names)
    assert "_" not in names
    assert tls.describe(tls.self_signed(tmp_path, names, now=NOW).certificate).names == names


PLACES = (Location("p.yaml", 3, 5), Location("p.yaml", 4, 5))


def test_a_good_named_pair_passes(tmp_path: Path) -> None:
    pair = tls.self_signed(tmp_path, NAMES, now=NOW)
    assert tls.check(pair.certificate, pair.key, now=NOW, where=PLACES).names == NAMES


def test_missing_files_are_both_told_with_their_places(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        tls.check(tmp_path / "no.crt", tmp_path / "no.key", now=NOW, where=PLACES)
    assert [(p.where, p.path) for p in caught.value.problems] == [
        (PLACES[0], "edge/tls/certificate"),
        (PLACES[1], "edge/tls/key"),
    ]
    assert all("No such file" in p.message and p.hint for p in caught.value.problems)


@pytest.mark.parametrize(
    ("now", "said"),
    [(NOW + timedelta(days=825), "expired on 2028-09-02"), (NOW - timedelta(days=1), "is valid only from")],
)
def test_a_certificate_out_of_its_time_is_refused(tmp_path: Path, now: datetime, said: str) -> None:
    pair = tls.self_signed(tmp_path, NAMES, now=NOW)
    with pytest.raises(ProfileError) as caught:
        tls.check(pair.certificate, pair.key, now=now, where=PLACES)
    (problem,) = caught.value.problems
    assert said in problem.message
    assert problem.where == PLACES[0]


def test_a_strange_key_is_refused(tmp_path: Path) -> None:
    one = tls.self_signed(tmp_path / "one", NAMES, now=NOW)
    other = tls.self_signed(tmp_path / "other", NAMES, now=NOW)
    with pytest.raises(ProfileError) as caught:
        tls.check(one.certificate, other.key, now=NOW, where=PLACES)
    (problem,) = caught.value.problems
    assert "is not the key of" in problem.message
    assert problem.where == PLACES[1]


def test_an_encrypted_key_is_refused_with_the_way_out(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    pair = tls.self_signed(tmp_path, NAMES, now=NOW)
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(EngineError, match="is encrypted") as caught:
        tls.describe(pair.certificate, pair.key)
    assert "openssl pkey" in caught.value.hint


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "\0"])
def test_what_is_no_certificate_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.crt").write_text(text)
    with pytest.raises(EngineError, match="holds no PEM certificate"):
        tls.describe(tmp_path / "x.crt")
