"""What the gateway may expect of a planned engine: calls at once, and how long a start takes. Pure."""

from __future__ import annotations

import math

from infctl.figure import GIB
from infctl.plan.model import Replica
from infctl.profile.schema import Model

STARTS_S = 20.0
"""Of Python, PyTorch and vLLM: from process start to the first byte of the weights. Assumed."""
WEIGHTS_BYTES_PER_S = 1.0 * GIB
"""From a local disk to the card; one start read 14.3 GiB in 12.4 s. Assumed of all others."""
COMPILES_S = 30.0
"""torch.compile from its cache, and the CUDA graphs. Assumed."""
PROFILES_S = 5.0
"""The profile run, the KV cache, the first answer. Assumed."""


def at_once(replica: Replica, model: Model) -> int | None:
    """Calls that the engine computes at once: `max_num_seqs`, or as many as the KV cache has blocks.

    What else it is sent it queues itself, where no tenant's turn is kept. None: nobody knows.
    """
    if replica.need is None:
        return model.max_num_seqs
    kv = replica.need.kv
    seqs = replica.need.resolved.max_num_seqs
    return seqs if kv is None else max(1, min(seqs, kv.num_blocks))


def loading_s(replica: Replica) -> float | None:
    """From process start to the first answer, in whole 5 s. None: nobody knows how large the model is.

    For a client's Retry-After until the gateway has seen a start itself. Weights are on the disk by then.
    """
    need = replica.need
    if need is None:
        return None
    reads_s = need.weights.expected / WEIGHTS_BYTES_PER_S
    compiles_s = COMPILES_S if need.resolved.compiled and not need.card.cpu else 0.0
    return math.ceil((STARTS_S + reads_s + compiles_s + PROFILES_S) / 5) * 5.0
