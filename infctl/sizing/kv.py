"""Bytes for the KV cache -> blocks -> tokens -> requests at once, as vLLM counts them when it starts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil

from infctl.sizing import KvCapacity, Resolved
from infctl.sizing.kv_groups import CannotGroup, group
from infctl.sizing.kv_specs import LayerSpec, Ranks

Available = int | tuple[int, ...]
"""Bytes for the KV cache: of each pipeline rank, or one number where all have the same."""


@dataclass(frozen=True, slots=True)
class _Pool:
    """The groups of a model, ready to be asked about any length and any number of bytes."""

    block_size: int
    block_bytes: tuple[int, ...]
    """Of one block, by pipeline rank; 0: the rank keeps no cache."""
    needs: tuple[tuple[LayerSpec, int], ...]
    """Each kind of group and how many of it."""
    in_flight: int
    """Tokens that are scheduled but not settled; local layers keep them beyond their window."""
    states: int
    """Blocks of a state layer a request."""
    reserved: int
    """Blocks that no request gets: the null block, which vLLM 0.25 forgot to hold back in its check."""

    def blocks(self, length: int) -> int:
        """That one request of `length` tokens holds at most."""
        return sum(count * self._of(spec, length) for spec, count in self.needs)

    def _of(self, spec: LayerSpec, length: int) -> int:
        if spec.kind == "state":
            return self.states
        if spec.kind == "sliding":
            # One more: a window rarely begins where a block does.
            return _blocks(min((spec.window or 0) - 1 + self.in_flight, length), spec.block_size) + 1
        if spec.kind == "chunked":
            length = min((spec.window or 0) + self.in_flight, length)
        return _blocks(length, spec.block_size)

    def held(self, available: Available) -> tuple[int, int]:
        """(blocks, bytes of one) on the rank that has the fewest."""
        if isinstance(available, int):
            available = (available,) * len(self.block_bytes)
        pairs = zip(available, self.block_bytes, strict=True)
        return min((max(0, rank) // size, size) for rank, size in pairs if size)

    def longest(self, blocks: int, upto: int) -> int:
        """The longest request that `blocks` hold, at most `upto`; 0: not one token."""
        usable = blocks - self.reserved
        low, high = 0, upto
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.blocks(middle) <= usable else (low, middle - 1)
        return low


def capacity(ranks: Ranks, available: Available, resolved: Resolved) -> KvCapacity | None:
    """What vLLM would report for these bytes. None: no layer keeps a cache.

    Where vLLM would refuse to start with such layers (see `refusal`) nothing fits: all numbers are 0.
    """
    if not any(ranks):
        return None
    try:
        pool = _pool(ranks, resolved)
    except CannotGroup:
        return KvCapacity(0, resolved.block_size, 0, 0, 0, 0.0, fits=False, longest=0)
    length = resolved.max_model_len
    blocks, size = pool.held(available)
    each = pool.blocks(length)
    concurrency = blocks / each
    longest = pool.longest(blocks, length)
    return KvCapacity(
        num_blocks=blocks,
        block_size=pool.block_size,
        bytes_per_block=size,
        blocks_per_request=each,
        tokens=int(concurrency * length),
        concurrency=concurrency,
        fits=longest == length,
        longest=longest,
    )


def longest(ranks: Ranks, available: Available, resolved: Resolved, upto: int) -> int:
    """The longest max_model_len, at most `upto` tokens, of which one request fits; 0: not one token.

    Does not look at the max_model_len that was asked for. Without any cache there is no limit but `upto`.
    """
    if not any(ranks):
        return upto
    try:
        pool = _pool(ranks, resolved)
    except CannotGroup:
        return 0
    return pool.longest(pool.held(available)[0], upto)


def bytes_for(ranks: Ranks, requests: float, resolved: Resolved) -> int:
    """The least bytes that each pipeline rank must have for `requests` at once, each of max_model_len.

    At least what vLLM asks for to start at all: one request, and the null block. 0 without any cache.
    Raises CannotGroup where vLLM would refuse these layers.
    """
    if not any(ranks):
        return 0
    pool = _pool(ranks, resolved)
    each = pool.blocks(resolved.max_model_len)
    about = ceil(requests * each)  # 1.1 x 170 is a hair more than 187
    blocks = next(n for n in (about - 1, about, about + 1) if n / each >= requests)
    return max(each + pool.reserved, blocks) * max(pool.block_bytes)


def refusal(ranks: Ranks, resolved: Resolved) -> str | None:
    """Why vLLM would not start with these layers, however many bytes there are; None: it would."""
    try:
        group(ranks, hybrid=resolved.hybrid_kv_cache)
    except CannotGroup as error:
        return str(error)
    return None


def _pool(ranks: Ranks, resolved: Resolved) -> _Pool:
    groups = group(ranks, hybrid=resolved.hybrid_kv_cache)
    old = resolved.vllm == "0.25"
    return _Pool(
        block_size=groups[0].spec.block_size,
        block_bytes=tuple(max(sizes) for sizes in zip(*(g.rank_bytes for g in groups), strict=True)),
        needs=tuple(Counter(g.spec for g in groups).items()),
        in_flight=resolved.max_num_batched_tokens if old else resolved.in_flight_tokens,
        states=2 if resolved.prefix_caching else 1,
        reserved=0 if old else 1,
    )


def _blocks(tokens: int, block_size: int) -> int:
    return -(-tokens // block_size)
