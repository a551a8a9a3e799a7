"""What is said of clocks, disks, counts and pages, and when it is said."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest

from infctl.health import clocks, counts, disks, pages
from infctl.health.found import Found
from infctl.monitoring import exposed

NOW = 1_800_000_000.0
NASTY = 'x"\n\x1b[2J' + "y" * 10_000


def verdicts(found: list[Found]) -> list[tuple[str, str]]:
    return [(one.verdict, one.where) for one in found]


# Clocks


@pytest.mark.parametrize("off_s", [0.0, 0.9, -1.9])
def test_clocks_that_agree_as_far_as_a_date_can_tell(off_s: float) -> None:
    read = clocks.of_date("gateway", formatdate(NOW + off_s, usegmt=True), NOW - 0.1, NOW + 0.2)
    assert read is not None
    assert read.ahead_s == pytest.approx(0.0, abs=1.0)
    assert verdicts(list(clocks.judge({"gateway": read}))) == [("ok", "gateway")]


@pytest.mark.parametrize(
    ("off_s", "verdict", "said"),
    [(10, "warning", "10 s ahead"), (-10, "warning", "8 s behind"), (3600, "failure", "3,600 s ahead")],
)
def test_a_clock_that_is_off_is_told_with_the_least_it_is_off(off_s: float, verdict: str, said: str) -> None:
    read = clocks.of_date("chat", formatdate(NOW + off_s, usegmt=True), NOW, NOW)
    (found,) = clocks.judge({"chat": read})
    assert (found.verdict, found.where) == (verdict, "chat")
    assert said in found.what
    assert "NTP" in found.fix


def test_a_slow_answer_tells_nothing_of_a_clock() -> None:
    assert clocks.Reading("chat", NOW, NOW - 20, NOW + 20).ahead_s == 0.0


def test_a_server_without_a_date_is_no_verdict() -> None:
    assert clocks.of_date("chat", "", NOW, NOW) is None
    assert clocks.of_date("chat", NASTY, NOW, NOW) is None
    assert verdicts(list(clocks.judge({"chat": None}))) == [("skipped", "chat")]
    assert [one.verdict for one in clocks.judge({})] == ["skipped"]


# Disks


def disk(free: float, whole: float = 1e12) -> disks.Disk:
    return disks.Disk("audit", whole, free)


def test_a_disk_is_told_of_before_and_when_it_is_full() -> None:
    assert [one.verdict for one in disks.judge([disk(5e11), disk(2e11)])] == ["ok"]
    assert [one.verdict for one in disks.judge([disk(5e11), disk(5e10)])] == ["warning"]
    (found,) = disks.judge([disk(1e6)])
    assert (found.verdict, found.where) == ("failure", "audit")
    assert "df -h" in found.fix


def test_the_gateways_disks_are_read_of_its_page() -> None:
    text = 'infctl_disk_bytes{kind="audit"} 100\ninfctl_disk_free_bytes{kind="audit"} 25\n'
    assert list(disks.of_gateway(exposed.read(text))) == [disks.Disk("gateway: the audit trail", 100, 25)]


# The store and the audit trail

UP = 'infctl_store_up 1\ninfctl_config_info{store="redis"} 1\n'


@pytest.mark.parametrize(
    ("page", "as_of", "verdict", "said"),
    [
        (UP, NOW, "ok", "the counts were read"),
        (UP + "infctl_store_waiting 3\n", NOW, "ok", "3 calls wait"),
        (UP.replace("up 1", "up 0"), "disk is full", "failure", "does not answer"),
        (UP, "answered 503", "failure", "cannot be read"),
        (UP, None, "skipped", "not looked at"),
        ("infctl_workers 1\n", "nothing is counted", "ok", "no limit and no quota"),
        (None, NOW, "ok", "the counts were read"),
    ],
)
def test_the_store_is_judged_by_a_real_read(page: str | None, as_of: Any, verdict: str, said: str) -> None:
    (found,) = counts.store(None if page is None else exposed.read(page), as_of, "gateway")
    assert found.verdict == verdict
    assert said in found.what
    assert page is None or not page.startswith(UP) or found.where == "gateway (Redis)"


def test_the_audit_trail_is_judged_where_there_is_one() -> None:
    def of(text: str) -> list[str]:
        return [one.verdict for one in counts.audit(exposed.read(text))]

    assert of("") == []
    assert of("infctl_audit_failing 0\n") == ["ok"]
    assert of("infctl_audit_failing 0\ninfctl_audit_records_lost_total 2\n") == ["warning"]
    assert of("infctl_audit_failing 1\n") == ["failure"]


# Pages


def asked(kind: pages.Kind = "vllm", **answer: Any) -> pages.Asked:
    return pages.Asked("chat", kind, "http://127.0.0.1:8101/metrics", answer, "ADMIN_API_KEY")


@pytest.mark.parametrize(
    ("answer", "what", "why"),
    [
        ({"error": "connect", "why": "connection refused"}, "does not tell", "connection refused"),
        ({"error": "read", "why": NASTY}, "does not tell", 'x"\\n\\x1b[2J'),
        ({"status": 401, "body": ""}, "refuses to tell its figures (401)", "ADMIN_API_KEY"),
        ({"status": 500, "body": ""}, "answers 500", ""),
        ({"status": 200, "body": "python_gc 1"}, "what answers there is not chat", "alerts"),
    ],
)
def test_a_page_that_is_not_there_is_told_with_the_reason(
    answer: dict[str, Any], what: str, why: str
) -> None:
    (found,) = pages.judge((asked(**answer), asked(status=200, body="vllm:a 1")))
    assert found.verdict == "failure"
    assert what in found.what
    assert why in found.why
    assert len(found.why) < 300
    assert (found.what + found.why).isprintable()


def test_pages_that_are_all_there_are_one_line() -> None:
    page = asked(status=200, body="# HELP x y\nvllm:a 1\n")
    assert [(one.verdict, one.where) for one in pages.judge((page, page))] == [("ok", "chat, chat")]
    assert list(pages.judge(())) == []


# Prometheus's targets

EXPECTED = (pages.Expected("gateway"), pages.Expected("vllm", "vllm-chat"))


def target(job: str, health: str = "up", error: str = "", backend: str = "") -> dict[str, Any]:
    labels = {"job": job, "instance": f"{job}:8000"} | ({"backend": backend} if backend else {})
    return {"labels": labels, "scrapeUrl": f"http://{job}:8000", "health": health, "lastError": error}


def of_targets(*found: dict[str, Any]) -> list[Found]:
    body = json.dumps({"data": {"activeTargets": list(found)}})
    return list(pages.targets("http://prom", {"status": 200, "body": body}, EXPECTED))


def test_targets_that_are_all_read_are_one_line() -> None:
    (found,) = of_targets(target("gateway"), target("vllm", backend="vllm-chat"), target("other"))
    assert (found.verdict, found.what) == ("ok", "Prometheus reads 3 targets, each well")


def test_a_target_that_is_down_missing_or_new_is_told() -> None:
    found = of_targets(target("gateway", "down", "connection refused"), target("other", "unknown"))
    assert [(one.verdict, one.what) for one in found] == [
        ("failure", "Prometheus cannot read gateway gateway:8000"),
        ("warning", "other other:8000 was not read yet"),
        ("failure", "Prometheus does not read vllm-chat"),
    ]
    assert found[0].why == "connection refused"


def test_what_a_target_says_of_itself_cannot_reach_the_terminal() -> None:
    found = of_targets(target(NASTY, "down", NASTY), target("gateway"), target("vllm", backend="vllm-chat"))
    for text in (found[0].what, found[0].why, found[0].where):
        assert text.isprintable()
        assert len(text) < 300
        assert "…" in text


@pytest.mark.parametrize("body", ["<html>", "[]", '{"data": 1}', '{"data": {"activeTargets": [1]}}'])
def test_what_is_not_prometheus_is_told_as_such(body: str) -> None:
    (found,) = pages.targets("http://prom", {"status": 200, "body": body}, EXPECTED)
    assert (found.verdict, found.what) == ("failure", "what answers there is not Prometheus")
    (gone,) = pages.targets("http://prom", {"error": "connect", "why": "refused"}, EXPECTED)
    assert "no alert is computed" in gone.why
