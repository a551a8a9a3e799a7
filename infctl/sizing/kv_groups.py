"""vLLM's grouping: which layers share a block table, and what one block of the pool costs on each rank.

All groups draw blocks from one pool, and a block is as large as the largest group needs it. So layers of
several kinds are first brought to one page size, then cut into groups of the same number of layers.
Two layouts of the pool exist; here is the one that CUDA's and the CPU's own backends choose, with each
layer in a region of its own. (The other, block by block, is chosen by sparse-MLA indexers and connectors.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from infctl.sizing.kv_specs import LayerSpec, Ranks

_LOCAL = {"sliding", "chunked"}
_WHOLE = {"full", "mla"}


class CannotGroup(ValueError):  # noqa: N818 - it is vLLM's refusal, said before it starts
    """vLLM would not start with these layers; the message says why."""


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share a block table."""

    spec: LayerSpec
    """What decides about the blocks of a request; the same for every layer of the group."""
    rank_bytes: tuple[int, ...]
    """Of one block, by pipeline rank: the pages of the group's layers there."""


def group(ranks: Ranks, *, hybrid: bool) -> tuple[Group, ...]:
    """The groups of the whole model. `hybrid`: the hybrid KV cache manager is on.

    Raises:
        CannotGroup: vLLM refuses to start.

    """
    layers = [spec for rank in ranks for spec in rank]
    owners = [owner for owner, rank in enumerate(ranks) for _ in rank]
    if not hybrid:
        layers = _promoted(layers)
    if not layers:
        return ()
    cut = [list(range(len(layers)))]
    if not _same_slots(layers):
        layers, alike = _one_page_size(layers)
        cut = cut if alike else _cut(layers)
    return tuple(_grouped(members, layers, owners, len(ranks)) for members in cut)


def _grouped(members: list[int], layers: list[LayerSpec], owners: list[int], ranks: int) -> Group:
    size = [0] * ranks
    for member in members:
        size[owners[member]] += layers[member].page_bytes
    return Group(layers[members[0]], tuple(size))


def _cut(layers: list[LayerSpec]) -> list[list[int]]:
    """Groups of as many layers as the rarest kind has, or the commonest where the two are close.

    Every n-th layer goes into the same group, so that each pipeline rank has about as many of each.
    """
    kinds: dict[LayerSpec, list[int]] = {}
    for position, spec in enumerate(layers):
        kinds.setdefault(spec, []).append(position)
    rarest = min(len(members) for members in kinds.values())
    commonest = max(len(members) for members in kinds.values())
    size = commonest if commonest < rarest * 1.5 else rarest
    cut: list[list[int]] = []
    for members in kinds.values():
        count = -(-len(members) // size)
        cut.extend(members[nth::count] for nth in range(count))
    return cut


def _same_slots(layers: list[LayerSpec]) -> bool:
    """All layers need the same number of blocks at any time, so one block table does for all."""
    first = layers[0]
    if any(spec.block_size != first.block_size for spec in layers):
        return False
    if first.kind in _WHOLE:
        return all(spec.kind in _WHOLE for spec in layers)
    if first.kind in _LOCAL:
        return all(spec.kind == first.kind and spec.window == first.window for spec in layers)
    return all(spec.kind == "state" and spec.page_bytes == first.page_bytes for spec in layers)


def _one_page_size(layers: list[LayerSpec]) -> tuple[list[LayerSpec], bool]:
    """(the layers, whether one block table does for all of them now)."""
    largest = max(spec.page_bytes for spec in layers)
    try:
        return [_at_page_size(spec, largest) for spec in layers], False
    except CannotGroup:
        whole = [] if any(spec.kind == "chunked" for spec in layers) else _whole(layers)
        if not whole or not _same_slots(whole):
            raise
        return whole, True


def _at_page_size(spec: LayerSpec, page: int) -> LayerSpec:
    """More tokens a block where that comes out even, else bytes that nobody uses."""
    if spec.page_bytes == page:
        return spec
    if spec.kind != "state" and page % spec.page_bytes == 0:
        return spec.resized(spec.block_size * (page // spec.page_bytes))
    if spec.kind == "mla":
        raise CannotGroup(
            f"a block of an MLA layer takes {spec.page_bytes} bytes and one of another layer {page}, "
            "which is no multiple of it; vLLM cannot put both into one pool"
        )
    return replace(spec, padded_bytes=page)


def _promoted(layers: list[LayerSpec]) -> list[LayerSpec]:
    """Without the hybrid manager, layers that look at a window keep the whole context beside full ones."""
    if not layers or _same_slots(layers):
        return layers
    whole = _whole(layers)
    windows = {kind: {spec.window for spec in layers if spec.kind == kind} for kind in _LOCAL}
    mixed = any(len(sizes) > 1 for sizes in windows.values()) and all(spec.kind == "full" for spec in whole)
    if mixed or not _same_slots(whole):
        raise CannotGroup(
            "without the hybrid KV cache manager all layers must keep the same number of tokens, and this "
            "model's cannot; leave --disable-hybrid-kv-cache-manager out"
        )
    return whole


def _whole(layers: list[LayerSpec]) -> list[LayerSpec]:
    """Local layers as full ones; as they are, where no layer is full."""
    sizes = {spec.block_size for spec in layers if spec.kind in _WHOLE}
    return [_full(spec, sizes) if sizes and spec.kind in _LOCAL else spec for spec in layers]


def _full(spec: LayerSpec, full_sizes: set[int]) -> LayerSpec:
    tokens = next(iter(full_sizes)) if len(full_sizes) == 1 else spec.block_size
    whole = replace(spec.resized(tokens), kind="full")
    if whole.padded_bytes is not None:
        whole = replace(whole, padded_bytes=max(whole.padded_bytes, whole.content_bytes))
    return whole
