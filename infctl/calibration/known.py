"""What is known of engines that started here. Frozen values; time is an argument.

An engine is known by its key: the model, the card, vLLM's feature version and every argument that decides
about memory. A plan knows all of them before anything starts, and so finds again what it planned last time.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from infctl.profile.schema.models import Source
from infctl.sizing import Card, Measured, Resolved

ENTRIES_MAX = 500
"""About 1 KB each. The oldest go first."""

_WEIGHTS_BY = frozenset(
    {
        "dtype",
        "quantization",
        "tensor_parallel",
        "pipeline_parallel",
        "expert_parallel",
        "cpu_offload_bytes",
        "vllm",
    }
)
"""The arguments that decide how many bytes of weights a rank holds, and what lies beside PyTorch."""
_WORK_BY = _WEIGHTS_BY | {
    "max_num_seqs",
    "max_num_batched_tokens",
    "kv_dtype",
    "compiled",
    "async_scheduling",
}
"""And those that decide about the profile run's peak and the CUDA graphs. Neither the share of the card nor
the bytes of the KV cache: a plan that learns chooses others, and must not forget by that what it learned."""
_FROM_WEIGHTS = ("weights_bytes", "non_torch_bytes")
_FROM_WORK = (*_FROM_WEIGHTS, "activation_bytes", "cudagraph_bytes")


@dataclass(frozen=True, slots=True)
class Entry:
    """One engine, as it started last."""

    key: str
    measured: Measured
    at: float
    """Seconds since the epoch."""
    vllm: str = ""
    """The version in full."""
    planned_tokens: int | None = None
    """Of KV cache, before anything had been measured; None: it was not planned."""
    planned_blocks: int | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """All that is known. Its methods answer with new values."""

    entries: tuple[Entry, ...] = ()
    """Oldest first, each key once."""
    warning: str = ""
    """What was odd about the file."""

    def find(self, key: str) -> Measured | None:
        """What exactly this engine measured."""
        entry = self.entry(key)
        return None if entry is None else entry.measured

    def entry(self, key: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.key == key), None)

    def near(self, key: str) -> Measured | None:
        """What other starts of the same model on such a card say that must hold for this one too.

        Weights and non-torch memory where the weights are held alike; activation and CUDA graphs where the
        work is alike too. The newest that says it counts.
        """
        mine = _read(key)
        found: dict[str, Any] = {}
        for decisive, names in ((_WORK_BY, _FROM_WORK), (_WEIGHTS_BY, _FROM_WEIGHTS)):
            for entry in reversed(self.entries):
                if _alike(mine, _read(entry.key), decisive):
                    said = {name: getattr(entry.measured, name) for name in names}
                    found = {**{name: value for name, value in said.items() if value is not None}, **found}
        return Measured(**found) if found else None

    def best(self, key: str) -> Measured | None:
        """`find`, and `near` for what that start did not say: given its KV bytes, vLLM measures little."""
        exact, near = self.find(key), self.near(key)
        if exact is None or near is None:
            return exact or near
        gaps = {name: getattr(near, name) for name in _FROM_WORK if getattr(exact, name) is None}
        return replace(exact, **gaps)

    def record(
        self,
        key: str,
        measured: Measured,
        at: float,
        *,
        vllm: str = "",
        planned: tuple[int, int] | None = None,
    ) -> Calibration:
        """One more start. `planned`: (KV tokens, blocks) as the plan had them, kept from the first start."""
        before = self.entry(key)
        tokens, blocks = planned or (None, None)
        if before is not None:
            measured = replace(measured, starts=before.measured.starts + 1)
            if before.planned_tokens is not None:
                tokens, blocks = before.planned_tokens, before.planned_blocks
        entry = Entry(key, measured, at, vllm, tokens, blocks)
        others = [other for other in self.entries if other.key != key]
        kept = sorted([*others, entry], key=lambda one: one.at)[-ENTRIES_MAX:]
        return replace(self, entries=tuple(kept))


def key(model: str, resolved: Resolved, card: Card, vllm_version: str) -> str:
    """What an engine is known by. `model`: see `model_name`. Of the version two numbers count: `0.32`."""
    feature = ".".join(vllm_version.split(".")[:2])
    gpu = "cpu" if card.cpu else card.name.removeprefix("NVIDIA ")
    known = {"model": model, "gpu": gpu, "vllm": feature, "args": asdict(resolved)}
    return canonical(known)


def canonical(known: Mapping[str, Any]) -> str:
    """Equal engines, equal text."""
    return json.dumps(known, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def model_name(source: Source) -> str:
    """A model and its revision: `Qwen/Qwen3-8B@main`; a package; a folder as the profile writes it."""
    if source.hub is not None:
        return f"{source.hub}@{source.revision or 'main'}"
    return f"package:{source.package}" if source.package is not None else f"path:{source.path}"


def _alike(mine: Mapping[str, Any], other: Mapping[str, Any], decisive: frozenset[str]) -> bool:
    return all(mine.get(name) == other.get(name) for name in ("model", "gpu", "vllm")) and all(
        mine.get("args", {}).get(name) == other.get("args", {}).get(name) for name in decisive
    )


@functools.lru_cache(maxsize=2 * ENTRIES_MAX)
def _read(key: str) -> Mapping[str, Any]:
    known = json.loads(key)
    return MappingProxyType(known if isinstance(known, dict) else {})


MEASURED_FIELDS = tuple(field.name for field in fields(Measured))
