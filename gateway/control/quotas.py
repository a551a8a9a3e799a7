"""Whose limits stand where, as plain data: the counts of the store beside what is set for whom. Pure.

settled   used, of what was granted to workers; reported within a second
leased    held by workers for requests that are under way or to come; it counts as used until it is given back
left      what nobody holds: limit - settled - leased; of a rate, what could be taken now
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gateway.config import Config, Figures
from gateway.identify import Tenancy
from gateway.policy import levels
from gateway.policy.exchange import Overview
from gateway.policy.keys import Key
from gateway.policy.levels import Held
from gateway.policy.limits import MEASURES, Limit, model_scope, tenant_scope
from gateway.policy.window import window

Row = dict[str, Any]

NO_COUNT = Overview("", "", 0, 0, 0)


class Counts(msgspec.Struct, frozen=True):
    """What is counted, at one moment."""

    clock_s: float
    """The store's, Unix."""
    seen: Mapping[str, Overview]
    """By counter, in the window that is open."""
    rates: Mapping[str, float] = {}
    """What is left of the rates that one worker keeps to itself, by counter."""
    slots: Mapping[str, int] = {}
    """... and how many requests it has under way."""


class Rules:
    """Who may use how much, and who said so."""

    def __init__(
        self,
        config: Config,
        tenancy: Tenancy,
        figures: Mapping[str, Figures],
        keys: Iterable[Key],
        by_environment: Collection[str] = (),
    ) -> None:
        """`figures`: set at run time, by scope. `keys`: of run time and of the profile. `by_environment`:
        limits of all tenants that a variable has set.
        """
        self.config = config
        self.tenancy = tenancy
        self.figures = figures
        self.by_environment = by_environment
        self.keys: dict[str, list[Key]] = {}
        for key in keys:
            self.keys.setdefault(key.tenant, []).append(key)
        self.models: dict[str, list[str]] = {}
        """Of whom something is said of single models."""
        for scope in sorted(figures):
            if scope.startswith("model:"):
                tenant, model = model_of(scope)
                self.models.setdefault(tenant, []).append(model)


def names(rules: Rules, counts: Counts) -> list[str]:
    """Every tenant that is configured, has a key, has something set for it, or has used something."""
    found = {*rules.config.tenants, *rules.keys}
    scopes = {*rules.figures, *(counter.partition("|")[2] for counter in (*counts.seen, *counts.slots))}
    found |= {tenant for scope in scopes if (tenant := tenant_of(scope)) is not None}
    return sorted(found)


def tenant_of(scope: str) -> str | None:
    """None: it is a key's."""
    kind, _, rest = scope.partition(":")
    if kind == "tenant":
        return rest
    if kind == "model":
        return model_of(scope)[0]
    return None


def model_of(scope: str) -> tuple[str, str]:
    """Tenant and model of a scope of `limits.model_scope`."""
    size, _, rest = scope.removeprefix("model:").partition(":")
    return rest[: int(size)], rest[int(size) + 1 :]


def document(rules: Rules, counts: Counts, tenant: str, refused: Mapping[str, int]) -> Row:
    """`refused`: by the limit that was reached."""
    said = rules.tenancy.levels(tenant)
    held = {name: _by_environment(one, name, rules) for name, one in levels.resolved(said).items()}
    whole = levels.tenant_limits(tenant, said)
    written = {limit.code: limit for limit in whole}
    rows = [
        row(limit, held[code].level, counts)
        if (limit := written.get(code)) is not None
        else no_limit(code, held[code].level)
        for code in MEASURES
        if code in held
    ]
    models = held.get("models")
    return {
        "tenant": tenant,
        "known_by": list(_known_by(rules, counts, tenant)),
        "limits": rows,
        "models": None if models is None else models.value,
        "by_key": [
            _part(
                {"key": key.id, "name": key.name}, levels.key_limits(whole, key.id, key.figures, ""), counts
            )
            | {"models": key.figures.models}
            for key in rules.keys.get(tenant, ())
            if key.figures != Figures() and key.holds(counts.clock_s)
        ],
        "by_model": [
            _part({"model": model}, levels.model_limits(whole, tenant, model, said_of, ""), counts)
            for model in rules.models.get(tenant, ())
            for said_of in (rules.figures[model_scope(tenant, model)],)
        ],
        "set_at_run_time": said_in(rules.figures.get(tenant_scope(tenant), Figures())),
        "refused": dict(refused),
    }


def row(limit: Limit, level: str, counts: Counts) -> Row:
    """One limit, and where it stands."""
    measure, now = limit.measure, counts.clock_s
    seen = counts.seen.get(limit.counter, NO_COUNT)
    settled, leased, resets_at = seen.settled, seen.leased, None
    if measure.kind == "rate":
        left = _level(limit, seen, counts)
        resets_at = now + (limit.amount - leased - left) / limit.per_s
        settled, left = 0, math.floor(left + 1e-6)
    else:
        leased += counts.slots.get(limit.counter, 0)
        left = limit.amount - settled - leased
        if measure.span is not None:
            resets_at = window(measure.span, now).end_s
    return {
        "code": limit.code,
        "limit": limit.amount,
        "per_s": limit.per_s if measure.kind == "rate" else None,
        "level": level,
        "settled": settled,
        "leased": leased,
        "unknown": seen.unknown,
        "left": max(0, left),
        "resets_at": None if resets_at is None else round(resets_at, 3),
        "reset_s": None if resets_at is None else round(max(0.0, resets_at - now), 3),
    }


def no_limit(code: str, level: str) -> Row:
    """Said to be none: nothing is counted."""
    return {"code": code, "limit": None, "per_s": None, "level": level} | dict.fromkeys(
        ("settled", "leased", "unknown", "left", "resets_at", "reset_s")
    )


def said_in(figures: Figures) -> Row:
    """What it says, and nothing of what it does not."""
    found = msgspec.to_builtins(figures)
    return {name: value for name, value in found.items() if value is not None}


def summed(overviews: Iterable[Overview]) -> dict[str, Overview]:
    """By counter: of each, one window is open."""
    return {one.counter: one for one in overviews}


def refusals(requests: Mapping[tuple[str, ...], Sequence[float]]) -> dict[str, dict[str, int]]:
    """Of the request metric's series, by tenant and by the limit that was reached."""
    found: dict[str, dict[str, int]] = {}
    for (tenant, _, _, outcome, reason), (count, *_) in requests.items():
        if outcome == "refused" and reason in MEASURES:
            of = found.setdefault(tenant, {})
            of[reason] = of.get(reason, 0) + int(count)
    return found


def _level(limit: Limit, seen: Overview, counts: Counts) -> float:
    """What could be taken of a rate now, beside what is leased."""
    own = counts.rates.get(limit.counter)
    if own is not None:
        return own
    most = float(limit.amount - seen.leased)
    if seen.level < 0:
        return most
    return min(most, seen.level + max(0.0, counts.clock_s - seen.at_s) * limit.per_s)


def _part(who: Row, limits: Iterable[Limit], counts: Counts) -> Row:
    level = "key" if "key" in who else "run_time"
    return who | {"limits": [row(limit, level, counts) for limit in limits]}


def _known_by(rules: Rules, counts: Counts, tenant: str) -> Iterator[str]:
    if tenant in rules.config.tenants:
        yield "profile"
    if tenant_scope(tenant) in rules.figures or tenant in rules.models:
        yield "run_time"
    if tenant in rules.keys:
        yield "key"
    if any(f"{code}|{tenant_scope(tenant)}" in counts.seen for code in MEASURES):
        yield "counts"


def _by_environment(held: Held, name: str, rules: Rules) -> Held:
    """The files and the environment are one level by the time they are read; people want to know which."""
    if held.level == "profile" and name in rules.by_environment:
        return Held(held.value, "environment")
    return held
