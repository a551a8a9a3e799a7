"""Does this run say something about the server, or about the client that measured it? Pure.

valid     believe it
suspect   true as far as it goes, but read the reasons first
invalid   the figures are not the server's; they are not shown as such
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infctl.bench.figures import Figures

VALID, SUSPECT, INVALID = "valid", "suspect", "invalid"
LEAST_REQUESTS = 30
CPU_SUSPECT, CPU_INVALID = 0.85, 0.97
"""Share of one core."""
RUN_DELAY_SUSPECT, RUN_DELAY_INVALID = 0.05, 0.30
"""Share of the run in which the client was ready and had no core: others worked on this machine."""
LATE_SUSPECT, LATE_INVALID = 0.05, 0.30
"""The client's own delay as a share of what it measures."""
LATE_SUSPECT_US, LATE_INVALID_US = 2_000, 20_000
"""Below these a delay is nobody's concern, whatever the share."""
FAILED_SUSPECT, FAILED_INVALID = 0.01, 1.0
PARITY_SHARE = 0.01
"""The server's own count of generated tokens may differ by so much."""
RATE_SUSPECT = 0.95
"""Of the rate that was asked for."""


@dataclass(frozen=True, slots=True)
class Reason:
    grade: str
    what: str
    """The check: cpu, core, lag, schedule, failures, truncated, tokens, count, ended, rate, heat."""
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    grade: str
    reasons: tuple[Reason, ...]


def judge(
    found: Figures,
    watched: Mapping[str, Any],
    *,
    ended: str = "complete",
    why: str = "",
    open_loop: bool = False,
    rate: float | None = None,
    capped: bool = False,
    counts_tokens: bool = True,
    tokens: tuple[float | None, float | None] | None = None,
    hot_share: float | None = None,
) -> Verdict:
    """`watched`: what `observe.Watch` gave. `open_loop`: requests were due; `rate`: so many a second, if
    that is steady; `capped`: so many at once at most. `counts_tokens`: a piece with text is a token at least.
    `tokens`: generated in the whole run, by the answers and by the server's own counter. `hot_share`: of the
    looks at the server's cards, those that saw one slowed by its heat.
    """
    reasons = [
        *_client(found, watched),
        *_schedule(found, rate, capped=capped, open_loop=open_loop),
        *_answers(found),
        *_tokens(found, counts_tokens=counts_tokens),
        *_parity(*(tokens or (None, None))),
    ]
    if hot_share:
        text = f"the server's GPUs were slowed by their heat in {hot_share:.0%} of the looks at them"
        reasons.append(Reason(SUSPECT, "heat", text))
    if ended != "complete":
        reasons.insert(0, Reason(SUSPECT, "ended", f"a part of the run: {why or ended}"))
    if 0 < found.ok < LEAST_REQUESTS:
        reasons.append(Reason(SUSPECT, "count", f"only {found.ok} requests: percentiles say little"))
    grades = {reason.grade for reason in reasons}
    grade = INVALID if INVALID in grades else SUSPECT if SUSPECT in grades else VALID
    return Verdict(grade, tuple(sorted(reasons, key=lambda reason: reason.grade != INVALID)))


def _client(found: Figures, watched: Mapping[str, Any]) -> list[Reason]:
    reasons = []
    share = watched.get("cpu_share") or 0.0
    if share >= CPU_SUSPECT:
        reasons.append(
            Reason(
                INVALID if share >= CPU_INVALID else SUSPECT,
                "cpu",
                f"the client used {share:.0%} of a core, of which it has one: it may have been the limit",
            )
        )
    delay = watched.get("run_delay_share") or 0.0
    if delay >= RUN_DELAY_SUSPECT:
        reasons.append(
            Reason(
                INVALID if delay >= RUN_DELAY_INVALID else SUSPECT,
                "core",
                f"for {delay:.0%} of the run the client was ready and had no core: this machine was busy",
            )
        )
    grade = _late(watched.get("lag_p99_us") or 0, found)
    if grade:
        lag = (watched.get("lag_p99_us") or 0) / 1000
        reasons.append(Reason(grade, "lag", f"the client's loop was {lag:.1f} ms late at p99"))
    grade = _late(watched.get("told_p99_us") or 0, found)
    if grade:
        took = (watched.get("told_p99_us") or 0) / 1000
        reasons.append(
            Reason(grade, "lag", f"showing the progress held the loop up for {took:.1f} ms at p99")
        )
    hot = watched.get("throttled") or 0
    if hot:
        reasons.append(Reason(SUSPECT, "heat", f"this machine's cores were slowed by their heat {hot} times"))
    return reasons


def _schedule(found: Figures, rate: float | None, *, capped: bool, open_loop: bool) -> list[Reason]:
    """Requests that were sent late: because no place was free, or because of the client."""
    if not open_loop:
        return []
    reasons = []
    wait = found.latencies.get("wait")
    late = (wait.at(50.0) if capped else wait.at(99.0) or wait.most) if wait is not None else None
    grade = _late(int((late or 0.0) * 1e6), found)
    if late is not None and grade and capped:
        text = (
            f"half of the requests waited {late * 1e3:,.1f} ms or more for a place: read those from schedule"
        )
        reasons.append(Reason(SUSPECT, "schedule", text))
    elif late is not None and grade:
        text = f"the client turned to requests {late * 1e3:,.1f} ms behind schedule at p99"
        reasons.append(Reason(grade, "schedule", text))
    share = found.requests_per_s / rate if rate else 1.0
    if share < RATE_SUSPECT and found.ok >= LEAST_REQUESTS and not found.failed:
        reasons.append(
            Reason(
                SUSPECT, "rate", f"{rate:g} requests/s were asked for, {found.requests_per_s:.4g} were served"
            )
        )
    return reasons


def _answers(found: Figures) -> list[Reason]:
    if not found.counted:
        return [Reason(INVALID, "failures", "no request was answered inside the window")]
    share = found.failed / found.counted
    if share >= FAILED_INVALID:
        return [Reason(INVALID, "failures", "every request failed")]
    reasons = []
    if share >= FAILED_SUSPECT:
        reasons.append(
            Reason(
                SUSPECT,
                "failures",
                f"{share:.1%} of the requests failed: latencies are of the others, adjusted ones count them",
            )
        )
    cut = dict(found.failures).get("truncated", 0)
    if cut:
        reasons.append(Reason(SUSPECT, "truncated", f"{cut:,} streams were cut off"))
    return reasons


def _tokens(found: Figures, *, counts_tokens: bool) -> list[Reason]:
    reasons = []
    if found.uncounted:
        reasons.append(
            Reason(
                SUSPECT, "tokens", f"{found.uncounted:,} answers came without the server's count of tokens"
            )
        )
    elif counts_tokens and found.pieces > found.tokens_out:
        reasons.append(
            Reason(
                SUSPECT,
                "tokens",
                f"{found.pieces:,} pieces with text came, the server counted {found.tokens_out:,} tokens",
            )
        )
    return reasons


def _parity(answered: float | None, counted: float | None) -> list[Reason]:
    """The server's counter moved by what the answers say, or somebody else was there."""
    if answered is None or counted is None or abs(counted - answered) <= PARITY_SHARE * answered:
        return []
    text = f"the answers hold {answered:,.0f} tokens, the server counted {counted:,.0f}: was it alone?"
    return [Reason(SUSPECT, "tokens", text)]


def _late(late_us: int, found: Figures) -> str | None:
    """What a delay of the client's own means beside what was measured."""
    measured = found.latencies.get("ttft") or found.latencies.get("e2e")
    middle_us = (measured.at(50.0) or 0.0) * 1e6 if measured is not None else 0.0
    if late_us > max(LATE_INVALID_US, LATE_INVALID * middle_us):
        return INVALID
    return SUSPECT if late_us > max(LATE_SUSPECT_US, LATE_SUSPECT * middle_us) else None
