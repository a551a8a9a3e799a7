"""The other practices: certificate, redaction, rotation, quotas, audit, images."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.audit.anchors import Anchor, FileAnchors
from gateway.audit.chain import Head, seal
from infctl import tls
from infctl.doctor.docker import Image
from infctl.doctor.security import CHECKS, audit, certificate, images, quotas, redaction, rotation
from infctl.doctor.security.certificate import Strength
from infctl.tls import Described
from tests.infctl.doctor.conftest import NOW

TODAY = datetime.fromtimestamp(NOW, UTC)
EC = Strength("ec", 256, "sha256")


def test_the_eight_practices_are_all_there():
    names = ["keys", "certificate", "exposure", "redaction", "rotation", "quotas", "audit", "images"]
    assert [check.name for check in CHECKS] == names


def described(days: float, *, self_signed: bool = False) -> Described:
    return Described(
        ("a.example",), TODAY - timedelta(days=9), TODAY + timedelta(days=days), self_signed, None
    )


@pytest.mark.parametrize(
    ("found", "strength", "local", "verdicts"),
    [
        (described(200), EC, False, ["ok"]),
        (described(200, self_signed=True), EC, False, ["warning"]),
        (described(200, self_signed=True), EC, True, ["ok"]),
        (described(10), EC, False, ["warning"]),
        (described(-3), EC, False, ["failure"]),
        (described(200), Strength("rsa", 1024, "sha256"), False, ["failure"]),
        (described(200), Strength("rsa", 2048, "sha256"), False, ["ok"]),
        (described(200), Strength("rsa", 4096, "sha1"), False, ["failure"]),
        (described(200), Strength("other", 0, ""), False, ["ok"]),
    ],
)
def test_a_certificate_has_to_be_trusted_strong_and_current(found, strength, local, verdicts):
    told = certificate.judge(found, strength, NOW, 21, local=local)
    assert [one.verdict for one in told] == verdicts


def test_a_real_certificate_is_read(case):
    made = case({"edge": {"bind": "0.0.0.0"}})
    assert [one.verdict for one in certificate.look(made)] == ["warning"]
    tls.self_signed(made.layout.rendered / "tls", ("a.example",), now=TODAY)
    assert [one.verdict for one in certificate.look(made)] == ["warning"]
    (made.layout.rendered / "tls" / "certificate.pem").write_text("none")
    assert [one.verdict for one in certificate.look(made)] == ["failure"]
    assert [one.verdict for one in certificate.look(case({"edge": {"enabled": False}}))] == ["skipped"]


@pytest.mark.parametrize(
    ("gateway", "instead", "verdict"),
    [
        ({}, "", "ok"),
        ({}, "nothing is redacted", "skipped"),
        ({"redaction": {"enabled": False}}, "", "warning"),
        ({"redaction": {"enabled": False}, "audit": {"bodies": True}}, "", "failure"),
    ],
)
def test_redaction_that_is_off_is_told_and_one_that_is_not_done_yet_is_not_praised(
    case, gateway, instead, verdict
):
    assert redaction.judge(case({"gateway": gateway}).profile, instead).verdict == verdict


@pytest.mark.parametrize(
    ("gateway", "instead", "verdict"),
    [({}, "", "ok"), ({}, "no trail is written", "skipped"), ({"audit": {"enabled": False}}, "x", "warning")],
)
def test_so_is_the_trail(case, gateway, instead, verdict):
    assert audit.judge(case({"gateway": gateway}).profile, instead).verdict == verdict


def test_a_trail_that_nothing_signs_is_told(case):
    told = list(audit.look(case()))
    assert [one.verdict for one in told] == ["ok", "warning", "skipped"]
    assert told[1].path == "gateway/audit/hmac_key"
    signed = case({"gateway": {"audit": {"hmac_key": "${AUDIT_HMAC_KEY}"}}})
    assert [one.verdict for one in audit.look(signed)] == ["ok", "skipped"]


def test_a_trail_is_read_through_and_a_broken_one_is_a_failure(tmp_path: Path):
    folder, anchors = tmp_path / "audit", FileAnchors(tmp_path / "anchors")
    line, head = seal(b'{"event":"audit_file"}', Head(), b"k")
    folder.mkdir()
    (folder / "w00-000001.jsonl").write_bytes(line)
    anchors.save("w00", Anchor(head, 1))
    assert audit.of_trail(folder, tmp_path / "anchors", b"k").verdict == "ok"
    assert audit.of_trail(folder, tmp_path / "anchors", b"another").verdict == "failure"
    (folder / "w00-000001.jsonl").write_bytes(b"")
    assert "cut" in audit.of_trail(folder, tmp_path / "anchors", b"k").what
    assert audit.of_trail(tmp_path / "none", tmp_path / "none", None).verdict == "skipped"


def test_without_usage_there_are_no_anomalies_to_see():
    assert quotas.judge("", "").verdict == "ok"
    assert quotas.judge("nothing is counted", "").why == "no usage is kept yet: nothing is counted"
    assert quotas.judge("", "nothing is kept").verdict == "skipped"


def test_a_file_of_keys_that_nobody_touched_is_old(case, tmp_path: Path):
    (found,) = rotation.look(case())
    assert found.verdict == "skipped"
    file = tmp_path / ".env"
    file.write_text("A=b\n")
    for days, verdict in ((2, "ok"), (89, "ok"), (90, "warning"), (400, "warning")):
        os.utime(file, (NOW - days * 86_400, NOW - days * 86_400))
        (found,) = rotation.look(case())
        assert found.verdict == verdict, days
    assert "400 days" in found.what


def image(days: float) -> Image:
    return Image(created=f"{TODAY - timedelta(days=days):%Y-%m-%dT%H:%M:%S}.123456789Z")


def verdicts(found, built=frozenset()):
    return [
        (one.verdict, one.path) for one in images.judge(found, set(built), NOW, {"nginx:1.31": "edge/image"})
    ]


def test_images_grow_old_and_tags_move():
    pinned = "nginx:1.31@sha256:0f"
    assert verdicts({pinned: image(20)}) == [("ok", "")]
    assert verdicts({"nginx:1.31": image(20)}) == [("warning", ""), ("ok", "")]
    assert verdicts({"nginx:1.31": image(200)}, {"nginx:1.31"}) == [("warning", "edge/image")]
    assert verdicts({"nginx:latest": image(20)}) == [("failure", "")]
    assert verdicts({pinned: None}) == [("skipped", "")]


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("nginx", True),
        ("registry.example:5000/nginx", True),
        ("registry.example:5000/nginx:1.31", False),
        ("nginx:nightly", True),
        ("nginx:latest@sha256:0f", False),
    ],
)
def test_a_name_without_a_version_means_another_image_tomorrow(name, moves):
    assert images.moves(name) is moves


@pytest.mark.parametrize(
    "created", ["", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "nonsense", "2026-13-77T00:00:00Z"]
)
def test_an_image_whose_age_nobody_knows_is_not_old(created):
    assert images.age_days(Image(created=created), NOW) is None
