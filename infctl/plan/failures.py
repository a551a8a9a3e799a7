"""What does not fit, which key of the profile is to blame, and by how much. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infctl.figure import gib
from infctl.models import ModelFacts
from infctl.plan.allot import Allotment
from infctl.plan.asks import LEAST_CONTEXT, Ask
from infctl.plan.packing import Site
from infctl.plan.words import cards, names, share
from infctl.profile.check.arguments import OWNED_FLAGS
from infctl.profile.schema import Model
from infctl.sizing import EngineArgs, MemoryNeed
from infctl.sizing.kv import bytes_for
from infctl.sizing.kv_specs import specs

if TYPE_CHECKING:
    from infctl.plan.sites import Engine


_TO_BLAME = {
    "--block-size": "block_size",
    "--kv-cache-memory-bytes": "kv_cache_memory",
    "--tensor-parallel-size": "tensor_parallel",
    "--pipeline-parallel-size": "pipeline_parallel",
    "--max-num-seqs": "max_num_seqs",
    "--max-num-batched-tokens": "max_num_batched_tokens",
}
"""A flag that sizing names in its reason -> the field of the model that writes it."""
_OPEN = EngineArgs()


@dataclass(frozen=True, slots=True)
class Failure:
    """One model, or the sharers of a card, that cannot run as the profile has it."""

    models: tuple[str, ...]
    path: str
    message: str


def refused(ask: Ask, facts: ModelFacts) -> Failure | None:
    """What no card would help against."""
    path = f"models/{ask.model}"
    if ask.refused is not None:
        return Failure((ask.model,), f"{path}/source", f"vLLM does not start with this model: {ask.refused}")
    if ask.need.fate == "context":
        asked, most = ask.need.resolved.max_model_len, facts.context
        message = f"{ask.model} takes {most:,} tokens at most, {asked:,} are asked for"
        return Failure((ask.model,), f"{path}/max_model_len", message)
    return None


def too_little(site: Site, asks: Sequence[Ask], found: Allotment, models: Mapping[str, Model]) -> Failure:
    """The card does not hold the least of all its engines."""
    total = asks[0].need.card.total_bytes
    where = cards(site.gpus)
    if len(asks) == 1:
        return _alone(asks[0], found, where, total, models[asks[0].model])
    least = [ask.taken(ask.least if ask.open else None).high for ask in asks]
    worst = asks[max(range(len(asks)), key=least.__getitem__)]
    key = "gpu" if worst.budget is None else "gpu_memory_utilization"
    each = dict(zip((ask.model for ask in asks), least, strict=True))
    copies = Counter(ask.model for ask in asks)
    parts = [f"{name} {f'{copies[name]} x ' * (copies[name] > 1)}{gib(size)}" for name, size in each.items()]
    message = (
        f"{names(list(each))} share{'s' * (len(each) == 1)} {where} and need {gib(sum(least))}"
        f" at least ({', '.join(parts)}), {gib(total - found.headroom)} of {gib(total)} can be given:"
        f" {gib(found.missing)} too much"
    )
    return Failure(tuple(dict.fromkeys(ask.model for ask in asks)), f"models/{worst.model}/{key}", message)


def _alone(ask: Ask, found: Allotment, where: str, total: int, model: Model) -> Failure:
    path = f"models/{ask.model}"
    told = (ask.model,)
    there = total - found.headroom
    bare = ask.fixed.high
    if ask.budget is not None and ask.budget >= ask.fixed.low - ask.need.context.low:
        message = (
            f"{share(ask.need.resolved.gpu_memory_utilization)} of {where} and the CUDA context are"
            f" {gib(ask.taken(None).high)}, the card has {gib(total)}"
        )
        return Failure(told, f"{path}/gpu_memory_utilization", message)
    if bare > there:
        rest = bare - ask.need.weights.high
        message = (
            f"{ask.model} needs {gib(bare)} of {where} before its KV cache gets any"
            f" ({gib(ask.need.weights.high)} of weights, {gib(rest)} of work),"
            f" {gib(there)} can be given: {gib(bare - there)} too little"
        )
        cut = next((key for key in ("tensor_parallel", "pipeline_parallel") if getattr(model, key) > 1), None)
        key = cut or ("source" if model.gpu.auto else "gpu")
        return Failure(told, f"{path}/{key}", message)
    if ask.given is not None:
        message = f"{gib(ask.given)} of KV cache are asked for, {gib(max(there - bare, 0))} are there"
        return Failure(told, f"{path}/kv_cache_memory", message)
    shortest = ask.need.resolved.max_model_len
    if ask.args.max_model_len is None:
        shortest = min(shortest, LEAST_CONTEXT)
    return Failure(told, f"{path}/max_model_len", _one_request(ask, ask.least, there - bare, shortest))


def unfit(ask: Ask, need: MemoryNeed, facts: ModelFacts) -> Failure | None:
    """What vLLM would refuse at its start, with the bytes that this engine gets."""
    if need.fits:
        return None
    path = f"models/{ask.model}"
    told = (ask.model,)
    written = ask.budget is not None
    if need.fate == "weights" and written:
        work = need.weights.expected + need.profiled.expected
        message = (
            f"{share(need.resolved.gpu_memory_utilization)} of the card are {gib(need.budget_bytes)}, weights"
            f" and work take {gib(work)}: nothing is left for the KV cache,"
            f" {gib(work - need.budget_bytes)} are missing"
        )
        return Failure(told, f"{path}/gpu_memory_utilization", message)
    if need.fate == "kv":
        one = bytes_for(specs(facts, need.resolved), 1, need.resolved)
        key = (
            "kv_cache_memory" if ask.given is not None and ask.args.max_model_len is None else "max_model_len"
        )
        length = need.resolved.max_model_len
        return Failure(told, f"{path}/{key}", _one_request(ask, one, need.kv_bytes.expected, length))
    otherwise = "gpu_memory_utilization" if written else "source"
    named = (field for flag, field in _TO_BLAME.items() if flag in need.reason and _wrote(ask.args, field))
    return Failure(told, f"{path}/{next(named, otherwise)}", _plain(need.reason))


def _wrote(args: EngineArgs, field: str) -> bool:
    """The profile has a value of its own for it."""
    name = "kv_cache_memory_bytes" if field == "kv_cache_memory" else field
    return bool(getattr(args, name) != getattr(_OPEN, name))


def _one_request(ask: Ask, needed: int, there: int, length: int) -> str:
    return (
        f"{ask.model} needs {gib(needed)} of KV cache for one request of {length:,} tokens,"
        f" {gib(max(there, 0))} are there"
    )


def shut_out(engine: Engine, free: int, site: Site) -> Failure:
    """The neighbours leave less than the share that the user wrote."""
    ask = engine.ask
    message = (
        f"{engine.service} asks for {share(engine.need.resolved.gpu_memory_utilization)} of"
        f" {cards(site.gpus)}, {gib(engine.gate)}, and its neighbours leave {gib(max(free, 0))}:"
        " vLLM would not start"
    )
    return Failure((ask.model,), f"models/{ask.model}/gpu_memory_utilization", message)


def states(ask: Ask, most: int) -> Failure:
    """A hybrid model, and a max_num_seqs that the user wrote."""
    asked = ask.args.max_num_seqs
    message = f"each request of {ask.model} holds a block of state: {most} fit at once, {asked} are asked for"
    return Failure((ask.model,), f"models/{ask.model}/max_num_seqs", message)


def _plain(sentence: str) -> str:
    """What sizing says, with the profile's words for vLLM's flags."""
    for flag, field in OWNED_FLAGS.items():
        sentence = sentence.replace(f"{flag} ", f"{field} ")
    return sentence.removesuffix(".")
