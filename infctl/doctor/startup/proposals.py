"""By cause: what to write instead, tried by a plan of the whole profile before it is told. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from infctl.doctor.startup.explanation import Proposal
from infctl.errors import Location, PlanError
from infctl.figure import MIB
from infctl.gpus import Gpu
from infctl.plan import plan
from infctl.plan.asks import Sizer, nothing_measured
from infctl.plan.changes import Change, tried
from infctl.plan.draft import Draft
from infctl.plan.remedies import NO_CHANGE
from infctl.profile.schema import Model, Profile
from infctl.profile.values import format_size

BLOCK = 16
"""Tokens: lengths are multiples of it."""
FEWEST = 16
"""Requests at once."""
CACHE_MAX = 2**40
"""Bytes."""
SHARE_MAX = 0.97
"""Of a card; the rest is the CUDA context's."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One failed start, and the profile it was started from."""

    key: str
    words: Mapping[str, str]
    """What the telling line said."""
    name: str
    """The model's, in the profile."""
    profile: Profile
    gpus: tuple[Gpu, ...]
    sizer: Sizer
    """Knows what this start measured."""
    where: Callable[[str], Location | None]

    @property
    def model(self) -> Model:
        return self.profile.models[self.name]

    def works(self, **fields: Any) -> Draft | None:
        """The plan with these fields of the model, if all of it then fits.

        Twice: with what this start measured, and as `infctl up` plans, which goes by the models' files alone.
        """
        change = Change("", self.name, fields)
        blind = replace(self.sizer, measured=nothing_measured, _asks={}, _needs={})
        drafts = [tried(change, self.profile, self.gpus, sizer) for sizer in (self.sizer, blind)]
        return None if any(then is None or then.failures for then in drafts) else drafts[0]

    def proposal(self, field: str, becomes: str, note: str, was: str | None = None) -> Proposal:
        """`was`: as a person writes it, where the value itself does not read so."""
        path = f"models/{self.name}/{field}"
        now = getattr(self.model, field)
        if was is None:
            was = "" if now is None else f"{now:g}" if isinstance(now, float) else str(now)
        return Proposal(path, was, becomes, note, self.where(path))

    def cache(self, size: int, note: str) -> Proposal:
        """Another KV cache, in bytes."""
        now = self.model.kv_cache_memory
        return self.proposal(
            "kv_cache_memory", format_size(size), note, was="" if now is None else format_size(now)
        )


def proposals(asked: Asked) -> tuple[Proposal, ...]:
    """Best first; none where no value of the profile is at fault, or none was found that fits."""
    make = _BY_CAUSE.get(asked.key)
    return tuple(make(asked)) if make is not None else ()


def others(asked: Asked) -> tuple[str, ...]:
    """What the planner itself would change, given what this start measured. `would fit:`, then `or`."""
    sizer = asked.sizer
    try:
        plan(
            asked.profile,
            asked.gpus,
            sizer.facts,
            measured=sizer.measured,
            vllm=sizer.vllm,
            machine_bytes=sizer.machine_bytes,
        )
    except PlanError as error:
        hints = [p.hint for p in error.problems if p.path.startswith(f"models/{asked.name}/")]
        return tuple(line for hint in hints[:1] if hint != NO_CHANGE for line in hint.splitlines())
    return ()


def _shorter(asked: Asked) -> Iterator[Proposal]:
    """What vLLM itself says would fit, or less where the plan knows better."""
    fits = _longest(asked, int(asked.words["longest"]))
    if fits:
        yield asked.proposal("max_model_len", str(fits), "is the longest that fits")
    need = float(asked.words.get("need") or 0)
    if asked.model.kv_cache_memory is not None and need:
        whole = math.ceil(need * 1024 * 1.01)
        if asked.works(kv_cache_memory=whole * MIB) is not None:
            yield asked.cache(whole * MIB, "holds the whole length")
    elif asked.model.gpu_memory_utilization is not None:
        yield from _larger_share(asked, "holds the whole length")


def _longest(asked: Asked, most: int) -> int:
    """The longest context up to `most` that the whole plan takes; 0: none."""
    if asked.works(max_model_len=most) is not None:
        return most
    low, high = 0, most // BLOCK
    while low < high:
        middle = (low + high + 1) // 2
        fits = asked.works(max_model_len=middle * BLOCK) is not None
        low, high = (middle, high) if fits else (low, middle - 1)
    return low * BLOCK


def _as_trained(asked: Asked) -> Iterator[Proposal]:
    own = int(float(asked.words["own"]))
    if asked.works(max_model_len=own) is not None:
        yield asked.proposal("max_model_len", str(own), "is the longest this model takes")


def _larger_share(asked: Asked, note: str = "") -> Iterator[Proposal]:
    """The least share of the card, in hundredths, that works."""
    now = asked.model.gpu_memory_utilization
    if now is None:
        return
    for percent in range(math.floor(now * 100) + 1, round(SHARE_MAX * 100) + 1):
        share = percent / 100
        then = asked.works(gpu_memory_utilization=share)
        if then is not None:
            yield asked.proposal("gpu_memory_utilization", f"{share:g}", note or _holds(then, asked))
            return


def _smaller_share(asked: Asked) -> Iterator[Proposal]:
    """Of a card that others use: what was free."""
    now, free, whole = asked.model.gpu_memory_utilization, *_figures(asked, "free", "all")
    if now is None or not whole:
        return
    share = math.floor(free / whole * 100) / 100
    then = asked.works(gpu_memory_utilization=share) if share > 0 else None
    if then is not None:
        yield asked.proposal("gpu_memory_utilization", f"{share:g}", _holds(then, asked))


def _pinned(asked: Asked) -> Iterator[Proposal]:
    """Without a share of its own the plan gives vLLM bytes, and there is no measuring to be disturbed."""
    now = asked.model.gpu_memory_utilization
    then = asked.works(gpu_memory_utilization=None) if now is not None else None
    if then is not None:
        note = f"infctl then gives it bytes, and nothing is measured; {_holds(then, asked)}"
        yield asked.proposal("gpu_memory_utilization", "", note)


def _fewer_requests(asked: Asked) -> Iterator[Proposal]:
    """Half of what was too much, and half again, until the plan takes it."""
    count = int(asked.words["requests"])
    while count > FEWEST:
        count = max(count // 2, FEWEST)
        then = asked.works(max_num_seqs=count)
        if then is not None:
            yield asked.proposal("max_num_seqs", str(count), _holds(then, asked))
            return


def _as_many_as_states(asked: Asked) -> Iterator[Proposal]:
    blocks = int(asked.words["blocks"])
    if blocks > 0 and asked.works(max_num_seqs=blocks) is not None:
        yield asked.proposal("max_num_seqs", str(blocks), "is the most that fits")


def _least_cache(asked: Asked) -> Iterator[Proposal]:
    """A KV cache that was written too small: the least, doubled until one request fits."""
    now = asked.model.kv_cache_memory
    if now is None:
        yield from _larger_share(asked)
        return
    size = MIB
    while size <= CACHE_MAX:
        if size > now and asked.works(kv_cache_memory=size) is not None:
            yield asked.cache(size, "holds one request")
            return
        size *= 2


def _smaller_cache(asked: Asked) -> Iterator[Proposal]:
    """On a CPU: what is free, less a fifth for others."""
    (free,) = _figures(asked, "free")
    whole = max(math.floor(free * 1024 * 0.8), 1)
    if asked.works(kv_cache_memory=whole * MIB) is not None:
        yield asked.cache(whole * MIB, "would fit and leave some to others")


def _same_cache(asked: Asked) -> Iterator[Proposal]:
    size = asked.words["same"]
    note = f"kv_cache_memory: {size} says the same"
    yield asked.proposal("env", "", note, was="VLLM_CPU_KVCACHE_SPACE")


_BY_CAUSE: Mapping[str, Callable[[Asked], Iterator[Proposal]]] = {
    "context too long": _shorter,
    "no room for a token": _least_cache,
    "context beyond model": _as_trained,
    "KV cache too large": _smaller_cache,
    "fraction of a GiB": _same_cache,
    "no KV cache memory": _larger_share,
    "neighbour on the GPU": _smaller_share,
    "memory profiling disturbed": _pinned,
    "too many requests at once": _fewer_requests,
    "too few states": _as_many_as_states,
}


def _holds(then: Draft, asked: Asked) -> str:
    tokens = [count for count in then.tokens(asked.name) if count]
    return f"fits ({min(tokens):,} tokens of KV cache)" if tokens else "fits"


def _figures(asked: Asked, *names: str) -> tuple[float, ...]:
    """GiB that the telling line names; 0: it does not."""
    return tuple(float(asked.words.get(name) or 0) for name in names)
