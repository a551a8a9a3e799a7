"""A server whose timings are known: what the client says of them is right to 1 ms and 1 %.

Known means: written down by the server itself, on the clock both share. On a machine that is busy elsewhere
a server's bytes may reach the client late; then the run's own verdict has to say so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infctl.bench import numbers, session
from infctl.bench.figures import Figures
from infctl.bench.results import Config
from infctl.bench.session import Measured

from .stub import FIRST_S, GAP_S, SLOW_FIRST_S, STALL_S

TOKENS = 12


def measured(url: str, mode: str, **more: Any) -> Measured:
    settings: dict[str, Any] = {
        "endpoint": "chat",
        "lengths_in": "8",
        "lengths_out": str(TOKENS),
        "arrivals": "constant",
        "rate": 50.0,
        "concurrency": None,
        "requests": 100,
        "duration_s": None,
        "warmup": "5",
        "cooldown": "0",
        "seed": 1,
    }
    return session.measure(Config(model=mode, **(settings | more)), session.target(url, None))


def said(log: list[dict[str, Any]], of: Callable[[dict[str, Any]], float]) -> list[float]:
    """Of the requests that count, as the server saw them."""
    return sorted(of(entry) for entry in log[5:105])


def near(found: float | None, known: float) -> bool:
    return found is not None and abs(found - known) <= 0.001 + 0.01 * known


def wrong(found: Figures, log: list[dict[str, Any]]) -> list[str]:
    """What the client says otherwise than the server."""
    known = {
        "ttft": said(log, lambda entry: entry["writes"][0] - entry["read"]),
        "e2e": said(log, lambda entry: entry["writes"][-1] - entry["read"]),
        "tpot": said(log, lambda entry: (entry["writes"][TOKENS - 1] - entry["writes"][0]) / (TOKENS - 1)),
    }
    return [
        f"{name} p{percent:g}: {told} is not {right}"
        for name, ordered in known.items()
        for percent in (50.0, 90.0, 95.0)
        if not near(told := found.latencies[name].at(percent), right := numbers.percentile(ordered, percent))
    ]


@pytest.mark.serial
@pytest.mark.parametrize("mode", ["steady", "bimodal"])
def test_percentiles_are_the_servers_own_or_the_verdict_speaks(own_stub: Any, mode: str) -> None:
    run = measured(own_stub.url, mode)
    assert (run.figures.counted, run.figures.ok) == (100, 100)
    differing = wrong(run.figures, own_stub.log())
    assert not differing or run.verdict.grade != "valid", differing
    ttft = run.figures.latencies["ttft"]
    slow = ttft.at(90.0)
    assert slow is not None
    assert ttft.least >= FIRST_S - 0.001
    if mode == "bimodal":
        assert slow >= SLOW_FIRST_S - 0.001
    assert run.figures.latencies["tpot"].most * (TOKENS - 1) >= GAP_S * (TOKENS - 1) - 0.001


@pytest.mark.serial
def test_a_stalled_second_shows_from_schedule_and_not_only_from_send(own_stub: Any) -> None:
    """Eight places: from send only those eight see the stall, from schedule all that were due meanwhile."""
    run = measured(own_stub.url, "stall", concurrency=8)
    assert run.figures.ok == 100
    sent = [r.end_us - (r.sent_us or 0) for r in run.records]
    due = [r.end_us - (r.due_us or 0) for r in run.records]
    seen = (STALL_S - 0.05) * 1e6 / 2
    assert sum(late > seen for late in due) >= 20
    if run.verdict.grade == "invalid":
        return  # a busy machine stalls what it likes; the run says so
    assert sum(late > seen for late in sent) <= 8
    from_send, from_schedule = run.figures.latencies["e2e"], run.figures.latencies["e2e_due"]
    assert from_schedule.mean > 2 * from_send.mean
    assert run.verdict.grade == "suspect"
    assert "from schedule" in " ".join(reason.text for reason in run.verdict.reasons)
