"""What a failed start says of its memory, so that a proposal fits the card as it really was. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from infctl.calibration.lookup import Lookup
from infctl.calibration.said import from_log
from infctl.figure import GIB, MIB
from infctl.models import ModelFacts
from infctl.sizing import Card, EngineArgs, Measured
from infctl.sizing.need import need

_UNITS = {"KiB": 2**10, "MiB": MIB, "GiB": GIB}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ([KMG]iB)")


def measured(lines: Sequence[str], key: str, words: Mapping[str, str]) -> Measured:
    """`key`, `words`: the cause that was found, and what its line said."""
    found = from_log(lines)
    if key == "weights do not fit":
        # It had this much when it asked for more: the weights are larger than both.
        own, tried = size(words.get("own", "")), size(words.get("tried", ""))
        return replace(found, weights_bytes=own + tried) if own else found
    if key == "no KV cache memory":
        # vLLM logs how far below nothing it was.
        return replace(found, kv_available_bytes=min(found.kv_available_bytes or 0, 0), kv_tokens=None)
    there = words.get("there")
    if key in {"context too long", "no room for a token"} and there:
        return replace(found, kv_available_bytes=int(float(there) * GIB), kv_tokens=None)
    return replace(found, kv_tokens=None)


def lookup(model: str, started: EngineArgs, found: Measured, facts: ModelFacts | None) -> Lookup:
    """What is known of one model: all of it with the arguments it started with, its parts with others.

    A longer or shorter context changes nothing but the tokens. `facts`: None where its config is not known.
    """

    def ask(name: str, args: EngineArgs, card: Card) -> Measured | None:
        if name != model or facts is None:
            return None
        if replace(args, max_model_len=None) == replace(started, max_model_len=None):
            there = found.kv_available_bytes
            return found if there is None else replace(found, kv_available_bytes=max(there, 0))
        return _parts(facts, started, card, found) if _weights(args) == _weights(started) else None

    return ask


def _parts(facts: ModelFacts, started: EngineArgs, card: Card, found: Measured) -> Measured:
    """What does not change with the arguments: the weights, and all that took more than was planned."""
    parts = Measured(weights_bytes=found.weights_bytes, non_torch_bytes=found.non_torch_bytes)
    if found.kv_available_bytes is None or started.kv_cache_memory_bytes is not None or card.cpu:
        return parts
    planned = need(facts, started, card, measured=parts)
    more = planned.kv_bytes.expected - found.kv_available_bytes
    return replace(parts, non_torch_bytes=max(planned.non_torch.expected + more, 0))


def _weights(args: EngineArgs) -> tuple[object, ...]:
    """The arguments that say how many bytes of weights a card holds."""
    return (
        args.dtype,
        args.quantization,
        args.tensor_parallel,
        args.pipeline_parallel,
        args.expert_parallel,
        args.cpu_offload_bytes,
    )


def size(text: str) -> int:
    """`21.88 GiB` -> bytes; 0: nothing said."""
    found = _SIZE.fullmatch(text)
    return int(float(found[1]) * _UNITS[found[2]]) if found else 0
