"""The clock, against a time server's and others'."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from infctl.doctor.checks.clock import Seen, judge, look


@pytest.mark.parametrize(
    ("seen", "verdict", "said"),
    [
        (Seen(kept=True), "ok", "a time server keeps the clock"),
        (Seen(kept=None), "ok", "the clock runs"),
        (Seen(kept=False), "warning", "no time server"),
        (Seen(kept=True, ahead_s=0.8, of="hub"), "ok", "agrees with hub"),
        (
            Seen(kept=False, ahead_s=-2.0, of="hub"),
            "warning",
            "this machine's clock, and agrees",
        ),
        (Seen(kept=True, ahead_s=42.0, of="hub"), "warning", "42 s ahead of that of hub"),
        (Seen(kept=None, ahead_s=-4000.0, of="hub"), "failure", "4,000 s behind that of hub"),
    ],
)
def test_a_clock_is_judged_by_who_keeps_it_and_how_far_it_is_off(seen, verdict, said):
    found = judge(seen)
    assert (found.verdict, said in found.what) == (verdict, True), found


@pytest.mark.parametrize(("off", "verdict"), [(0, {"ok", "warning"}), (4000, {"failure"})])
def test_the_hubs_own_clock_is_asked(case, fake_hub, off, verdict):
    def answer(handler) -> None:
        handler.send_response_only(200)
        handler.send_header("date", formatdate(time.time() + off, usegmt=True))
        handler.send_header("content-length", "0")
        handler.end_headers()

    fake_hub.answers["/"] = answer
    made = case(env={"HF_ENDPOINT": fake_hub.url}, offline=False)
    (found,) = look(made)
    assert found.verdict in verdict
    assert "127.0.0.1" in found.what


def test_nobody_is_asked_offline(case, fake_hub):
    made = case(env={"HF_ENDPOINT": fake_hub.url})
    (found,) = look(made)
    assert fake_hub.asked == []
    assert "127.0.0.1" not in found.what


def test_of_another_docker_host_its_own_time_counts(case, engine):
    docker = engine(
        is_local=False, address="ssh://box", info={"SystemTime": "2020-01-01T00:00:00.123456789Z"}
    )
    (found,) = look(case({"runtime": "docker"}, docker=docker))
    assert (found.verdict, "ssh://box" in found.what) == ("failure", True)
