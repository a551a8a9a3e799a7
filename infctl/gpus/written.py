"""`--gpus 4xL4|h100:2|2xL4,1xH100|detect|cpu|FILE` -> cards."""

from __future__ import annotations

import re
from pathlib import Path

from infctl.errors import PlanError, UsageError
from infctl.gpus.card import GPUS_MAX, Gpu
from infctl.gpus.catalogue import lookup
from infctl.gpus.detection import detect
from infctl.gpus.profiles import unknown
from infctl.profile.values import shown

FORMS = "4xL4, h100:2, L4, 2xL4,1xH100, cpu, detect, or a file with a list of cards"

_BEFORE = re.compile(r"(?P<count>[0-9]{1,18})\s*[xX*]\s*(?P<name>[^:]+)")
_AFTER = re.compile(r"(?P<name>[^:]+?)\s*:\s*(?P<count>[0-9]{1,18})")
_ONLY_COUNT = re.compile(r"[0-9]{1,2}|[0-9]+\s*[xX*]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
_FILE = re.compile(r"[/\\]|\.(ya?ml|json|csv|txt)$")


def parse(text: str) -> tuple[Gpu, ...]:
    """Empty for `cpu`. Raises UsageError where the text says nothing, PlanError for a card nobody knows."""
    text = text.strip()
    if text.lower() in {"cpu", "none"}:
        return ()
    if text.lower() == "detect":
        return detect()
    if _FILE.search(text) or _is_file(text):
        return _from_file(text)
    names: list[str] = []
    for part in text.split(","):
        names += _names(part.strip(), text)
        if len(names) > GPUS_MAX:
            message = f"--gpus {shown(text)} names more than {GPUS_MAX} GPUs"
            raise UsageError(message, hint="one machine is planned at a time")
    problems = [unknown(name) for name in dict.fromkeys(names) if lookup(name) is None]
    if problems:
        raise PlanError("the GPUs cannot be planned", problems=problems)
    return tuple(_named(index, name) for index, name in enumerate(names))


def _names(part: str, text: str) -> list[str]:
    match = _BEFORE.fullmatch(part) or _AFTER.fullmatch(part)
    count = int(match["count"]) if match else 1
    name = (match["name"] if match else part).strip()
    if not _NAME.fullmatch(name) or _ONLY_COUNT.fullmatch(part):
        raise UsageError(f"--gpus {shown(text)} names no GPUs", hint=f"write {FORMS}")
    if not 1 <= count <= GPUS_MAX:
        raise UsageError(f"--gpus {shown(text)}: {count} GPUs", hint=f"1 to {GPUS_MAX}; for none write cpu")
    return [name] * count


def _named(index: int, name: str) -> Gpu:
    card = lookup(name)
    if card is None:
        return Gpu(index, name)
    return Gpu(
        index, card.name, memory_bytes=card.memory_bytes, nominal=card.nominal, capability=card.capability
    )


def _is_file(text: str) -> bool:
    return 0 < len(text) < 256 and "\0" not in text and Path(text).is_file()


def _from_file(name: str) -> tuple[Gpu, ...]:
    from infctl.gpus import listing  # noqa: PLC0415 - YAML and the profile's classes take half a second

    try:
        with Path(name).expanduser().open("rb") as file:
            raw = file.read(listing.BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--gpus: {shown(name)} cannot be read: {why}", hint=f"write {FORMS}") from None
    if len(raw) > listing.BYTES_MAX:
        limit = f"{listing.BYTES_MAX // 1024} KiB"
        raise UsageError(f"--gpus: {name} is longer than {limit}", hint=f"write {FORMS}")
    found = listing.read_list(raw.decode("utf-8-sig", errors="replace"), name)
    return detect() if found is None else found
