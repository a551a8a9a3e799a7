"""Which of the backends that may take a call gets it: the policies, as functions of the candidates.

    least_in_flight   the least busy one; ties go round, so that idle replicas share the work
    power_of_two      the less busy of two drawn at random: as good, without a herd where many gateways choose
    weighted          each its share, evenly spread (nginx's smooth round robin)
    keyed             the one that the key hashes to, unless it is busier than the bound

Rule 1: candidates are fit and have room; there is at least one.
Rule 2: a key (a prompt's beginning, a session) stays where it is while other backends come and go: rendezvous
        hashing moves only the keys of the backend that goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

from gateway.policy.backend import Backend

Draw = Callable[[], float]
"""A random number, 0 <= x < 1."""


def least_in_flight(candidates: Sequence[Backend], turn: int) -> Backend:
    size = len(candidates)
    best = candidates[turn % size]
    for offset in range(1, size):
        backend = candidates[(turn + offset) % size]
        if backend.in_flight < best.in_flight:
            best = backend
    return best


def power_of_two(candidates: Sequence[Backend], draw: Draw) -> Backend:
    size = len(candidates)
    if size == 1:
        return candidates[0]
    first = int(draw() * size)
    second = (first + 1 + int(draw() * (size - 1))) % size
    one, other = candidates[first], candidates[second]
    return other if other.in_flight < one.in_flight else one


def weighted(candidates: Sequence[Backend]) -> Backend:
    best = candidates[0]
    total = 0.0
    for backend in candidates:
        total += backend.weight
        backend.credit += backend.weight
        if backend.credit > best.credit:
            best = backend
    best.credit -= total
    return best


def keyed(candidates: Sequence[Backend], key: bytes, bound: float) -> Backend:
    """With this call counted in, nobody is above `bound` times the mean as long as another one is not."""
    if len(candidates) == 1:
        return candidates[0]
    most = bound * (sum(backend.in_flight for backend in candidates) + 1) / len(candidates)
    ranked = sorted(candidates, key=lambda backend: _rank(backend, key))
    return next((backend for backend in ranked if backend.in_flight + 1 <= most), None) or min(
        ranked, key=lambda backend: backend.in_flight
    )


def _rank(backend: Backend, key: bytes) -> bytes:
    return blake2b(key, digest_size=8, key=backend.seed[:64]).digest()
