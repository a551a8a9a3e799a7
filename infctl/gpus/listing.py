"""A file of cards: the value of a profile's `gpus` as YAML or JSON, or what nvidia-smi printed. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from pydantic import ValidationError

from infctl.errors import Location, PlanError, Problem
from infctl.gpus.card import GPUS_MAX, Gpu
from infctl.gpus.catalogue import lookup
from infctl.gpus.detection import as_measured
from infctl.gpus.profiles import listed, unknown
from infctl.gpus.smi import QUERY, read_smi
from infctl.profile import data as filled
from infctl.profile.mistakes import words
from infctl.profile.schema import Gpus
from infctl.profile.tree import Unreadable, read

BYTES_MAX = 256 * 1024
"""Of the file. Sixty-four cards are 8 KiB."""

Moved = Callable[[Location | None], Location | None]

_UNDER_GPUS = re.compile(r"(?:\s|#[^\n]*\n|---[^\n]*\n)*(gpus\s*:|\"gpus\"\s*:|\{)")
_SMI = re.compile(r"\s*(index\s*,|\d+\s*,\s*(GPU|MIG)-)")


def read_list(text: str, name: str) -> tuple[Gpu, ...] | None:
    """The cards; None where the file says `detect`. Raises PlanError with the place of all that is wrong."""
    if not text.strip():
        raise _wrong(name, [Problem("the file is empty", where=Location(name, 1, 1))])
    if _SMI.match(text):
        return _from_smi(text, name)
    body, moved = _as_profile(text)
    try:
        tree, found = read(body, name)
    except Unreadable as error:
        raise _wrong(name, [_moved(error.problem, moved)]) from None
    data = filled.fill_in(tree, {}, "")
    problems = [*found, *data.problems]
    gpus = _checked(data, problems)
    if gpus is None or problems:
        raise _wrong(name, [_moved(problem, moved) for problem in problems])
    if gpus.kind != "listed":
        return () if gpus.kind == "cpu" else None
    _no_twins([device.index for device in gpus.devices if device.index is not None], name)
    return listed(gpus.devices, lambda path: moved(data.where(path)))


def _from_smi(text: str, name: str) -> tuple[Gpu, ...]:
    cards = read_smi(text)
    if not cards:
        raise _wrong(name, [Problem("no line names a GPU", where=Location(name, 1, 1))])
    unsized = [card.name for card in cards if not card.memory_bytes and lookup(card.name) is None]
    if unsized:
        raise PlanError("the GPUs cannot be planned", problems=[unknown(unsized[0])])
    if len(cards) > GPUS_MAX:
        raise _wrong(name, [Problem(f"{len(cards)} GPUs are listed", hint=f"at most {GPUS_MAX}")])
    _no_twins([card.index for card in cards], name)
    return tuple(as_measured(card) for card in cards)


def _no_twins(indexes: list[int], name: str) -> None:
    for number in sorted(set(indexes)):
        if indexes.count(number) > 1:
            raise PlanError(f"{name} lists GPU {number} twice", hint="give each an index of its own")


def _as_profile(text: str) -> tuple[str, Moved]:
    """The list as a profile writes it, under `gpus`, so that errors have the same words; and the way back."""
    if _UNDER_GPUS.match(text):
        return text, lambda where: where
    if not re.match(r"\s*\[", text):
        # Indented, so that a bare `4xL4` is a value too.
        inside = "".join(f" {line}" for line in text.splitlines(keepends=True))
        return (
            f"gpus:\n{inside}",
            lambda where: (
                where and replace(where, line=max(1, where.line - 1), column=max(1, where.column - 1))
            ),
        )
    start = len(text) - len(text.lstrip())
    line = text.count("\n", 0, start) + 1

    def back(where: Location | None) -> Location | None:
        if where is None or where.line != line:
            return where
        return replace(where, column=max(1, where.column - len("gpus: ")))

    return f"{text[:start]}gpus: {text[start:]}", back


def _checked(data: filled.Data, problems: list[Problem]) -> Gpus | None:
    try:
        return Gpus.model_validate(data.value.get("gpus", ""))
    except ValidationError as error:
        for one in error.errors(include_url=False):
            place = data.place(("gpus", *one["loc"]))
            message, hint = words(one, place.schema, key=place.is_key)
            problems.append(Problem(message, "/".join(place.path), data.location(place, one["type"]), hint))
        return None


def _moved(problem: Problem, moved: Moved) -> Problem:
    return replace(problem, where=moved(problem.where))


def _wrong(name: str, problems: list[Problem]) -> PlanError:
    return PlanError(
        f"{name} lists no GPUs that can be planned",
        problems=problems,
        hint="a list such as [{name: L4}, {name: H100, memory: 79GiB}],"
        f" or what nvidia-smi --query-gpu={QUERY} --format=csv prints",
    )
