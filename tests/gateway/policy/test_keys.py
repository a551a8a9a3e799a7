"""Keys: created, rotated with an overlap, expired, revoked; and looked up in a time that tells nothing."""

from __future__ import annotations

import statistics
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Figures
from gateway.policy.keys import OVERLAP_MAX_S, Key, created, digest_of, revoked, rotated
from gateway.policy.levels import BadSetting
from gateway.policy.ring import Ring

CHANCE, OTHER = bytes(range(32)), bytes(range(1, 33))


def found(text: str, keys: list[Key], clock_s: float) -> str | None:
    key = Ring(keys).find(digest_of(text.encode()), clock_s)
    return None if key is None else key.id


def test_what_is_kept_of_a_key_is_its_digest_and_how_it_begins():
    text, key = created("t", CHANCE, 100.0, name="ci", figures=Figures(tokens_per_day=5, models=("chat",)))
    assert text == "ik-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert text not in msgspec.json.encode(key).decode()
    assert text.startswith(key.shown)
    assert len(key.shown) == 10
    assert bytes.fromhex(key.digest) == digest_of(text.encode())
    assert msgspec.json.decode(msgspec.json.encode(key), type=Key) == key


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_different_chance_makes_different_keys(one: bytes, other: bytes):
    (text, key), (text2, key2) = (created("t", chance, 0.0) for chance in (one, other))
    assert (text == text2) == (key.id == key2.id) == (key.digest == key2.digest) == (one == other)


def test_a_key_holds_until_it_expires():
    text, key = created("t", CHANCE, 100.0, expires_s=200.0)
    assert [found(text, [key], at) for at in (100.0, 199.9, 200.0)] == [key.id, key.id, None]
    assert [key.state(at) for at in (199.9, 200.0)] == ["active", "expired"]


def test_a_revoked_key_holds_no_longer_and_the_first_time_stands():
    text, key = created("t", CHANCE, 100.0)
    gone = revoked(key, 150.0)
    assert found(text, [gone], 120.0) is None
    assert gone.state(120.0) == "revoked"
    assert revoked(gone, 160.0) == gone


def test_a_rotated_key_and_its_successor_both_hold_until_the_overlap_ends():
    text, old = created("t", CHANCE, 100.0, figures=Figures(in_flight=3))
    new_text, old, new = rotated(old, OTHER, 200.0, 60.0)
    keys = [old, new]
    assert [found(text, keys, at) for at in (200.0, 259.9, 260.0)] == [old.id, old.id, None]
    assert [found(new_text, keys, at) for at in (200.0, 1e9)] == [new.id, new.id]
    assert (old.state(210.0), old.state(260.0), old.successor) == ("rotated", "expired", new.id)
    assert (new.tenant, new.figures, new.name) == (old.tenant, old.figures, old.name)


def test_rotation_lengthens_no_life():
    _, old = created("t", CHANCE, 100.0, expires_s=220.0)
    _, old, new = rotated(old, OTHER, 200.0, 60.0)
    assert (old.expires_s, new.expires_s) == (220.0, 220.0)


@pytest.mark.parametrize("overlap_s", [-1.0, OVERLAP_MAX_S + 1, float("nan"), float("inf")])
def test_an_overlap_is_a_time_that_ends(overlap_s: float):
    _, key = created("t", CHANCE, 100.0)
    with pytest.raises(BadSetting):
        rotated(key, OTHER, 200.0, overlap_s)


def test_what_is_over_is_not_rotated():
    _, key = created("t", CHANCE, 100.0, expires_s=150.0)
    for over in (key, revoked(key, 110.0), rotated(key, OTHER, 120.0, 0.0)[1]):
        with pytest.raises(BadSetting, match=key.id):
            rotated(over, OTHER, 160.0 if over is key else 121.0, 10.0)


@pytest.mark.parametrize(
    "what", [{"name": "x" * 129}, {"name": "a\nb"}, {"expires_s": 99.0}, {"expires_s": float("inf")}]
)
def test_a_key_that_would_be_of_no_use_is_not_created(what):
    with pytest.raises(BadSetting):
        created("t", CHANCE, 100.0, **what)
    with pytest.raises(ValueError, match="32 are needed"):
        created("t", b"short", 100.0)


def test_unknown_expired_and_revoked_keys_take_the_same_steps():
    """The medians of many look-ups in turn lie within a fifth: no kind is answered early."""
    keys = [created("t", n.to_bytes(32, "big"), 100.0) for n in range(2000)]
    held = [key for _, key in keys]
    held[1] = msgspec.structs.replace(held[1], expires_s=150.0)
    held[2] = revoked(held[2], 150.0)
    ring = Ring(held)
    asked = {
        "unknown": digest_of(b"ik-nobody"), "expired": bytes.fromhex(held[1].digest),
        "revoked": bytes.fromhex(held[2].digest),
    }  # fmt: skip
    taken: dict[str, list[int]] = {name: [] for name in asked}
    for _ in range(4000):
        for name, digest in asked.items():
            started = time.perf_counter_ns()
            assert ring.find(digest, 200.0) is None
            taken[name].append(time.perf_counter_ns() - started)
    medians = [statistics.median(times) for times in taken.values()]
    assert max(medians) < 1.2 * min(medians) + 100


def test_a_ring_finds_a_key_exactly_as_long_as_it_holds():
    made = [
        created("t", bytes(31) + bytes([n]), 100.0, expires_s=ends)[1]
        for n, ends in enumerate((None, 200.0, 101.0, None))
    ]
    made[3] = revoked(made[3], 150.0)
    ring = Ring(made)
    for clock_s in (100.0, 101.0, 150.0, 199.9, 200.0, 1e12):
        for key in made:
            found = ring.find(bytes.fromhex(key.digest), clock_s)
            assert found == (key if key.holds(clock_s) else None)
    assert ring.find(bytes(32), 100.0) is None
