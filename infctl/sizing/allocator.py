"""PyTorch's caching allocator on one card, as far as it decides how many bytes count as allocated.

vLLM reports the allocator's own count after loading, and that is more than the sum of all tensors: a block
is given away whole where splitting it is not allowed. vLLM forbids splitting blocks of 20 MiB and more while
it loads weights, and segments come in steps of 2 MiB, so a tensor of 24.5 MiB takes 26; a tensor may even
get a free block that is up to 20 MiB too long. Without this a planner is wrong by up to 4 %.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field

from infctl.figure import MIB

STEP = 512
"""Bytes; every tensor is rounded up to it."""
SMALL = MIB
"""Tensors up to this share segments of their own, in which nothing is lost."""
BUFFER = 20 * MIB
"""The segment that tensors under `LARGE` are cut from."""
LARGE = 10 * MIB
ROUND = 2 * MIB
"""From `LARGE` on, a segment is as long as its tensor, rounded up to this."""
WHOLE = 20 * MIB
"""While weights load: blocks from here on are not split, and not given to shorter tensors."""
SLACK = 20 * MIB
"""How much too long a block may be for a tensor of `WHOLE` and more."""


@dataclass(slots=True, eq=False)
class Block:
    size: int
    number: int
    """Of its segment; free blocks of one size are taken in this order."""
    small: bool = False
    before: Block | None = None
    after: Block | None = None
    free: bool = False


@dataclass(slots=True)
class Allocator:
    """Take blocks and give them back; `allocated` is what vLLM's log calls the memory of the model."""

    plain: bool = False
    """Nothing is rounded: the memory of a machine without a GPU."""
    allocated: int = 0
    segments: int = 0
    cache: list[tuple[int, int, int, Block]] = field(default_factory=list)
    """Free blocks beyond `SMALL`, the shortest first."""

    def take(self, size: int) -> Block:
        """A block for `size` bytes."""
        size = size if self.plain else max(STEP, -(-size // STEP) * STEP)
        if size <= SMALL or self.plain:
            self.allocated += size
            return Block(size, 0, small=True)
        block = self._cached(size) or self._segment(size)
        if size < WHOLE and block.size - size > SMALL:
            self._split(block, size)
        self.allocated += block.size
        return block

    def give_back(self, block: Block) -> None:
        self.allocated -= block.size
        if block.small:
            return
        before, after = block.before, block.after
        if before is not None and before.free:
            self._forget(before)
            before.size += block.size
            before.after = after
            if after is not None:
                after.before = before
            block = before
        if after is not None and after.free:
            self._forget(after)
            block.size += after.size
            block.after = after.after
            if after.after is not None:
                after.after.before = block
        self._remember(block)

    def _cached(self, size: int) -> Block | None:
        """The shortest free block that is long enough."""
        place = bisect_left(self.cache, (size,))
        if place == len(self.cache):
            return None
        block = self.cache[place][3]
        too_long = block.size >= (WHOLE if size < WHOLE else size + SLACK)
        if too_long:
            return None
        del self.cache[place]
        block.free = False
        return block

    def _segment(self, size: int) -> Block:
        self.segments += 1
        return Block(BUFFER if size < LARGE else -(-size // ROUND) * ROUND, self.segments)

    def _split(self, block: Block, size: int) -> None:
        rest = Block(block.size - size, block.number, before=block, after=block.after)
        if rest.after is not None:
            rest.after.before = rest
        block.after, block.size = rest, size
        self._remember(rest)

    def _remember(self, block: Block) -> None:
        block.free = True
        insort(self.cache, (block.size, block.number, id(block), block))

    def _forget(self, block: Block) -> None:
        block.free = False
        del self.cache[bisect_left(self.cache, (block.size, block.number, id(block)))]
