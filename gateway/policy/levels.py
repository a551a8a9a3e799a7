"""Which setting holds: six levels, the first that says something wins. Pure.

    key > tenant set at run time > tenant in the profile > environment > profile default > built-in

A tenant's own figure may be above the platform's default: that is what it is for. But a key, and a model of a
tenant, are parts of their tenant: their figures never widen it, and what they do not say costs no counter of
their own. Models a key may use are those of its tenant at most.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, get_args

import msgspec

from gateway.config import AMOUNT_MAX, TENANT_NAME, Figures
from gateway.policy.limits import MEASURES, Code, Limit, key_scope, model_scope, tenant_scope

Level = Literal["key", "run_time", "tenant", "environment", "profile", "built_in"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)

NO_LIMIT: Final = "none"
NAME: Final = re.compile(TENANT_NAME)


class BadSetting(ValueError):  # noqa: N818 - it is a refusal to somebody who set it
    """What was set cannot hold; says which, and what could."""


BUILT_IN: Final = Figures(
    requests_per_second=50.0,
    burst=100,
    in_flight=120,
    tokens_per_day=10_000_000,
    requests_per_day=100_000,
    tokens_per_month=300_000_000,
)


class Held(msgspec.Struct, frozen=True):
    """A figure, and the level that set it."""

    value: float | int | str | tuple[str, ...] | None
    level: Level


def figures(data: object) -> Figures:
    """Plain data, as an admin sends it. Raises BadSetting."""
    try:
        found = msgspec.convert(data, Figures, strict=True)
    except msgspec.ValidationError as error:
        raise BadSetting(f"{error}. A limit is a whole number from 1 to {AMOUNT_MAX:,}, or none.") from None
    rate = found.requests_per_second
    if isinstance(rate, float) and not 0 < rate <= 1_000_000:  # NaN compares with nothing
        raise BadSetting(f"requests_per_second is {rate}: a number above 0, at most 1,000,000, or none.")
    return found


def tenant_name(text: str) -> str:
    """The same text. Raises BadSetting for what is no tenant's name."""
    if NAME.fullmatch(text) is None:
        shown = text if len(text) <= 64 else f"{text[:64]}..."
        raise BadSetting(
            f"{shown!r} is no tenant's name: letters, digits and . _ : @ -, at most 128, such as data-team"
            " or 10.1.4.7"
        )
    return text


def resolved(levels: Mapping[Level, Figures]) -> dict[str, Held]:
    """Each field that a level says, by the highest one. A burst goes with the rate of any level."""
    found: dict[str, Held] = {}
    for level in LEVELS:
        said = BUILT_IN if level == "built_in" else levels.get(level)
        if said is None:
            continue
        for field in Figures.__struct_fields__:
            value = getattr(said, field)
            if value is not None and field not in found:
                found[field] = Held(value, level)
    return found


def tenant_limits(tenant: str, levels: Mapping[Level, Figures]) -> tuple[Limit, ...]:
    """What holds for a tenant: `levels` without `key`."""
    held = {field: one.value for field, one in resolved({**levels, "key": Figures()}).items()}
    return _limits(held, tenant_scope(tenant), tenant)


def key_limits(tenant: tuple[Limit, ...], key_id: str, said: Figures, owner: str) -> tuple[Limit, ...]:
    """What a key adds to the `tenant`'s limits."""
    return _narrowed(_limits(_said(said), key_scope(key_id), owner), tenant)


def model_limits(
    tenant: tuple[Limit, ...], name: str, model: str, said: Figures, owner: str
) -> tuple[Limit, ...]:
    """What one model of the tenant `name` adds to its limits."""
    return _narrowed(_limits(_said(said), model_scope(name, model), owner), tenant)


def models_allowed(tenant: Mapping[Level, Figures], key: Figures | None) -> frozenset[str] | None:
    """By the names that were said; None: all of them. `tenant`: what its levels say."""
    held = resolved(tenant).get("models")
    lists = [] if held is None or not isinstance(held.value, tuple) else [frozenset(held.value)]
    if key is not None and key.models is not None:
        lists.append(frozenset(key.models))
    return frozenset.intersection(*lists) if lists else None


def _said(said: Figures) -> dict[str, object]:
    return {field: value for field in said.__struct_fields__ if (value := getattr(said, field)) is not None}


def _limits(held: Mapping[str, object], scope: str, owner: str) -> tuple[Limit, ...]:
    found = []
    for code in MEASURES:
        value = held.get(code)
        if not isinstance(value, int | float):
            continue  # not said, or "none"
        if code == "requests_per_second":
            burst = held.get("burst")
            most = burst if isinstance(burst, int) else max(1, round(value * 2))
            found.append(Limit(code, scope, most, float(value), owner))
        elif code == "tokens_per_minute":
            found.append(Limit(code, scope, int(value), value / 60, owner))
        else:
            found.append(Limit(code, scope, int(value), owner=owner))
    return tuple(found)


def _narrowed(own: tuple[Limit, ...], parents: tuple[Limit, ...]) -> tuple[Limit, ...]:
    above: dict[Code, Limit] = {limit.code: limit for limit in parents}
    found = []
    for limit in own:
        parent = above.get(limit.code)
        if parent is not None:
            limit = msgspec.structs.replace(  # noqa: PLW2901 - the same limit, narrower
                limit, amount=min(limit.amount, parent.amount), per_s=min(limit.per_s, parent.per_s)
            )
        found.append(limit)
    return tuple(found)
