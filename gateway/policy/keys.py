"""API keys: what is kept of one, and whether one that was sent holds. Pure; chance and time are arguments.

    created ->  active  -> rotated: the old one works on for an overlap, then it is expired
                        -> expired: its time is over
                        -> revoked: at once

A key is shown once. What is kept is its SHA-256: of 32 random bytes there is nothing to guess, so no salt and
no slow hash is needed, and a look-up by the hash tells nothing by its time: who does not know the key cannot
steer its hash.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final, Literal

import msgspec

from gateway.config import Figures
from gateway.policy.levels import BadSetting

State = Literal["active", "rotated", "expired", "revoked"]

PREFIX: Final = "ik-"
SECRET_BYTES: Final = 32
SHOWN_CHARS: Final = 10
"""Of the key's text, kept for people: 42 bits of 256."""
OVERLAP_MAX_S: Final = 30 * 86_400
NAME_CHARS: Final = 128


class Key(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    """Ours, for logs, limits and audit; gives nothing away."""
    tenant: str
    digest: str
    """SHA-256 of the key's text, in hex."""
    shown: str
    """How it begins, for people."""
    name: str = ""
    """What somebody called it."""
    created_s: float
    """Unix seconds, as all of these."""
    expires_s: float | None = None
    rotated_s: float | None = None
    """A successor was made then; `expires_s` is the overlap's end."""
    successor: str | None = None
    revoked_s: float | None = None
    figures: Figures = Figures()
    """Its own limits, and the models it may use."""

    def state(self, clock_s: float) -> State:
        if self.revoked_s is not None:
            return "revoked"
        if self.expires_s is not None and clock_s >= self.expires_s:
            return "expired"
        return "active" if self.successor is None else "rotated"

    def holds(self, clock_s: float) -> bool:
        return self.revoked_s is None and (self.expires_s is None or clock_s < self.expires_s)


def digest_of(text: bytes) -> bytes:
    return sha256(text).digest()


def created(
    tenant: str,
    chance: bytes,
    now_s: float,
    *,
    name: str = "",
    expires_s: float | None = None,
    figures: Figures | None = None,
) -> tuple[str, Key]:
    """The key's text, to be shown once, and what is kept. `chance`: SECRET_BYTES of it. Raises BadSetting."""
    if len(chance) != SECRET_BYTES:
        raise ValueError(f"{len(chance)} bytes of chance: {SECRET_BYTES} are needed")
    if len(name) > NAME_CHARS or not name.isprintable():
        raise BadSetting(f"a key's name is at most {NAME_CHARS} printable characters")
    if expires_s is not None and not now_s < expires_s < float("inf"):
        raise BadSetting("a key that has expired already is of no use: give it a time to come, or none")
    text = PREFIX + urlsafe_b64encode(chance).decode().rstrip("=")
    digest = digest_of(text.encode())
    key = Key(
        id=_id(digest),
        tenant=tenant,
        digest=digest.hex(),
        shown=text[:SHOWN_CHARS],
        name=name,
        created_s=now_s,
        expires_s=expires_s,
        figures=figures or Figures(),
    )
    return text, key


def known(tenant: str, text: str, name: str) -> Key:
    """Of a key that somebody else made: a secret of the profile, by the `name` of its variable."""
    digest = digest_of(text.encode())
    return Key(id=_id(digest), tenant=tenant, digest=digest.hex(), shown="", name=name, created_s=0.0)


def _id(digest: bytes) -> str:
    return f"key_{digest_of(b'id' + digest).hex()[:12]}"


def rotated(old: Key, chance: bytes, now_s: float, overlap_s: float) -> tuple[str, Key, Key]:
    """The new key's text, the old record, the new one. Both hold till the overlap ends. Raises BadSetting."""
    if not 0 <= overlap_s <= OVERLAP_MAX_S:
        raise BadSetting(f"an overlap is 0 to {OVERLAP_MAX_S} s")
    if not old.holds(now_s):
        raise BadSetting(f"{old.id} is {old.state(now_s)}: create a new key in its place")
    if old.successor is not None:
        raise BadSetting(f"{old.id} has been rotated already, to {old.successor}: rotate that one")
    text, new = created(
        old.tenant, chance, now_s, name=old.name, expires_s=old.expires_s, figures=old.figures
    )
    ends_s = now_s + overlap_s
    if old.expires_s is not None:
        ends_s = min(ends_s, old.expires_s)
    left = msgspec.structs.replace(old, rotated_s=now_s, successor=new.id, expires_s=ends_s)
    return text, left, new


def revoked(key: Key, now_s: float) -> Key:
    """Once revoked, always: the first time stands."""
    return key if key.revoked_s is not None else msgspec.structs.replace(key, revoked_s=now_s)
