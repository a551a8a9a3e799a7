"""What is to be in the store when an admin has changed something. Pure: chance and time are arguments.

Raises Refusal for what cannot be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from gateway.config import Figures
from gateway.control.changes import Change
from gateway.control.quotas import said_in
from gateway.policy import keys as making
from gateway.policy.keys import Key
from gateway.policy.levels import BadSetting, figures
from gateway.refusal import Refusal
from gateway.store.protocol import Settings

KEYS_MAX: Final = 10_000
FORGET_S: Final = 90 * 86_400.0
"""So long after its end a key is kept for people to look at; then it makes place for new ones."""

Said = dict[str, Any]
Before = Callable[[Said], Said]
"""What was said -> what is to be said."""


def limits(found: Settings, scope: str, wanted: Before) -> Change[tuple[Said, Said]]:
    """The result: what was said before and what is now."""
    before = _said(found, scope)
    after = said_in(_figures(wanted(before)))
    if after == before:
        return Change((before, after))
    text = msgspec.json.encode(after).decode() if after else None
    return Change((before, after), {scope: text})


def instead(body: Said) -> Before:
    return lambda _: body


def over(body: Said) -> Before:
    """Null takes a figure away."""
    return lambda before: before | body


def known_models(said: Figures, names: Iterable[str]) -> None:
    known = set(names)
    unknown = [name for name in said.models or () if name not in known]
    if unknown:
        shown = ", ".join(name[:64] for name in unknown[:5])
        raise bad(f"There is no model {shown}. There are: {', '.join(sorted(known))}.", "models")


def created(found: Settings, key: Key, now_s: float) -> Change[Key]:
    ended = {one.id: None for one in found.keys if _ended_s(one) <= now_s - FORGET_S}
    if len(found.keys) - len(ended) >= KEYS_MAX:
        message = f"There are {KEYS_MAX:,} keys, and no more are kept: revoke some; in 90 days they are gone."
        raise _conflict(message)
    return Change(key, {}, ended | {key.id: key})


def rotated(
    found: Settings, written: Iterable[Key], key_id: str, chance: bytes, now_s: float, overlap_s: float
) -> Change[tuple[str, Key, Key]]:
    """The result: the new key's text, the old record, the new one. `written`: keys of the profile."""
    old = _key(found, written, key_id, "rotated")
    try:
        text, left, new = making.rotated(old, chance, now_s, overlap_s)
    except BadSetting as error:
        raise _conflict(f"{error}.") from None
    return Change((text, left, new), {}, {left.id: left, new.id: new})


def revoked(found: Settings, written: Iterable[Key], key_id: str, now_s: float) -> Change[Key]:
    key = _key(found, written, key_id, "revoked")
    left = making.revoked(key, now_s)
    return Change(left, {}, {} if left == key else {left.id: left})


def bad(message: str, param: str | None = None) -> Refusal:
    return Refusal(400, "invalid_request", message, param=param)


def _conflict(message: str) -> Refusal:
    return Refusal(409, "conflict", message)


def _said(found: Settings, scope: str) -> Said:
    text = found.figures.get(scope)
    said: Said = {} if text is None else msgspec.json.decode(text)
    return said


def _figures(said: Said) -> Figures:
    try:
        return figures(said)
    except BadSetting as error:
        raise bad(f"{error}") from None


def _key(found: Settings, written: Iterable[Key], key_id: str, how: str) -> Key:
    for key in found.keys:
        if key.id == key_id:
            return key
    for key in written:
        if key.id == key_id:
            raise Refusal(
                409,
                "written_key",
                f"{key_id} is the value of {key.name}, which the profile names for {key.tenant}: it cannot be"
                f" {how} here. Change or take away {key.name} where it is set, then reload; a tenant may have"
                " several such variables while one is changed.",
                param="id",
            )
    message = "There is no key with this id. GET /admin/keys lists them: an id begins with key_."
    raise Refusal(404, "not_found", message, param="id")


def _ended_s(key: Key) -> float:
    """When it ended; inf: it has no end."""
    ends = [at_s for at_s in (key.revoked_s, key.expires_s) if at_s is not None]
    return min(ends, default=float("inf"))
