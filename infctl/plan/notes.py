"""What a person should know of a plan that fits: warnings, and what the profile's figures mean. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infctl.figure import gib
from infctl.gpus import Gpu
from infctl.models import ModelFacts
from infctl.plan.engine_args import POOLING_TASKS
from infctl.plan.packing import Site
from infctl.plan.words import cards, names, share
from infctl.profile.schema import Model

if TYPE_CHECKING:
    from infctl.plan.sites import Engine

ONLY_GATE = "leave it out: the plan then writes the gate that is needed"


@dataclass(frozen=True, slots=True)
class Note:
    path: str
    message: str
    hint: str = ""
    warns: bool = False
    """Something may go wrong, or was decided against what one would expect."""


def of_site(site: Site, engines: Sequence[Engine], total: int, headroom: int) -> Iterator[Note]:
    yield from _moved_in(site)
    yield from _unlike(site)
    for engine in engines:
        yield from _of_engine(engine)
        others = sum(other.taken.expected for other in engines if other is not engine)
        yield from _gate(engine, total - others)
    yield from _tight(site, engines, total, headroom)


def _of_engine(engine: Engine) -> Iterator[Note]:
    ask, need = engine.ask, engine.need
    path = f"models/{ask.model}"
    written = ask.args.gpu_memory_utilization
    for message in need.warnings:
        yield Note(f"{path}/source", message, warns=True)
    if written is not None and not ask.caches:
        yield Note(
            f"{path}/gpu_memory_utilization",
            f"{ask.model} is an encoder and keeps no KV cache: {share(written)} of the card has to be free"
            f" when it starts, {gib(need.budget_bytes)}, and it takes {gib(engine.taken.expected)} of that",
            ONLY_GATE,
        )
    elif ask.args.kv_cache_memory_bytes is not None and not ask.caches:
        message = f"{ask.model} is an encoder and keeps no KV cache: this has no effect"
        yield Note(f"{path}/kv_cache_memory", message, "leave it out")
    elif written is not None and need.kv is not None:
        work = need.profiled.expected
        yield Note(
            f"{path}/gpu_memory_utilization",
            f"{ask.model} takes {gib(need.budget_bytes)}, {share(written)} of the card, not its weights"
            f" alone: {gib(need.weights.expected)} of weights, {gib(work)} of work,"
            f" {gib(need.kv_bytes.expected)} of KV cache. {gib(need.context.expected)} of CUDA context are"
            " beside it",
        )
    if engine.args.max_model_len != ask.args.max_model_len and need.kv is not None:
        yield Note(
            f"{path}/max_model_len",
            f"the {ask.need.resolved.max_model_len:,} tokens that {ask.model} takes do not fit: the plan"
            f" writes {need.resolved.max_model_len:,}",
            "write max_model_len, or give it more memory",
            warns=True,
        )
    if need.kv is not None and need.kv.concurrency > need.resolved.max_num_seqs and not ask.pooling:
        yield Note(
            f"{path}/max_num_seqs",
            f"{ask.model} has KV cache for {need.kv.concurrency:,.0f} requests of full length and computes"
            f" {need.resolved.max_num_seqs:,} at once: the rest keeps prefixes",
        )


def _gate(engine: Engine, free: int) -> Iterator[Note]:
    """A gate that the user wrote holds at each start, also at one while the neighbours run."""
    ask = engine.ask
    written = ask.args.gpu_memory_utilization
    if written is None:
        return
    there = free - engine.need.context.expected
    if engine.need.budget_bytes > there:
        yield Note(
            f"models/{ask.model}/gpu_memory_utilization",
            f"{engine.service} starts before its neighbours, but not again while they run: {gib(there)} of"
            f" the {gib(engine.need.budget_bytes)} that {share(written)} asks for are free then",
            ONLY_GATE,
            warns=True,
        )


def _tight(site: Site, engines: Sequence[Engine], total: int, headroom: int) -> Iterator[Note]:
    free = total - sum(engine.taken.expected for engine in engines)
    greedy = [engine for engine in engines if engine.ask.budget is not None]
    if greedy and free < headroom:
        yield Note(
            f"models/{greedy[0].ask.model}/gpu_memory_utilization",
            f"{gib(max(free, 0))} of {cards(site.gpus)} stay free, and requests may take {gib(headroom)} that"
            " vLLM does not reserve",
            "lower it by 0.02, or leave it out",
            warns=True,
        )


def _moved_in(site: Site) -> Iterator[Note]:
    hosts = [service for service, _ in site.services if service not in site.moved_in]
    models = dict(site.services)
    for service in site.moved_in:
        yield Note(
            f"models/{models[service]}/gpu",
            f"no card is left for {service} alone: the plan puts it beside {names(hosts)}"
            f" on {cards(site.gpus)}",
            "gpu: {share: NAME} on both says so in the profile",
            warns=True,
        )


def _unlike(site: Site) -> Iterator[Note]:
    kinds = list(dict.fromkeys(gpu.name or "unnamed" for gpu in site.gpus))
    if len({(gpu.name, gpu.memory_bytes) for gpu in site.gpus}) > 1:
        service, model = site.services[0]
        yield Note(
            f"models/{model}/gpu",
            f"{service} is cut across cards of different kinds ({names(kinds)}): the smallest decides",
            warns=True,
        )


def only_pools(name: str, model: Model, facts: ModelFacts) -> Iterator[Note]:
    """A model that embeds or scores, where answers are asked of it."""
    asked = [task for task in model.task if task not in POOLING_TASKS]
    if facts.pooling and asked and model.runner != "generate":
        yield Note(
            f"models/{name}/task",
            f"{name} is asked for {names(asked)}, and {facts.architecture or facts.family} embeds or scores"
            " only: vLLM answers no such request",
            "write what it does (embed, rerank), or another source",
            warns=True,
        )


def unsized(model: str) -> Note:
    return Note(
        f"models/{model}/source",
        f"the size of {model} is not known: it is placed by count alone, with vLLM's own memory settings",
        warns=True,
    )


def unknown_memory(gpus: Sequence[Gpu]) -> Note:
    return Note(
        "gpus",
        f"the memory of {cards(gpus)} is not known: what runs there is placed by count alone",
        "write it: gpus: [{name: NAME, memory: 24GiB}]",
        warns=True,
    )
