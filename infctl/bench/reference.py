"""What the reference platform's page claims, beside what was measured. Pure.

The page ("Performance Benchmarks", expected on 4 x L4) says neither lengths nor load. Taken here: prompts of
256 tokens and answers of 64, by 120 users at once, each of whom asks again when answered; requests a second
with the shortest there are, 16 in and 1 out. "Excluding generation time" is up to the first token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CARD, CARDS = "L4", 4
USERS = 120
HOLDS, BEYOND, SHORT, NOT_MEASURED = "holds", "better", "short", "not measured"


@dataclass(frozen=True, slots=True)
class Load:
    """One run of the reference."""

    name: str
    lengths_in: str
    lengths_out: str
    what: str


USERS_LOAD = Load("users", "256", "64", f"{USERS} users at once, 256 tokens in, 64 out")
SHORT_LOAD = Load("requests", "16", "1", f"{USERS} users at once, 16 tokens in, 1 out")


@dataclass(frozen=True, slots=True)
class Claim:
    name: str
    said: str
    """As the page has it."""
    least: float | None = None
    most: float | None = None
    unit: str = ""
    load: Load = USERS_LOAD
    of_hardware: bool = True
    """False: a limit of the gateway, which holds or does not on any hardware, and with short answers too."""


CLAIMS = (
    Claim("tokens a second, a GPU", "50-100", least=50.0, unit="tokens/s"),
    Claim("requests a second", "100-200", least=100.0, unit="requests/s", load=SHORT_LOAD),
    Claim("latency p50, without generation", "< 500 ms", most=500.0, unit="ms"),
    Claim("latency p95, without generation", "< 2 s", most=2000.0, unit="ms"),
    Claim("users at once, of one address", "120", least=USERS, unit="users", of_hardware=False),
)
_UPPER = {"tokens a second, a GPU": 100.0, "requests a second": 200.0}


@dataclass(frozen=True, slots=True)
class Hardware:
    """Behind the address that is measured."""

    cards: tuple[str, ...] = ()
    """Names; empty: none, or nobody knows."""
    of_model: int | None = None
    """Cards that serve the measured model; None: nobody knows."""
    known: bool = True

    @property
    def is_reference(self) -> bool:
        return len(self.cards) == CARDS and all(card == CARD for card in self.cards)

    def __str__(self) -> str:
        if not self.known:
            return "unknown hardware"
        if not self.cards:
            return "a CPU"
        kinds = {card: self.cards.count(card) for card in self.cards}
        return ", ".join(f"{count} x {card}" for card, count in kinds.items())


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one claim."""

    claim: Claim
    here: float | None
    """What was measured on the hardware that is here; None: nothing was."""
    grade: str
    """holds, better (than the page's upper figure), short, not measured."""
    why: str

    @property
    def measured(self) -> float | None:
        return None if self.grade == NOT_MEASURED else self.here


def loads(hardware: Hardware) -> tuple[Load, ...]:
    """Without a GPU 120 users with answers of 64 tokens are a matter of hours: the short ones alone."""
    return (USERS_LOAD, SHORT_LOAD) if hardware.cards or not hardware.known else (SHORT_LOAD,)


def outcomes(runs: Mapping[str, Mapping[str, Any] | None], hardware: Hardware) -> tuple[Outcome, ...]:
    """`runs`: by the load's name its figures as in result.json; None: they are not the server's."""
    return tuple(_outcome(claim, runs, hardware) for claim in CLAIMS)


def _outcome(claim: Claim, runs: Mapping[str, Mapping[str, Any] | None], hardware: Hardware) -> Outcome:
    load = claim.load if claim.load.name in runs or claim.of_hardware else SHORT_LOAD
    if load.name not in runs:
        return Outcome(claim, None, NOT_MEASURED, f"it takes {CARDS} x {CARD}, here is {hardware}")
    figures = runs[load.name]
    if figures is None:
        return Outcome(claim, None, NOT_MEASURED, "that run does not measure the server: see its verdict")
    here, why = _figure(claim, figures, hardware, load.what)
    if claim.of_hardware and not hardware.is_reference:
        return Outcome(claim, here, NOT_MEASURED, f"it takes {CARDS} x {CARD}, here is {hardware}")
    if here is None:
        return Outcome(claim, None, NOT_MEASURED, why)
    short = (claim.least is not None and here < claim.least) or (claim.most is not None and here > claim.most)
    upper = _UPPER.get(claim.name)
    grade = SHORT if short else BEYOND if upper is not None and here > upper else HOLDS
    return Outcome(claim, here, grade, why)


def _figure(
    claim: Claim, figures: Mapping[str, Any], hardware: Hardware, load: str
) -> tuple[float | None, str]:
    if claim.unit == "tokens/s":
        if not hardware.of_model:
            return None, "nobody knows how many GPUs serve this model"
        per_s: float = figures["tokens_out_per_s"]
        return per_s / hardware.of_model, f"{load}: {per_s:,.1f} tokens/s on {hardware.of_model}"
    if claim.unit == "requests/s":
        return figures["requests_per_s"], f"{load}{_refused(figures)}"
    if claim.unit == "users":
        failed, counted = figures["failed"], figures["counted"]
        together: float = figures["in_flight"]
        if failed:
            share = failed / counted if counted else 1.0
            return together * (1 - share), f"{load}{_refused(figures)}"
        # A closed loop is short of its users for as long as it takes to send the next request.
        return float(USERS) if together > 0.9 * USERS else together, f"{load}: none was refused"
    spread = figures["latencies_ms"].get("ttft", {})
    value = spread.get("p50" if "p50" in claim.name else "p95")
    return value, f"{load}, to the first token" if value is not None else "too few requests"


def _refused(figures: Mapping[str, Any]) -> str:
    """What failed, in the server's words: a limit of one address may be below a claim of all together."""
    if not figures["failed"]:
        return ""
    worst = next((row["said"] for row in figures["details"] if row["said"]), "")
    said = f" ({worst[:90]})" if worst else ""
    return f"; {figures['failed']:,} of {figures['counted']:,} failed{said}"


def falls_short(found: Sequence[Outcome]) -> bool:
    return any(outcome.grade == SHORT for outcome in found)
