"""Which replica runs on which GPU. Pure.

By count alone: `infctl.plan.packing` looks at bytes, where the models' facts are known. Rules, in order:

1. With no GPUs (`gpus: cpu`) every replica runs on the CPU.
2. `gpu: 2` and `gpu: {uuid: ...}` are taken at their word; one card belongs to one model.
3. Models that write the same `share` are one group with one place.
4. Groups and the other models take the next free cards in profile order; a replica cut across n GPUs takes n.
5. Sharers of a card that write no `gpu_memory_utilization` get equal parts of what is left of 90 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from infctl.errors import PlanError, Problem, Where, nowhere
from infctl.gpus import Gpu
from infctl.plan.model import Plan, Replica
from infctl.profile.schema import Model, Profile

SHARED_PART = 0.90
"""Of a shared card, given to engines in all."""


@dataclass(frozen=True, slots=True)
class Group:
    """What must be placed together: one model, or the sharers of one card."""

    models: tuple[str, ...]
    width: int
    """GPUs one replica is cut across."""
    places: int
    """How often `width` cards are needed."""
    shared: bool

    @property
    def need(self) -> int:
        return self.width * self.places


def place(profile: Profile, gpus: tuple[Gpu, ...], where: Where = nowhere) -> Plan:
    """Raises PlanError with every problem, each with its place in the profile."""
    if profile.gpus.kind == "cpu":
        return Plan(tuple(Replica(service, name) for name, service in services_of(profile)))
    problems: list[Problem] = []
    groups = groups_of(profile, where, problems)
    taken = pinned_cards(profile, groups, gpus, where, problems)
    if not problems:
        problems += too_many(profile, groups, gpus, where)
    if problems:
        raise PlanError("the models do not go onto the GPUs", problems=problems)
    free = iter(gpu for gpu in gpus if gpu.index not in {g.index for cards in taken.values() for g in cards})
    for group in groups:
        if group.models[0] not in taken:
            cards = tuple(next(free) for _ in range(group.need))
            taken |= dict.fromkeys(group.models, cards)
    parts = equal_parts(profile, groups)
    replicas = []
    seen: dict[str, int] = {}
    by_model = {name: group for group in groups for name in group.models}
    for name, service in services_of(profile):
        group = by_model[name]
        start = 0 if group.shared else seen.get(name, 0) * group.width
        seen[name] = seen.get(name, 0) + 1
        replicas.append(Replica(service, name, taken[name][start : start + group.width], parts.get(name)))
    return Plan(tuple(replicas), gpus)


def service_names(name: str, model: Model) -> tuple[str, ...]:
    """`chat0`, `chat1` ... where `replicas` is written, else the model's own name."""
    return (name,) if model.replicas is None else tuple(f"{name}{n}" for n in range(model.replicas))


def services_of(profile: Profile) -> Iterator[tuple[str, str]]:
    for name, model in profile.models.items():
        for service in service_names(name, model):
            yield name, service


def groups_of(profile: Profile, where: Where, problems: list[Problem]) -> tuple[Group, ...]:
    """In profile order; a shared one stands where its first member does."""
    sharers: dict[str, list[str]] = {}
    for name, model in profile.models.items():
        if model.gpu.share is not None:
            sharers.setdefault(model.gpu.share, []).append(name)
    groups = []
    for name, model in profile.models.items():
        width = model.tensor_parallel * model.pipeline_parallel
        share = model.gpu.share
        if share is None:
            groups.append(Group((name,), width, model.replicas or 1, shared=False))
            continue
        first = sharers[share][0]
        if name == first:
            groups.append(Group(tuple(sharers[share]), width, 1, shared=True))
            continue
        head = profile.models[first]
        if width != head.tensor_parallel * head.pipeline_parallel:
            path = f"models/{name}/{'tensor_parallel' if model.tensor_parallel > 1 else 'gpu'}"
            problems.append(
                Problem(
                    f"{name} and {first} share {share}, but are cut across different numbers of GPUs",
                    path=path,
                    where=where(path),
                    hint="give both the same tensor_parallel, or places of their own",
                )
            )
    return tuple(groups)


def refuse_absent_cards(profile: Profile, gpus: tuple[Gpu, ...], where: Where) -> None:
    """Raises PlanError with every card that a model asks for by index or UUID and that is not there."""
    problems: list[Problem] = []
    pinned_cards(profile, groups_of(profile, where, problems), gpus, where, problems)
    if problems:
        raise PlanError("the models do not go onto the GPUs", problems=problems)


def pinned_cards(
    profile: Profile, groups: tuple[Group, ...], gpus: tuple[Gpu, ...], where: Where, problems: list[Problem]
) -> dict[str, tuple[Gpu, ...]]:
    """Model -> the cards it asks for by index or UUID."""
    taken: dict[str, tuple[Gpu, ...]] = {}
    owner: dict[int, str] = {}
    by_index = {gpu.index: gpu for gpu in gpus}
    for group in groups:
        name = group.models[0]
        wish = profile.models[name].gpu
        path = f"models/{name}/gpu"

        def refuse(message: str, hint: str, path: str = path) -> None:
            problems.append(Problem(message, path=path, where=where(path), hint=hint))

        there = ", ".join(str(gpu.index) for gpu in gpus) or "none"
        if wish.uuid is not None:
            card = next((gpu for gpu in gpus if gpu.uuid == wish.uuid), None)
            if card is None:
                known = ", ".join(gpu.uuid for gpu in gpus if gpu.uuid) or "no UUID is known here"
                refuse(f"no GPU has the UUID {wish.uuid}", f"there are: {known}")
                continue
            if group.need > 1:
                refuse(f"{name} needs {group.need} GPUs, and a UUID names one", "write the first one's index")
                continue
            cards = [card]
        elif wish.index is not None:
            wanted = range(wish.index, wish.index + group.need)
            missing = [str(index) for index in wanted if index not in by_index]
            if missing:
                refuse(
                    f"{name} asks for GPU {', '.join(missing)}, which does not exist", f"there are: {there}"
                )
                continue
            cards = [by_index[index] for index in wanted]
        else:
            continue
        clash = next((card.index for card in cards if card.index in owner), None)
        if clash is not None:
            refuse(
                f"GPU {clash} is taken by {owner[clash]}",
                "models that share a GPU both write gpu: {share: NAME}",
            )
            continue
        owner |= dict.fromkeys((card.index for card in cards), name)
        taken[name] = tuple(cards)
    return taken


def too_many(
    profile: Profile, groups: tuple[Group, ...], gpus: tuple[Gpu, ...], where: Where
) -> list[Problem]:
    """The model that asks for most is told, and what the others take; empty where there are cards enough."""
    if sum(group.need for group in groups) <= len(gpus):
        return []
    worst = max(groups, key=lambda group: group.need)
    others = [group for group in groups if group is not worst]
    left = len(gpus) - sum(group.need for group in others)
    name = worst.models[0]
    model = profile.models[name]
    if (model.replicas or 1) > 1:
        what, path = f"{model.replicas} replicas of {name} need", f"models/{name}/replicas"
        each = "" if worst.width == 1 else f", {worst.width} GPUs each"
        hint = (
            f"{left // worst.width} {'fits' if left // worst.width == 1 else 'fit'}{each}"
            if left >= worst.width
            else ""
        )
    elif worst.width > 1:
        key = "tensor_parallel" if model.tensor_parallel > 1 else "pipeline_parallel"
        what, path, hint = f"{name} needs", f"models/{name}/{key}", ""
    else:
        what, path, hint = (
            f"{', '.join(worst.models)} need{'s' * (len(worst.models) == 1)}",
            f"models/{name}/gpu",
            "",
        )
    message = f"{what} {_gpus(worst.need)}, {len(gpus)} exist{'s' * (len(gpus) == 1)}"
    if others:
        by = ", ".join(member for group in others for member in group.models)
        count = sum(group.need for group in others)
        message += f" and {count} {'is' if count == 1 else 'are'} taken by {by}"
    hint = hint or "small models can share one: gpu: {share: NAME} on each"
    return [Problem(message, path=path, where=where(path), hint=hint)]


def _gpus(number: int) -> str:
    return f"{number} GPU{'s' * (number != 1)}"


def equal_parts(profile: Profile, groups: tuple[Group, ...]) -> dict[str, float]:
    """Model -> its replicas' equal part of a shared card, where the profile leaves it open."""
    parts: dict[str, float] = {}
    for group in groups:
        counts = {name: profile.models[name].replicas or 1 for name in group.models}
        if not group.shared or sum(counts.values()) == 1:
            continue
        written = {name: profile.models[name].gpu_memory_utilization for name in group.models}
        left = SHARED_PART - sum((share or 0.0) * counts[name] for name, share in written.items())
        open_ = [name for name in group.models if written[name] is None]
        if open_:
            part = math.floor(left / sum(counts[name] for name in open_) * 1000) / 1000
            parts |= dict.fromkeys(open_, max(part, 0.01))
    return parts
