"""The live screen of `infctl status --watch`: the view it is made of, and how it looks."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from infctl.cli import live_screen, live_view, top, top_screen
from infctl.cli.facts import GatewayFact, PlatformFacts, ServiceFact
from infctl.cli.shapes import TOP
from infctl.gpus.busy import Busy
from infctl.watch.busiest import busiest
from infctl.watch.counts import GATEWAY, Calls, Counts, Engine
from infctl.watch.past import Past

GIB = 2**30
NOW = 1_800_000_000.0
NASTY = 'x"\n\x1b[2J\x1b]0;owned\x07' + "y" * 10_000


def engine(name: str, model: str, **more: Any) -> ServiceFact:
    return ServiceFact(
        **{
            "name": name, "role": "engine", "models": (model,), "state": "ready", "pid": 1, "device": "0",
            "memory_bytes": int(19.6 * GIB), "planned_bytes": int(19.8 * GIB), "in_flight": 8,
            "requests": 100, "errors": 0, "restarts": 0, "started_at": NOW - 532_800, "why": "",
            "backend": f"vllm-{name}", "breaker": "closed", "capacity": 9,
        } | more
    )  # fmt: skip


def other(name: str, role: str, state: str = "ready") -> ServiceFact:
    return engine(name, "", role=role, models=(), device="", state=state, backend="", capacity=None)


FACTS = PlatformFacts(
    name="inference-platform",
    runtime="docker",
    supervised=True,
    now=NOW,
    gateway=GatewayFact("http://127.0.0.1:8000", True, "ok", "1", False, ""),
    services=(
        engine("chat0", "chat"),
        engine("chat1", "chat", device="1", breaker="open", why="its breaker is open, tried again in 12 s"),
        engine("embed", "embed", device="3", planned_bytes=None, capacity=None, in_flight=2),
        engine("rerank", "rerank", device="3", state="loading", memory_bytes=None, expected_in_s=20.0),
        other("gateway", "gateway"),
        other("nginx", "edge"),
    ),
    warnings=(),
    near_limits=(
        {"tenant": "data-team", "code": "tokens_per_day", "limit": 100, "left": 9, "reset_s": 35_820.0},
    ),
)


def moment(at: float, scale: float) -> Counts:
    fast = {0.1: 10 * scale, 0.5: 100 * scale, math.inf: 100 * scale}
    return Counts(
        at,
        backends={"vllm-chat0": Calls(41 * scale), "vllm-chat1": Calls(20 * scale, faults=3 * scale)},
        models={"chat": Calls(61 * scale, 3 * scale, 2 * scale, 0, 8_100 * scale), "embed": Calls(scale)},
        tenants={"data-team": Calls(50 * scale), "10.1.4.7": Calls(12 * scale, refused=2 * scale)},
        refusals={("10.1.4.7", "requests_per_second"): 14 * scale},
        first={"chat": fast},
        waiting={"chat": 4.0, "embed": 0.0},
        engines={
            "chat0": Engine(8, 0, 0.71, 4_120 * scale, 9, fast),
            "chat1": Engine(0, 3, 0.95, 100 * scale, 9, fast),
            "embed": Engine(1, 0, 0.0, 0, 9, {}),
        },
    )


PAST = Past().with_now(moment(100.0, 1)).with_now(moment(110.0, 2))
VIEW = live_view.view(FACTS, PAST, (Busy(0, "L4", 20 * GIB, 22 * GIB, 0.87, 71, 68.2), Busy(3, "L4")))


def drawn(view: live_view.View, width: int = 132, height: int = 40) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, highlight=False)
    console.print(live_screen.screen(view, width, height))
    return re.sub(r" +\n", "\n", console.file.getvalue())  # type: ignore[attr-defined]


def test_the_screen_has_models_gpus_rates_and_who_is_near_a_limit() -> None:
    text = drawn(VIEW, 140)
    assert text.startswith("inference-platform · 5 of 6 ready")
    for line in (
        "chat    vllm-chat0   ready",
        "71 %        8/9      4        0    4.1    412",
        "478 ms",
        "breaker open",
        "loading, 20 s",
        "data-team 91 % of tokens today (resets in 9 h 57 min)",
        "refused in 10 s   10.1.4.7 14 (requests_per_second)",
        "chat1: its breaker is open, tried again in 12 s",
        "others    gateway ready · nginx ready",
        "req/s and tok/s of the last 10 s; TTFT, errors, refusals of the last 10 s · q ends",
    ):
        assert line in text, text
    assert re.search(r"0 +L4 +chat0 +20\.0/22\.0 GiB +19\.8 GiB +87 % +71 +68", text), text
    assert re.search(r"chat +6\.1 +810 +478 ms +4 +3 +2", text), "what clients see"


def test_of_a_view_each_figure_is_over_its_own_window() -> None:
    first, second, embed, rerank = VIEW.rows
    assert (first.requests_per_s, first.tokens_per_s, first.queue, first.inside) == (4.1, 412.0, 4, 0)
    assert (second.model, second.queue, second.errors) == ("", None, 3.0)
    assert (embed.kv_use, embed.tokens_per_s, embed.first_p95_s) == (None, None, None)
    assert rerank.expected_in_s == 20.0
    assert VIEW.cards[1][1:] == ("embed, rerank", int(19.8 * GIB))


def test_before_the_second_look_there_are_no_rates_and_it_says_so() -> None:
    text = drawn(live_view.view(FACTS, Past().with_now(moment(1.0, 1))))
    assert "rates need a second look" in text
    assert "refused in" not in text


def test_a_target_that_is_down_is_shown_with_the_reason_and_the_rest_stays() -> None:
    lost = replace(moment(111.0, 3), down={"chat1": "no answer in time"})
    lost = replace(lost, engines={name: one for name, one in lost.engines.items() if name != "chat1"})
    text = drawn(live_view.view(FACTS, PAST.with_now(lost)))
    assert "no figures of chat1: no answer in time" in text
    assert "vllm-chat0" in text
    gone = Counts(112.0, down={GATEWAY: "it refuses the key (401): ADMIN_API_KEY is not the one that it has"})
    text = drawn(live_view.view(FACTS, PAST.with_now(gone)))
    assert "no figures of gateway: it refuses the key (401)" in text


def test_labels_that_hold_escapes_line_breaks_or_10_kb_are_shown_as_text() -> None:
    services = (engine("chat0", NASTY, backend=NASTY, why=NASTY, state="ready"), *FACTS.services[1:])
    near = ({"tenant": NASTY, "code": "tokens_per_day", "limit": 100, "left": 9, "reset_s": 1.0},)
    now = replace(
        moment(110.0, 2),
        models={NASTY: Calls(5)},
        refusals={(NASTY, NASTY): 9.0},
        down={NASTY: NASTY},
    )
    facts = replace(FACTS, name=NASTY, services=services, near_limits=near, warnings=(NASTY,))
    text = drawn(live_view.view(facts, Past().with_now(moment(100.0, 1)).with_now(now)), 140, 60)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert 'x"\\n\\x1b[2J' in text
    assert "…" in text
    assert len(text) < 8_000
    found = busiest(Past().with_now(Counts(1.0, tenants={NASTY: Calls(5)})), "tenant", "requests", 10)
    assert all(line.isprintable() and len(line) < 140 for line in top_screen.lines(found, 140))


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_no_line_is_wider_than_the_window(width: int) -> None:
    assert max(map(len, drawn(VIEW, width).splitlines())) <= width


def test_a_window_of_a_few_lines_has_the_table() -> None:
    assert "vllm-chat0" in drawn(VIEW, 100, 5)


# infctl top


def test_top_marks_the_column_of_its_order_and_counts_what_does_not_fit() -> None:
    found = busiest(PAST, "tenant", "refused", 20)
    lines = top_screen.lines(found, 100)
    assert lines[0].split() == [
        "tenant", "req/s", "tok/s", "in", "tok/s", "out", "errors", "refused", "↓", "requests", "tokens",
    ]  # fmt: skip
    assert lines[1].split() == ["10.1.4.7", "1.2", "0", "0", "0", "2", "24", "0"]
    many = busiest(
        Past().with_now(Counts(1.0, tenants={str(n): Calls(n) for n in range(50)})), "tenant", "requests", 9
    )
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(top_screen.screen("p", many, NOW, 100, 20))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "and 37 more" in text
    assert "t m b rows" in text
    assert len(text.splitlines()) <= 20


def test_top_as_json_has_the_promised_keys() -> None:
    told = top.as_data(busiest(PAST, "tenant", "requests", 20), NOW)
    assert list(told) == list(TOP)
    assert [list(row) for row in told["busiest"]] == [list(TOP["busiest"][0])] * 2  # type: ignore[index]
    assert told["busiest"][0]["name"] == "data-team"
    assert told["busiest"][0]["requests_per_s"] == 5.0


def test_top_without_the_gateway_says_why() -> None:
    found = busiest(Past().with_now(Counts(1.0, down={GATEWAY: "connection refused"})), "model", "tokens", 9)
    assert top_screen.lines(found, 100) == [
        "the gateway's figures are missing: connection refused (infctl status shows what runs)"
    ]
