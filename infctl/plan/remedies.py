"""What would make a model fit: the cheapest changes, each of them planned before it is proposed. Pure.

In order of what they cost: less context, the plan's own share, a smaller KV cache a token, fewer requests at
once, fewer replicas, a card of its own, smaller weights, a replica on more cards, larger cards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from infctl.figure import GIB, gib
from infctl.gpus import CARDS, GPUS_MAX, Gpu
from infctl.models import ModelFacts
from infctl.models.quantization import four_bits
from infctl.plan.asks import Sizer, card_of
from infctl.plan.changes import Change, tried
from infctl.plan.draft import Draft
from infctl.plan.engine_args import engine_args
from infctl.plan.failures import Failure
from infctl.plan.lengths import STEP, USEFUL
from infctl.plan.words import names
from infctl.profile.schema import Model, Placement, Profile
from infctl.sizing.defaults import resolve
from infctl.sizing.verdict import BLOCK_STEP

AT_MOST = 4
"""Changes proposed for one failure."""
FEWEST_SEQS = 16
WIDEST = 8
"""Cards a replica is cut across at most, in a proposal."""
OLDEST = (8, 0)
"""Compute capability of the cards that are proposed: older ones have no bfloat16."""
NO_CHANGE = "no single change makes it fit: infctl size MODEL --gpu NAME shows what would"

Works = Callable[[Change], Draft | None]


def hint(failure: Failure, profile: Profile, gpus: tuple[Gpu, ...], sizer: Sizer, found: Draft) -> str:
    """`would fit: ...` and a line an alternative; what to do where none is known."""

    def works(change: Change) -> Draft | None:
        then = tried(change, profile, gpus, sizer)
        if then is None or not then.failed <= found.failed or not then.failed.isdisjoint(failure.models):
            return None
        # Placed, that is: a neighbour's own failure on the same card would leave the change unproven.
        return then if {replica.model for replica in then.replicas}.issuperset(failure.models) else None

    several = len(failure.models) > 1
    lines: list[str] = []
    for candidates in _candidates(profile, gpus, sizer, failure):
        for change, then in candidates(works):
            own = several and change.gpus is None
            lines.append(f"{change.model}: {_said(change, then)}" if own else _said(change, then))
            if len(lines) == AT_MOST:
                break
        if len(lines) == AT_MOST:
            break
    if not lines:
        return NO_CHANGE
    return _listed(lines)


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"{'or' if number else 'would fit:'} {line}" for number, line in enumerate(lines))


def hint_for_cards(name: str, needed: int, profile: Profile, gpus: tuple[Gpu, ...], sizer: Sizer) -> str:
    """There are fewer cards than places. Empty: nothing is known that would fit."""

    def works(change: Change) -> Draft | None:
        then = tried(change, profile, gpus, sizer)
        return None if then is None or then.failures else then

    lines = list(_shared(profile, sizer, works))
    fewer = range((profile.models[name].replicas or 1) - 1, 0, -1)
    for change, then in _first(works, *(Change(f"{n}", name, {"replicas": n}) for n in fewer)):
        count = int(change.says)
        lines.append(_said(replace(change, says=f"replicas: {count}, as it is"), then))
    if sizer.knows(name):
        heads, now = _heads(sizer.facts[name]), profile.models[name].tensor_parallel
        widths = (n for n in (8, 4, 2, 1) if n < now and heads % n == 0)
        cuts = (Change(f"tensor_parallel: {n}", name, {"tensor_parallel": n}) for n in widths)
        lines += [_said(*found) for found in _first(works, *cuts)]
        small = _small_weights(name, profile.models[name], sizer, gpus, works)
        lines += [f"{name}: {_said(*found)}" for found in small]
    if len({(gpu.name, gpu.memory_bytes) for gpu in gpus}) == 1 and gpus[0].name:
        more = tuple(replace(gpus[0], index=n, uuid="") for n in range(needed))
        change = Change(f"gpus: {needed}x{gpus[0].name}", name, gpus=more)
        lines += [_said(*found) for found in _first(works, change)]
    return _listed(lines)


def _shared(profile: Profile, sizer: Sizer, works: Works) -> Iterator[str]:
    """All single engines that nobody placed, on one card."""
    place = {"gpu": Placement(share="one")}
    movable = [
        name
        for name, model in profile.models.items()
        if model.gpu.auto
        and (model.replicas or 1) * model.tensor_parallel * model.pipeline_parallel == 1
        and sizer.knows(name)
    ]
    if len(movable) < 2:
        return
    says = f"gpu: {{share: one}} on {names(movable)}"
    change = Change(says, movable[0], place, beside=dict.fromkeys(movable[1:], place))
    for _, then in _first(works, change):
        held = [f"{name} {tokens:,}" for name in movable for tokens in then.tokens(name) if tokens]
        yield f"{says} ({names(held)} tokens of KV cache)" if held else says


def _said(change: Change, then: Draft) -> str:
    tokens = [count for count in then.tokens(change.model) if count]
    if not tokens:
        return change.says
    return f"{change.says} ({min(tokens):,} tokens of KV cache{' each' if len(tokens) > 1 else ''})"


Candidates = Callable[[Works], Iterator[tuple[Change, Draft]]]


def _candidates(
    profile: Profile, gpus: tuple[Gpu, ...], sizer: Sizer, failure: Failure
) -> Iterator[Candidates]:
    kinds = (
        _block,
        _own_batch,
        _shorter,
        _own_share,
        _smaller_share,
        _small_cache,
        _fewer_seqs,
        _fewer_replicas,
        _own_card,
        _small_weights,
        _wider,
        _fewer_stages,
    )
    for kind in kinds if profile.gpus.kind != "cpu" else (_shorter, _own_share, _smaller_share):
        for model in failure.models:
            yield partial(kind, model, profile.models[model], sizer, gpus)
    if profile.gpus.kind != "cpu":
        first = failure.models[0]
        yield partial(_more_cards, first, profile.models[first], sizer, gpus)
        yield partial(_larger_cards, first, gpus)


def _first(works: Works, *changes: Change) -> Iterator[tuple[Change, Draft]]:
    for change in changes:
        if (then := works(change)) is not None:
            yield change, then
            return


def _useful(then: Draft, name: str) -> bool:
    """Cards that hold the weights and next to no cache are no proposal."""
    needs = [replica.need for replica in then.replicas if replica.model == name]
    return all(n is None or n.kv is None or n.kv_tokens.expected >= USEFUL for n in needs)


def _shorter(
    name: str, model: Model, sizer: Sizer, _gpus: tuple[Gpu, ...], works: Works
) -> Iterator[tuple[Change, Draft]]:
    """What the model takes at most, else the longest multiple of STEP below what is asked that fits."""
    most_taken = sizer.facts[name].context
    asked = model.max_model_len or most_taken
    most = min((asked - 1) // STEP, most_taken // STEP)

    def change(steps: int) -> Change:
        return Change(f"max_model_len: {steps * STEP}", name, {"max_model_len": steps * STEP})

    if asked > most_taken:
        whole = Change(f"max_model_len: {most_taken}", name, {"max_model_len": most_taken})
        if (then := works(whole)) is not None:
            yield whole, then
            return
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if works(change(middle)) is not None else (low, middle - 1)
    if low:
        yield from _first(works, change(low))


def _own_share(
    name: str, model: Model, _sizer: Sizer, _gpus: tuple[Gpu, ...], works: Works
) -> Iterator[tuple[Change, Draft]]:
    if model.gpu_memory_utilization is not None:
        yield from _first(
            works,
            Change("no gpu_memory_utilization: the plan chooses", name, {"gpu_memory_utilization": None}),
        )
    if model.kv_cache_memory is not None:
        yield from _first(
            works, Change("no kv_cache_memory: the plan chooses", name, {"kv_cache_memory": None})
        )


def _smaller_share(
    name: str, model: Model, _sizer: Sizer, _gpus: tuple[Gpu, ...], works: Works
) -> Iterator[tuple[Change, Draft]]:
    """The most whole GiB of KV cache below what is written."""
    if model.kv_cache_memory is None:
        return

    def change(size: int) -> Change:
        return Change(f"kv_cache_memory: {size}GiB", name, {"kv_cache_memory": size * GIB})

    low, high = 0, (model.kv_cache_memory - 1) // GIB
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if works(change(middle)) is not None else (low, middle - 1)
    if low:
        yield from _first(works, change(low))


def _own_batch(
    name: str, model: Model, _sizer: Sizer, _gpus: tuple[Gpu, ...], works: Works
) -> Iterator[tuple[Change, Draft]]:
    if model.max_num_batched_tokens is not None:
        says = "no max_num_batched_tokens: vLLM chooses"
        yield from _first(works, Change(says, name, {"max_num_batched_tokens": None}))


def _block(
    name: str, model: Model, _sizer: Sizer, _gpus: tuple[Gpu, ...], works: Works
) -> Iterator[tuple[Change, Draft]]:
    size = model.block_size or 0
    if size % BLOCK_STEP:
        least = max(size // BLOCK_STEP, 1) * BLOCK_STEP
        yield from _first(works, Change(f"block_size: {least}", name, {"block_size": least}))


def _small_cache(
    name: str, model: Model, sizer: Sizer, _gpus: tuple[Gpu, ...], works: Works
) -> Iterator[tuple[Change, Draft]]:
    if not sizer.facts[name].encoder_only and not str(model.kv_cache_dtype).startswith("fp8"):
        yield from _first(works, Change("kv_cache_dtype: fp8", name, {"kv_cache_dtype": "fp8"}))


def _fewer_seqs(
    name: str, model: Model, sizer: Sizer, gpus: tuple[Gpu, ...], works: Works
) -> Iterator[tuple[Change, Draft]]:
    card = card_of(gpus) if gpus else None
    if card is None:
        return
    seqs = resolve(sizer.facts[name], engine_args(model, sizer.vllm), card).max_num_seqs
    counts = []
    while seqs > FEWEST_SEQS:
        seqs //= 2
        counts.append(max(seqs, FEWEST_SEQS))
    yield from _first(works, *(Change(f"max_num_seqs: {n}", name, {"max_num_seqs": n}) for n in counts))


def _fewer_replicas(
    name: str, model: Model, _sizer: Sizer, _gpus: tuple[Gpu, ...], works: Works
) -> Iterator[tuple[Change, Draft]]:
    fewer = range((model.replicas or 1) - 1, 0, -1)
    yield from _first(works, *(Change(f"replicas: {n}", name, {"replicas": n}) for n in fewer))


def _own_card(
    name: str, model: Model, _sizer: Sizer, _gpus: tuple[Gpu, ...], works: Works
) -> Iterator[tuple[Change, Draft]]:
    if not model.gpu.auto:
        yield from _first(works, Change("gpu: auto", name, {"gpu": Placement()}))


def _small_weights(
    name: str, model: Model, sizer: Sizer, _gpus: tuple[Gpu, ...], works: Works
) -> Iterator[tuple[Change, Draft]]:
    facts = sizer.facts[name]
    packed = facts.quantization is not None and facts.quantization.method != "none"
    if packed or model.quantization is not None or not any(weight.packed for weight in facts.weights):
        return
    small = replace(facts, quantization=four_bits(), stored_bytes=None)
    for change, then in _first(works, Change("", name, facts=small)):
        weights = next(
            r.need.weights.expected for r in then.replicas if r.model == name and r.need is not None
        )
        yield replace(change, says=f"a 4-bit checkpoint of it (awq), {gib(weights)} of weights"), then


def _wider(
    name: str, model: Model, sizer: Sizer, gpus: tuple[Gpu, ...], works: Works
) -> Iterator[tuple[Change, Draft]]:
    heads = _heads(sizer.facts[name])
    now = model.tensor_parallel
    even = [n for n in (2, 4, 8) if n <= min(WIDEST, len(gpus)) and heads % n == 0]
    # Wider first holds more; narrower only helps where the heads cannot be cut as asked.
    widths = [n for n in even if n > now] + ([n for n in even if n < now] + [1] if heads % now else [])
    yield from _first(works, *(Change(f"tensor_parallel: {n}", name, {"tensor_parallel": n}) for n in widths))


def _fewer_stages(
    name: str, model: Model, sizer: Sizer, _gpus: tuple[Gpu, ...], works: Works
) -> Iterator[tuple[Change, Draft]]:
    """Where there are more stages than layers: the fewest that hold it."""
    layers = len(sizer.facts[name].layers)
    if model.pipeline_parallel > layers:
        counts = [n for n in (1, 2, 4, 8, 16, 32) if n < layers] + [layers]
        changes = (Change(f"pipeline_parallel: {n}", name, {"pipeline_parallel": n}) for n in counts)
        yield from _first(works, *changes)


def _heads(facts: ModelFacts) -> int:
    return max((layer.attention.heads for layer in facts.layers), default=1)


def _larger_cards(name: str, gpus: tuple[Gpu, ...], works: Works) -> Iterator[tuple[Change, Draft]]:
    """As many cards, of the smallest kind in the catalogue that holds it all."""
    now = max(gpu.memory_bytes for gpu in gpus)
    larger = sorted(
        (card for card in CARDS if card.memory_bytes > now and card.capability >= OLDEST),
        key=lambda card: card.memory_bytes,
    )
    for card in larger:
        cards = tuple(
            replace(
                gpu,
                name=card.name,
                memory_bytes=card.memory_bytes,
                nominal=card.nominal,
                capability=card.capability,
            )
            for gpu in gpus
        )
        change = Change(f"gpus: {len(gpus)}x{card.name}", name, gpus=cards)
        if (then := works(change)) is not None and _useful(then, name):
            yield change, then
            return


def _more_cards(
    name: str, model: Model, sizer: Sizer, gpus: tuple[Gpu, ...], works: Works
) -> Iterator[tuple[Change, Draft]]:
    """Each replica cut across more cards of the kind that is there, and those cards with it."""
    if len({(gpu.name, gpu.memory_bytes) for gpu in gpus}) > 1 or not gpus[0].name:
        return
    now, heads = model.tensor_parallel, _heads(sizer.facts[name])
    for width in (2, 4, 8):
        count = len(gpus) + (width - now) * (model.replicas or 1) * model.pipeline_parallel
        if width <= now or heads % width or count > GPUS_MAX:
            continue
        cards = tuple(replace(gpus[0], index=n, uuid="") for n in range(count))
        says = f"gpus: {count}x{gpus[0].name} and tensor_parallel: {width}"
        change = Change(says, name, {"tensor_parallel": width}, gpus=cards)
        if (then := works(change)) is not None and _useful(then, name):
            yield change, then
            return
