"""What a plan promised, what a run measured of it, and what the settings might better be. Pure.

Every suggestion has its evidence: figures of the run. Without a look at the engine (its /metrics in the same
run) there is none for its settings; without SLOs limits are those of what was served, and it says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infctl.bench.sweep import KEPT_SHARE

FULL, ROOMY = 0.95, 0.80
"""Shares of the KV cache: above the first it is the limit, below the second it is not."""
OFTEN, SELDOM = 0.20, 0.01
"""Shares of the engine's steps that are filled for more than half."""
STALL = 4.0
"""A pause between tokens (p99) of so many usual ones is a prompt that was computed in between."""
SEQS_MOST, BATCH_MOST, BATCH_LEAST = 1024, 32_768, 512
HEADROOM = 1.2
"""Of a limit over what was measured at the greatest load that kept the SLOs."""


@dataclass(frozen=True, slots=True)
class Planned:
    """Of one model; figures of each replica."""

    model: str
    replicas: int
    kv_tokens: int | None = None
    """None: it keeps no KV cache, or was not sized."""
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    in_flight: int | None = None
    """Of one tenant, like the two below."""
    requests_per_second: float | None = None
    tokens_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one run, as result.json has it; figures of the engine are of each replica."""

    id: str
    requests_per_s: float
    tokens_per_s: float
    """In and out."""
    in_flight: float
    tokens_a_request: float | None
    good_share: float | None
    ttft_ms: float | None
    """Mean, like queue_ms and prefill_ms, by the engine."""
    queue_ms: float | None
    prefill_ms: float | None
    itl_p50_ms: float | None
    itl_p99_ms: float | None
    kv_tokens: float | None
    kv_most: float | None
    running_most: float | None
    waiting_most: float | None
    preemptions: float | None
    step_tokens: float | None
    """Mean of the engine's steps."""
    steps_up_to: Mapping[float, float]
    """Bound -> share of the steps that had at most so many tokens."""

    @property
    def looked(self) -> bool:
        """The engine was looked at while it ran."""
        return self.running_most is not None

    def filled(self, cap: int) -> float | None:
        """Share of the steps with more than half of `cap`, as near as the bounds allow."""
        below = [bound for bound in self.steps_up_to if bound <= cap / 2]
        return 1 - self.steps_up_to[max(below)] if below else None


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    planned: float | None
    measured: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Suggestion:
    setting: str
    """As a profile has it: `models.chat.max_num_seqs`."""
    now: float | None
    value: float | None
    """None: leave it."""
    evidence: str


def seen(result: Mapping[str, Any], replicas: int) -> Seen:
    """From result.json. Of an invalid run there is nothing to see: Raises ValueError."""
    figures = result["figures"]
    if figures is None:
        raise ValueError("it does not measure the server (invalid)")
    server = result.get("server") or {}
    engines = server.get("engines") or replicas
    latencies, ok = figures["latencies_ms"], figures["ok"]
    steps = server.get("steps") or {}
    count = steps.get("count") or 0.0

    def each(name: str) -> float | None:
        told = server.get(name)
        return told["most"] / engines if told else None

    blocks, size = server.get("kv_blocks"), server.get("kv_block_size")
    # vLLM's own word first: where layers share blocks, blocks times their size is another number.
    tokens = server.get("kv_tokens") or (blocks * size if blocks and size else None)
    kv = server.get("kv_use")
    return Seen(
        id=result["id"],
        requests_per_s=figures["requests_per_s"],
        tokens_per_s=figures["tokens_in_per_s"] + figures["tokens_out_per_s"],
        in_flight=figures["in_flight"],
        tokens_a_request=(figures["tokens_in"] + figures["tokens_out"]) / ok if ok else None,
        good_share=figures["good_share"],
        ttft_ms=server.get("ttft_ms"),
        queue_ms=server.get("queue_ms"),
        prefill_ms=server.get("prefill_ms"),
        itl_p50_ms=latencies.get("itl", {}).get("p50"),
        itl_p99_ms=latencies.get("itl", {}).get("p99"),
        kv_tokens=tokens / engines if tokens else None,
        kv_most=kv["most"] if kv else None,
        running_most=each("running"),
        waiting_most=each("waiting"),
        preemptions=server.get("preemptions"),
        step_tokens=steps.get("mean_tokens"),
        steps_up_to={float(bound): share / count for bound, share in (steps.get("up_to") or {}).items()},
    )


def fits(planned: Planned, one: Seen) -> int | None:
    """Requests of the run's length that the KV cache of a replica holds at once; at their longest."""
    tokens = one.kv_tokens or planned.kv_tokens
    if not tokens or not one.tokens_a_request:
        return None
    return max(1, math.floor(tokens / one.tokens_a_request))


def table(planned: Planned, one: Seen) -> list[Row]:
    room = fits(planned, one)
    whole = planned.kv_tokens / planned.max_model_len if planned.kv_tokens and planned.max_model_len else None
    filled = one.filled(planned.max_num_batched_tokens) if planned.max_num_batched_tokens else None
    return [
        Row("KV tokens, a replica", planned.kv_tokens, one.kv_tokens),
        Row("requests at once that fit", whole, room, "each of max_model_len; of this run's length"),
        Row("requests at once, at most", planned.max_num_seqs, one.running_most, "max_num_seqs; a replica"),
        Row(
            "tokens a step",
            planned.max_num_batched_tokens,
            one.step_tokens,
            "max_num_batched_tokens; the mean"
            + ("" if filled is None else f", {filled:.0%} of the steps more than half full"),
        ),
        Row("in flight", planned.in_flight, one.in_flight, "limit of one tenant; mean of the run"),
        Row("requests a second", planned.requests_per_second, one.requests_per_s, "limit of one tenant"),
        Row("tokens a minute", planned.tokens_per_minute, one.tokens_per_s * 60, "limit of one tenant"),
    ]


def suggestions(planned: Planned, runs: Sequence[Seen]) -> list[Suggestion]:
    """`runs`: of one server, at one load or several; the heaviest that looked at the engine speaks for it."""
    looked = [one for one in runs if one.looked]
    found: list[Suggestion] = []
    if looked:
        heaviest = max(looked, key=lambda one: one.in_flight)
        found += _seqs(planned, heaviest)
        found += _batch(planned, heaviest)
    return [*found, *_limits(planned, runs)]


def _seqs(planned: Planned, one: Seen) -> Iterator[Suggestion]:
    name, now = f"models.{planned.model}.max_num_seqs", planned.max_num_seqs
    room, ran, kv = fits(planned, one), one.running_most or 0.0, one.kv_most or 0.0
    if now is None or room is None:
        return
    length = f"requests of {one.tokens_a_request:,.0f} tokens"
    if one.preemptions and room < now:
        yield Suggestion(
            name,
            now,
            room,
            f"{one.preemptions:,.0f} preemptions, each computed its prompt again: the KV cache holds {room:,}"
            f" {length} at once, and was {kv:.0%} full",
        )
    elif one.waiting_most and ran >= now and kv < ROOMY and room > now:
        value = min(room, now * 2, SEQS_MOST)
        yield Suggestion(
            name,
            now,
            value,
            f"all {now} places were taken and {one.waiting_most:,.0f} waited, while the KV cache was {kv:.0%}"
            f" full at most: it holds {room:,} {length}",
        )
    elif one.waiting_most and kv >= FULL:
        yield Suggestion(
            name,
            now,
            None,
            f"{one.waiting_most:,.0f} waited, and the KV cache was {kv:.0%} full: more places hold no more;"
            " more memory for it, shorter contexts or another replica do",
        )
    else:
        yield Suggestion(
            name,
            now,
            None,
            f"{ran:,.0f} of {now} places were taken at most, the KV cache was {kv:.0%} full, and"
            f" {one.waiting_most or 0:,.0f} waited: this load says nothing against it",
        )


def _batch(planned: Planned, one: Seen) -> Iterator[Suggestion]:
    name, now = f"models.{planned.model}.max_num_batched_tokens", planned.max_num_batched_tokens
    filled = one.filled(now) if now else None
    if now is None or filled is None:
        return
    steps = (
        f"{filled:.0%} of the steps were more than half full (mean {one.step_tokens:,.0f} of {now:,} tokens)"
    )
    before = (one.queue_ms or 0.0) + (one.prefill_ms or 0.0)
    waits = bool(one.ttft_ms) and before > 0.5 * (one.ttft_ms or 0.0)
    stalls = bool(one.itl_p50_ms and one.itl_p99_ms and one.itl_p99_ms > STALL * one.itl_p50_ms)
    least = max(BATCH_LEAST, planned.max_num_seqs or 0)
    if filled > SELDOM and stalls and now // 2 >= least:
        yield Suggestion(
            name,
            now,
            now // 2,
            f"between tokens it took {one.itl_p99_ms:,.0f} ms at p99 and {one.itl_p50_ms:,.0f} at p50:"
            f" prompts stand in between; {steps}. The TTFT will rise",
        )
    elif filled > OFTEN and waits and not stalls and now * 2 <= BATCH_MOST:
        yield Suggestion(
            name,
            now,
            now * 2,
            f"{steps}, and of the TTFT of {one.ttft_ms:,.0f} ms {before:,.0f} were queue and prefill; the"
            " pauses between tokens are even",
        )
    else:
        yield Suggestion(name, now, None, f"{steps}: nothing speaks for another")


def _limits(planned: Planned, runs: Sequence[Seen]) -> Iterator[Suggestion]:
    """Of a tenant that has the platform to itself: what was served while the SLOs were kept.

    A lower limit than now takes a heavier run that did not keep them; without one, more might be served.
    """
    judged = [one for one in runs if one.good_share is not None]
    kept = [one for one in judged if (one.good_share or 0.0) >= KEPT_SHARE]
    if not kept:
        share = max((one.good_share or 0.0 for one in judged), default=0.0)
        why = f"no run kept its SLOs ({share:.0%} of the requests at best): a smaller load says more"
        none = "no run had SLOs, so nothing says what may be promised: infctl bench sweep --slo ttft=500"
        yield Suggestion("gateway.limits", None, None, why if judged else none)
        return
    best = max(kept, key=lambda run: run.requests_per_s)
    edge = any(one.in_flight > best.in_flight for one in judged if one not in kept)
    why = f"{best.good_share:.1%} kept the SLOs, at the greatest load that did" + (
        "" if edge else "; no heavier load was measured"
    )
    minute = best.tokens_per_s * 60
    for name, now, measured, what in (
        ("in_flight", planned.in_flight, best.in_flight, f"{best.in_flight:.1f} were in flight"),
        (
            "requests_per_second",
            planned.requests_per_second,
            best.requests_per_s,
            f"{best.requests_per_s:.3g} requests/s were served",
        ),
        (
            "tokens_per_minute",
            planned.tokens_per_minute,
            minute,
            f"{minute:,.0f} tokens a minute, in and out, were served",
        ),
    ):
        room = measured * HEADROOM
        value = float(math.ceil(room)) if name == "in_flight" else _round(room)
        near = now is not None and 1 / HEADROOM <= now / value <= HEADROOM
        lower = now is None or value < now
        leave = near or (lower and not edge)
        more = "" if leave else f"; {HEADROOM - 1:.0%} more is room enough"
        yield Suggestion(f"gateway.limits.{name}", now, None if leave else value, f"{what}; {why}{more}")


def _round(value: float) -> float:
    """Two digits: it is no more exact than that."""
    if value <= 0:
        return 1.0
    digits = math.floor(math.log10(value)) - 1
    return round(value / 10**digits) * 10**digits if digits >= 0 else round(value, -digits)
