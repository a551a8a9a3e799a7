"""Memory that nothing uses, and the best that could be done with it. Pure; each proposal was planned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infctl.figure import GIB, gib
from infctl.gpus import Gpu
from infctl.plan.asks import Sizer, card_of
from infctl.plan.changes import Change, tried
from infctl.plan.draft import Draft
from infctl.plan.model import CardUse, IdleMemory
from infctl.plan.words import names, ordinal
from infctl.profile.schema import Model, Placement, Profile

LEAST_SHARE = 0.2
"""Of a card: less is what engines leave on purpose or by rounding."""
LEAST_BYTES = 2 * GIB
"""Less holds no engine worth its context."""


def idle_memory(
    profile: Profile, gpus: tuple[Gpu, ...], sizer: Sizer, found: Draft
) -> tuple[IdleMemory, ...]:
    """One a card that has memory to spare, in order of the cards."""
    idle = []
    proposed: dict[str, int] = {}
    for use in found.uses:
        if use.free_bytes < max(LEAST_BYTES, LEAST_SHARE * use.gpu.memory_bytes):
            continue
        best = _best(profile, gpus, sizer, found, use, proposed)
        if best is None:
            says = f"{_head(use)} {_why_not(sizer, found, use)}"
            idle.append(IdleMemory(use.gpu, use.free_bytes, None, 0, "", says))
        else:
            idle.append(best)
            proposed[str(best.model)] = proposed.get(str(best.model), 0) + 1
    return tuple(idle)


def _best(
    profile: Profile,
    gpus: tuple[Gpu, ...],
    sizer: Sizer,
    found: Draft,
    use: CardUse,
    proposed: dict[str, int],
) -> IdleMemory | None:
    for name in _worth_it(profile.models, found):
        model = profile.models[name]
        replicas = (model.replicas or 1) + proposed.get(name, 0) + 1
        neighbours = [r.model for r in found.replicas if use.gpu in r.gpus]
        for change in _changes(name, model, replicas, neighbours, profile.models):
            then = tried(change, profile, gpus, sizer)
            if then is None or then.failures or not _gains(found, then, name):
                continue
            return _told(use, change, then, name, replicas)
    return None


def _worth_it(models: Mapping[str, Model], found: Draft) -> Iterator[str]:
    """Models that generate and were sized: chat first, then most replicas, then profile order."""
    sized = {r.model for r in found.replicas if r.need is not None and r.need.kv is not None}
    generating = [n for n, m in models.items() if n in sized and {"chat", "text2sql"} & {*m.task}]

    def rank(name: str) -> tuple[bool, int]:
        model = models[name]
        return "chat" not in model.task, -(model.replicas or 1)

    yield from sorted(generating, key=rank)


def _changes(
    name: str, model: Model, replicas: int, neighbours: Sequence[str], models: Mapping[str, Model]
) -> Iterator[Change]:
    """From the smallest: one more; without its written place and share; without CUDA graphs."""
    more: dict[str, Any] = {"replicas": replicas}
    pinned, shared = not model.gpu.auto, model.gpu_memory_utilization is not None
    yield Change(f"replicas: {replicas}", name, more)
    if pinned:
        yield Change(f"replicas: {replicas}, gpu: auto", name, more | {"gpu": Placement()})
    without = {"gpu_memory_utilization": None}
    if shared:
        yield Change(f"replicas: {replicas}, no gpu_memory_utilization", name, more | without)
    freed = more | (without if shared else {}) | ({"gpu": Placement()} if pinned else {})
    # A neighbour's own share asks, at each of its starts, for what the new replica has taken by then.
    others = [other for other in dict.fromkeys(neighbours) if other != name]
    gated = [other for other in others if models[other].gpu_memory_utilization is not None]
    named = f" on {names([name] * shared + gated)}" if gated else ""
    says = f"replicas: {replicas}" + ", gpu: auto" * pinned
    says += f", no gpu_memory_utilization{named}" * (shared or bool(gated))
    open_ = dict.fromkeys(gated, without)
    if (pinned and shared) or gated:
        yield Change(says, name, freed, open_)
    eager = {"enforce_eager": True}
    slow = [other for other in others if not models[other].enforce_eager]
    if not slow:
        return
    beside = {other: open_.get(other, {}) | (eager if other in slow else {}) for other in others}
    yield Change(f"{says}, enforce_eager: true on {names(slow)} (slower)", name, freed, beside)
    if not model.enforce_eager:
        yield Change(
            f"{says}, enforce_eager: true on {names([name, *slow])} (slower)", name, freed | eager, beside
        )


def _gains(now: Draft, then: Draft, name: str) -> bool:
    """The model has more tokens in all, and no other model has fewer."""
    others = {replica.model for replica in now.replicas} - {name}
    return sum(then.tokens(name)) > sum(now.tokens(name)) and all(
        sum(then.tokens(other)) >= sum(now.tokens(other)) for other in others
    )


def _told(use: CardUse, change: Change, then: Draft, name: str, replicas: int) -> IdleMemory:
    held = [
        r.need.kv_tokens.expected
        for r in then.replicas
        if r.model == name and use.gpu in r.gpus and r.need is not None
    ]
    there = bool(held)
    tokens = min(held or then.tokens(name))
    says = (
        f"{_head(use)} A {ordinal(replicas)} {name} replica"
        f" fits{' there' if there else ''} with {_round(tokens):,} tokens: {change.says}"
    )
    fields = {name: change.fields, **change.beside}
    written = ", ".join(
        _written(model, key, value) for model, own in fields.items() for key, value in own.items()
    )
    return IdleMemory(use.gpu, use.free_bytes, name, tokens, written, says)


def _written(model: str, key: str, value: Any) -> str:
    path = f"models/{model}/{key}"
    if value is None:
        return f"without {path}"
    said = "auto" if isinstance(value, Placement) else str(value).lower()
    return f"{path}: {said}"


def _why_not(sizer: Sizer, found: Draft, use: CardUse) -> str:
    """What the one most worth it would need."""
    card = card_of((use.gpu,))
    asks = [sizer.ask(name, card) for name in _worth_it(sizer.models, found)] if card else []
    if not asks:
        return "No model here would gain from it"
    least = asks[0].fixed.high + asks[0].least + asks[0].headroom
    if least <= use.free_bytes:
        return "No further replica can go there as the profile is written"
    return f"No further replica fits there: {asks[0].model} needs {gib(least)} at least"


def _head(use: CardUse) -> str:
    return f"GPU {use.gpu.index} holds {gib(use.free_bytes)} that nothing uses."


def _round(tokens: int) -> int:
    """Down to hundreds: no more is known."""
    return tokens // 100 * 100 if tokens > 1000 else tokens
