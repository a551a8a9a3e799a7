"""What a key's text may never do: be told from another by time, or be found again."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from gateway import config
from gateway.identify import Gate, Tenancy
from gateway.policy import keys
from gateway.policy.keys import Key
from gateway.refusal import Refusal
from tests.gateway.control.conftest import Counting, asked, call
from tests.gateway.process import until

NOW_S = 1_795_780_800.0
MANY = 200
"""Keys of a kind."""
ROUNDS = 150
LIKE = 0.03
"""Of the time: kinds that cannot be told apart are nearer."""
SEEDED = 1000


def told_apart(one: Sequence[float], other: Sequence[float]) -> float:
    """How often a value of one is above a value of the other: 0.5 where they are alike."""
    above = sum((a > b) + 0.5 * (a == b) for a in one for b in other)
    return above / (len(one) * len(other))


def measured(made: list[Key], kinds: dict[str, list[bytes]], chance: random.Random) -> dict[str, list[float]]:
    """Nanoseconds of CPU for a refusal, by kind: means of many keys, the kinds in turn and in any order."""
    parsed = config.parse({"models": []})
    tenancy = Tenancy(parsed, Gate(parsed, {"GATEWAY_API_KEY": "client"}), None, tuple(made))
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    for n in range(ROUNDS + 10):
        for kind in chance.sample(sorted(kinds), len(kinds)):
            began = time.thread_time_ns()
            refused = sum(is_refused(tenancy, text) for text in kinds[kind])
            if n >= 10:  # warm by then
                took[kind].append((time.thread_time_ns() - began) / MANY)
            assert refused == MANY
    return took


def is_refused(tenancy: Tenancy, text: bytes) -> bool:
    try:
        tenancy.caller(text, "10.0.0.1", NOW_S)
    except Refusal:
        return True
    return False


@pytest.mark.serial  # others push its keys out of the caches, and those of one kind more than another's
def test_unknown_revoked_and_expired_keys_are_refused_in_the_same_time():
    chance = random.Random(7)
    drawn = [keys.created("acme", chance.randbytes(32), NOW_S - 100) for _ in range(4 * MANY)]
    sent = [b"Bearer " + text.encode() for text, _ in drawn]
    # Which is which is drawn as well: where in memory a key lies must not tell its kind.
    places = chance.sample(range(4 * MANY), 4 * MANY)
    unknown, revoked, expired, living = (places[n * MANY : (n + 1) * MANY] for n in range(4))
    made = [
        *(keys.revoked(drawn[n][1], NOW_S - 50) for n in revoked),
        *(msgspec.structs.replace(drawn[n][1], expires_s=NOW_S - 1) for n in expired),
        *(drawn[n][1] for n in living),
    ]
    chance.shuffle(made)
    kinds = {
        "unknown": [sent[n] for n in unknown],
        "revoked": [sent[n] for n in revoked],
        "expired": [sent[n] for n in expired],
    }
    took = measured(made, kinds, chance)
    # The machine's other work only adds: it is the quick rounds that tell of the steps.
    quick = {kind: statistics.quantiles(times, n=5)[0] for kind, times in took.items()}
    for kind in ("revoked", "expired"):
        apart = told_apart(took[kind], took["unknown"])
        near = abs(quick[kind] - quick["unknown"]) < LIKE * quick["unknown"]
        assert near or 0.3 < apart < 0.7, (kind, quick, apart)


def test_none_of_a_thousand_keys_is_found_in_any_log_trail_metric_error_or_file(
    counting: Counting, tmp_path: Path
):
    trail = tmp_path / "audit"
    gateway = counting(audit={"folder": str(trail), "anchors": str(tmp_path / "anchors")})
    chance = random.Random(11)
    seeded = [keys.created("acme", chance.randbytes(32), NOW_S)[0] for _ in range(SEEDED - 60)]
    told = []
    for text in seeded:
        reply = call(gateway, text)
        assert reply.status_code == 401
        told.append(reply.content + str(reply.headers).encode())
    for n in range(30):
        made = asked(gateway, "POST", "/admin/keys", {"tenant": "acme", "name": f"n{n}"}).json()
        assert call(gateway, made["text"]).status_code == 200
        turned = asked(gateway, "POST", f"/admin/keys/{made['key']['id']}/rotate").json()
        asked(gateway, "DELETE", f"/admin/keys/{turned['key']['id']}")
        reply = call(gateway, turned["text"])
        assert reply.status_code == 401
        told += [reply.content, asked(gateway, "DELETE", f"/admin/keys/{made['text']}x").content]
        seeded += [made["text"], turned["text"]]
    assert len(seeded) == SEEDED
    for path in ("/admin/keys?limit=1000", "/admin/quotas", "/admin/tenants", "/health/detailed", "/metrics"):
        told.append(asked(gateway, "GET", path).content)
    until(lambda: len(gateway.events("admin")) == 90)
    assert gateway.stop() == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".jsonl" for path in files)
    assert any(path.name == "counts.db" for path in files)
    # An operator who puts a key where an id belongs has written it into a path, which is logged: not ours.
    lines = [
        line for line in gateway.text.splitlines(keepends=True) if b'"path":"/admin/keys/ik-' not in line
    ]
    written = [
        line
        for path in files
        for line in path.read_bytes().split(b"\n")
        if b'"path":"/admin/keys/ik-' not in line
    ]
    everything = b"".join([*told, *lines, *written])
    found = [text for text in seeded if text.encode() in everything]
    assert found == []
