"""The state of mamba-like layers: bytes of each of its parts on one tensor-parallel rank."""

from __future__ import annotations

from infctl.models import StateCache
from infctl.sizing import DTYPE_BYTES


def element_bytes(dtype: str) -> int:
    """Of a number in a cache. Whatever is not a plain float is a kind of fp8 or int8."""
    return DTYPE_BYTES.get(dtype, 1)


def state_shape(state: StateCache, dtype: str, tensor_parallel: int) -> tuple[int, ...]:
    """Bytes: (convolution, recurrent state), or the one of the two that the kind has.

    The convolution keeps the model's dtype; the recurrent state may have one of its own.
    """
    small = element_bytes(dtype)
    large = small if state.dtype == "auto" else element_bytes(state.dtype)
    taps = max(0, state.conv_kernel - 1)
    heads = max(1, state.heads // tensor_parallel)
    inner = max(1, state.inner // tensor_parallel)
    if state.kind == "linear":
        return (heads * state.head_dim * state.head_dim * large,)
    if state.kind == "short_conv":
        return (taps * inner * small,)
    if state.kind == "mamba1":
        return taps * inner * small, inner * state.state * large
    if state.kind == "gdn":
        width = 2 * state.state * state.groups + state.head_dim * state.heads
    else:
        width = state.inner + 2 * _whole_groups(state.groups, tensor_parallel) * state.state
    return taps * (width // tensor_parallel) * small, heads * state.head_dim * state.state * large


def _whole_groups(groups: int, tensor_parallel: int) -> int:
    """mamba2: groups that cannot be cut evenly are repeated until each rank has its own."""
    return groups if groups % tensor_parallel == 0 else tensor_parallel
