"""From the log of a run to its figures, by the definitions that stand here and are printed with them. Pure.

Which requests count: those due (in a closed loop: begun) inside the window, so no warm-up or cool-down.
Latencies are of those that ended `ok`. Rates count what arrived inside the window, whenever it was asked for.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from infctl.bench import numbers
from infctl.bench.record import EMPTY, OK, Record

PERCENTS = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Definition:
    title: str
    text: str
    of: Callable[[Record], float | None]
    """One request's value in seconds; None: it has none."""


def _since(origin: str, end: Callable[[Record], int | None]) -> Callable[[Record], float | None]:
    def seconds(record: Record) -> float | None:
        began, ended = getattr(record, origin), end(record)
        return None if began is None or ended is None else (ended - began) / 1e6

    return seconds


def _first(record: Record) -> int | None:
    content = record.content_us()
    return content[0] if content else None


def _end(record: Record) -> int | None:
    return record.end_us


def tpot(record: Record) -> float | None:
    content = record.content_us()
    if not record.tokens_out or record.tokens_out < 2 or not content:
        return None
    return (content[-1] - content[0]) / 1e6 / (record.tokens_out - 1)


def _normalised(record: Record) -> float | None:
    if not record.tokens_out or record.sent_us is None:
        return None
    return (record.end_us - record.sent_us) / 1e6 / record.tokens_out


def gaps(record: Record) -> list[float]:
    content = record.content_us()
    return [(after - before) / 1e6 for before, after in itertools.pairwise(content)]


def _mean_gap(record: Record) -> float | None:
    found = gaps(record)
    return sum(found) / len(found) if found else None


def token_gaps(record: Record) -> list[float]:
    """A gap for each token but those of the first piece with content; empty where pieces were not counted."""
    found: list[float] = []
    before: tuple[int, int] | None = None
    for at, kind, tokens in zip(record.piece_us, record.pieces, record.piece_tokens, strict=False):
        if kind == EMPTY:
            continue
        if before is not None and tokens > before[1]:
            held = tokens - before[1]
            found += [(at - before[0]) / 1e6 / held] * held
        before = at, tokens
    return found


def _mean_token_gap(record: Record) -> float | None:
    found = token_gaps(record)
    return sum(found) / len(found) if found else None


DEFINITIONS: Mapping[str, Definition] = {
    "ttft": Definition(
        "TTFT",
        "first piece with text or reasoning - request sent on an open connection",
        _since("sent_us", _first),
    ),
    "ttft_due": Definition(
        "TTFT from schedule", "the same first piece - when the request was due", _since("due_us", _first)
    ),
    "tpot": Definition("TPOT", "(last piece - first piece) / (tokens out - 1), pieces with content", tpot),
    "itl": Definition("ITL", "gaps between pieces with content, of all requests", _mean_gap),
    "itl_token": Definition(
        "ITL of a token",
        "gap between pieces / tokens of the later one, once for each of them; where each piece is counted",
        _mean_token_gap,
    ),
    "e2e": Definition("end to end", "answer known to be whole - request sent", _since("sent_us", _end)),
    "e2e_due": Definition(
        "end to end from schedule",
        "answer known to be whole - when the request was due",
        _since("due_us", _end),
    ),
    "normalised": Definition("normalised", "end to end / tokens out", _normalised),
    "wait": Definition(
        "client wait", "client turned to it - when it was due: places taken, and this client's delay",
        _since("due_us", lambda record: record.began_us),
    ),
    "connect": Definition(
        "connect", "request sent - client turned to it; not part of the others from send",
        _since("began_us", lambda record: record.sent_us),
    ),
}  # fmt: skip
_POOLED = {"itl": gaps, "itl_token": token_gaps}
"""Of these the values are all requests' together."""
RATES = {
    "requests_per_s": "requests that ended ok inside the window / its length",
    "tokens_out_per_s": "tokens that arrived inside the window, a request's spread evenly over its pieces",
    "tokens_in_per_s": "prompt tokens of requests whose first piece arrived inside the window",
    "goodput_per_s": "requests that count, ended ok and kept every SLO / length of the window",
    "adjusted": "least time within which p % of all requests that count were answered; failures never are",
}
SLO_METRICS = ("ttft", "ttft_due", "tpot", "itl", "itl_token", "e2e", "e2e_due", "normalised")


@dataclass(frozen=True, slots=True)
class Window:
    """Of the run, in microseconds; and the requests that count."""

    start_us: int
    end_us: int
    first: int | None = None
    """By number, not by time: requests before this one are the warm-up."""
    last: int | None = None
    """This one and those behind it are the cool-down."""

    @property
    def length_s(self) -> float:
        return max(self.end_us - self.start_us, 1) / 1e6

    def counts(self, record: Record) -> bool:
        if self.first is not None:
            return self.first <= record.index and (self.last is None or record.index < self.last)
        return self.start_us <= origin_us(record) < self.end_us


def origin_us(record: Record) -> int:
    return record.began_us if record.due_us is None else record.due_us


def by_count(records: Sequence[Record], first: int, last: int | None) -> Window:
    """From the first request that counts to the first of the cool-down; without one, to the last end."""
    measured = [r for r in records if r.index >= first and (last is None or r.index < last)]
    start = min((origin_us(r) for r in measured), default=0)
    after = [origin_us(r) for r in records if last is not None and r.index >= last]
    return Window(
        start, min(after) if after else max((r.end_us for r in measured), default=0) + 1, first, last
    )


@dataclass(frozen=True, slots=True)
class Distribution:
    """Seconds. A percentile that fewer than one value would lie above is None."""

    count: int
    mean: float
    deviation: float
    least: float
    most: float
    percentiles: tuple[tuple[float, float | None], ...]

    def at(self, percent: float) -> float | None:
        return dict(self.percentiles).get(percent)


def distribution(values: Iterable[float]) -> Distribution | None:
    ordered = sorted(values)
    if not ordered:
        return None
    return Distribution(
        count=len(ordered),
        mean=numbers.mean(ordered),
        deviation=numbers.deviation(ordered),
        least=ordered[0],
        most=ordered[-1],
        percentiles=tuple(
            (percent, numbers.percentile(ordered, percent) if _known(len(ordered), percent) else None)
            for percent in PERCENTS
        ),
    )


def _known(count: int, percent: float) -> bool:
    return count * (100 - percent) >= 100 - 1e-6 or percent <= 50


@dataclass(frozen=True, slots=True)
class Figures:
    window: Window
    counted: int
    """Requests that count; `aborted` ones, which we gave up ourselves, do not."""
    ok: int
    aborted: int
    failures: tuple[tuple[str, int], ...]
    """Class, how many; the most frequent first."""
    details: tuple[tuple[str, str, int], ...]
    """Class, what was said, how often; at most ten."""
    tokens_in: int
    """Of requests that count and ended ok, as the server counted; like tokens_out and tokens_cached."""
    tokens_out: int
    tokens_cached: int | None
    pieces: int
    uncounted: int
    """Requests that ended ok without the server's count of tokens."""
    requests_per_s: float
    tokens_in_per_s: float
    tokens_out_per_s: float
    goodput_per_s: float | None
    good_share: float | None
    in_flight: float
    """Mean over the window."""
    latencies: Mapping[str, Distribution]
    adjusted: Mapping[str, tuple[tuple[float, float], ...]]

    @property
    def failed(self) -> int:
        return self.counted - self.ok

    @property
    def tokens_a_piece(self) -> float | None:
        return self.tokens_out / self.pieces if self.pieces and self.tokens_out else None


def figures(records: Sequence[Record], window: Window, slo: Mapping[str, float] | None = None) -> Figures:
    """`slo`: metric -> seconds."""
    inside = [record for record in records if window.counts(record)]
    counted = [record for record in inside if record.outcome != "aborted"]
    ok = [record for record in counted if record.ok]
    failed = [record for record in counted if not record.ok]
    cached = [record.tokens_cached for record in ok if record.tokens_cached is not None]
    latencies = {}
    for name, definition in DEFINITIONS.items():
        if name in _POOLED:
            values: Iterable[float] = (gap for record in ok for gap in _POOLED[name](record))
        else:
            values = (value for record in ok if (value := definition.of(record)) is not None)
        found = distribution(values)
        if found is not None:
            latencies[name] = found
    good = sum(keeps(record, slo) for record in ok) if slo else None
    return Figures(
        window=window,
        counted=len(counted),
        ok=len(ok),
        aborted=len(inside) - len(counted),
        failures=tuple(Counter(record.outcome for record in failed).most_common()),
        details=tuple(
            (*said, count) for said, count in Counter((r.outcome, _said(r)) for r in failed).most_common(10)
        ),
        tokens_in=sum(record.tokens_in or 0 for record in ok),
        tokens_out=sum(record.tokens_out or 0 for record in ok),
        tokens_cached=sum(cached) if cached else None,
        pieces=sum(len(record.content_us()) for record in ok),
        uncounted=sum(record.tokens_in is None for record in ok),
        **_rates(records, window),
        goodput_per_s=None if good is None else good / window.length_s,
        good_share=None if good is None or not counted else good / len(counted),
        latencies=latencies,
        adjusted={
            name: _adjusted(name, ok, len(failed))
            for name in ("ttft", "ttft_due", "e2e", "e2e_due")
            if name in latencies
        },
    )


def keeps(record: Record, slo: Mapping[str, float]) -> bool:
    """Every SLO is kept; one that means nothing for this request (the TPOT of one token) is."""
    return all(
        (value := DEFINITIONS[name].of(record)) is None or value <= limit for name, limit in slo.items()
    )


def _said(record: Record) -> str:
    return f"{record.status}: {record.detail}" if record.outcome == "http" else record.detail


def _adjusted(name: str, ok: Sequence[Record], failures: int) -> tuple[tuple[float, float], ...]:
    of = DEFINITIONS[name].of
    ordered = sorted(value for record in ok if (value := of(record)) is not None)
    known = [percent for percent in PERCENTS if _known(len(ordered) + failures, percent)]
    return tuple((percent, numbers.reached(ordered, failures, percent)) for percent in known)


def _rates(records: Sequence[Record], window: Window) -> dict[str, float]:
    start, end, length = window.start_us, window.end_us, window.length_s
    requests, tokens_in, tokens_out, busy_us = 0, 0, 0.0, 0
    for record in records:
        busy_us += max(0, min(record.end_us, end) - max(record.began_us, start))
        if record.outcome != OK:
            continue
        requests += start <= record.end_us < end
        content = record.content_us() or [record.end_us]
        if start <= content[0] < end:
            tokens_in += record.tokens_in or 0
        if record.tokens_out:
            crosses = content[0] < start or content[-1] >= end
            inside = sum(start <= at < end for at in content) if crosses else len(content)
            tokens_out += record.tokens_out * inside / len(content)
    return {
        "requests_per_s": requests / length,
        "tokens_in_per_s": tokens_in / length,
        "tokens_out_per_s": tokens_out / length,
        "in_flight": busy_us / 1e6 / length,
    }
