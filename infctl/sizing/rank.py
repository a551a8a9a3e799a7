"""The modules of one rank: what vLLM creates for a pipeline stage, after tensor parallelism has cut it.

vLLM loads some tensors of a file into one: queries, keys and values; gate and up; the experts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from infctl.models import Attention, ModelFacts, Stage, Weight
from infctl.sizing import Resolved

VOCAB_PADDING = 64

_FUSED = {
    name: fused
    for fused, names in {
        "qkv_proj": ("q_proj", "k_proj", "v_proj", "query", "key", "value"),
        "gate_up_proj": ("gate_proj", "up_proj", "w1", "w3"),
        "fused_qkv_a_proj": ("q_a_proj", "kv_a_proj_with_mqa"),
        "in_proj_qkvz": ("in_proj_qkv", "in_proj_z"),
        "in_proj_ba": ("in_proj_b", "in_proj_a"),
    }.items()
    for name in names
}
_ALONG_INPUTS = ("o_proj", "down_proj", "w2", "out_proj", "output_linear", "c_proj", "output.dense", "Wo")
"""Cut along their inputs; all others along their outputs."""


_EMBEDS_ON_EVERY_STAGE = frozenset(
    {
        "cohere",
        "cohere2",
        "gemma2",
        "gemma3",
        "gemma3_text",
        "gemma3n",
        "gemma3n_text",
        "gpt_oss",
        "granitemoe",
        "granitemoehybrid",
        "mamba",
        "mamba2",
        "mixtral",
        "nemotron_h",
        "phimoe",
        "qwen2_moe",
        "qwen3_5_moe_text",
        "qwen3_5_text",
        "qwen3_moe",
        "qwen3_next",
    }
)
"""Families whose code in vLLM creates the embeddings without asking which pipeline stage it is."""
_ENDS_ON_THE_LAST_STAGE = frozenset({"gemma3n", "gemma3n_text", "qwen3_5_moe_text", "qwen3_5_text"})
"""Those of them that ask before they create the head; the others' head and last norm are everywhere too."""
_NORMS_ON_THE_LAST_STAGE = frozenset({"qwen3_next"})


@dataclass(frozen=True, slots=True)
class Module:
    """One tensor on the card, `count` matrices of (out, into) stacked."""

    name: str
    out: int
    into: int
    count: int = 1
    dtype: str = ""
    packed: bool = False
    experts: bool = False
    table: bool = False
    """Computed on the card, with room for steps in between."""

    @property
    def numbers(self) -> int:
        return self.out * self.into * self.count


def stages(layers: int, pipeline: int) -> list[range]:
    """The layers of every pipeline stage: what does not divide goes to the stages before the last."""
    pipeline = max(1, pipeline)
    sizes = [layers // pipeline] * pipeline
    for behind in range(2, layers % pipeline + 2):
        sizes[-behind] += 1
    ends = [sum(sizes[: stage + 1]) for stage in range(pipeline)]
    return [range(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def modules(facts: ModelFacts, resolved: Resolved, stage: int) -> list[Module]:
    """In the order in which vLLM creates them: embeddings, layer by layer, the end."""
    layers = stages(len(facts.layers), resolved.pipeline_parallel)[stage]
    last = stage == max(1, resolved.pipeline_parallel) - 1
    first = _outside(facts, "first")
    if stage > 0:
        # A tied head needs the embeddings on the last stage as well.
        again = facts.family in _EMBEDS_ON_EVERY_STAGE or (facts.tied_embeddings and last)
        first = [weight for weight in first if weight.split == "vocab"][:1] if again else []
    found = _modules(facts, resolved, first)
    shapes: dict[tuple[Weight, ...], list[Module]] = {}
    for layer, weights in _inside(facts, layers).items():
        alike = tuple(weights)
        if alike not in shapes:
            shapes[alike] = _modules(facts, resolved, alike)
        found += [replace(module, name=module.name.replace("*", str(layer), 1)) for module in shapes[alike]]
    return found + _modules(facts, resolved, _end(facts, last=last))


def _end(facts: ModelFacts, *, last: bool) -> list[Weight]:
    """The last norm and the head; what pools has no head."""
    family, end = facts.family, _outside(facts, "last")
    if facts.pooling:
        end = [weight for weight in end if not weight.name.startswith("lm_head")]
    if last:
        return end
    if family not in _EMBEDS_ON_EVERY_STAGE - _ENDS_ON_THE_LAST_STAGE:
        return []
    return [weight for weight in end if weight.split == "vocab" or family not in _NORMS_ON_THE_LAST_STAGE]


def _outside(facts: ModelFacts, stage: Stage) -> list[Weight]:
    return [w for w in facts.weights if not w.layers and w.stage == stage and w.only != "file"]


def _inside(facts: ModelFacts, layers: range) -> dict[int, list[Weight]]:
    """Layer -> its tensors. A table is computed once, for the first layer of a stage that uses it."""
    found: dict[int, list[Weight]] = {layer: [] for layer in layers}
    for weight in facts.weights:
        if weight.only == "card":
            user = next((layer for layer in weight.layers if layer in found), None)
            if user is not None:
                found[user].append(weight)
        elif not weight.only:
            for layer in weight.layers:
                if layer in found:
                    found[layer].append(weight)
    return found


def _modules(facts: ModelFacts, resolved: Resolved, weights: Iterable[Weight]) -> list[Module]:
    """Fused where vLLM fuses them; the order is that of the first part."""
    found: dict[str, Module] = {}
    for weight in weights:
        module = _cut(weight, facts, resolved)
        before = found.get(module.name)
        found[module.name] = module if before is None else replace(before, out=before.out + module.out)
    return list(found.values())


def _cut(weight: Weight, facts: ModelFacts, resolved: Resolved) -> Module:
    """One rank's share."""
    tensor, count = max(1, resolved.tensor_parallel), weight.count
    *stack, out, into = (1, *weight.shape) if len(weight.shape) == 1 else weight.shape
    if len(weight.shape) == 1:
        out, into = into, 1
    for size in stack:
        count *= size
    if len(weight.shape) == 3 and weight.split == "even":  # a convolution: channels come first
        count, out, into = 1, weight.shape[0], weight.shape[1] * weight.shape[2]
    stem = weight.name.removesuffix(".weight").removesuffix(".bias").removesuffix("_bias")
    along_inputs = stem.endswith(_ALONG_INPUTS)
    experts = weight.split == "experts"
    if len(weight.shape) == 2 and experts and weight.name.endswith("_bias"):
        count, out, into = weight.shape[0], weight.shape[1], 1
    layer = facts.layers[weight.layers[0]].attention if weight.layers else None
    if experts and resolved.expert_parallel:
        count = -(-count // tensor)
    elif weight.split == "kv_heads" and layer is not None:
        out = out // max(1, layer.kv_heads) * -(-layer.kv_heads // tensor)
    elif weight.split == "vocab":
        out = -(-(-(-out // VOCAB_PADDING) * VOCAB_PADDING) // tensor)
    elif weight.split != "none" and along_inputs and into > 1:
        into = -(-into // tensor)
    elif weight.split != "none" and not (along_inputs and experts):
        copied = _copied(stem, layer) if layer is not None else (0, 1)
        out = -(-(out - copied[0]) // tensor) + copied[0] // copied[1] * -(-copied[1] // tensor)
    return Module(
        fused(weight.name),
        out,
        into,
        count,
        weight.dtype,
        packed=weight.packed,
        experts=experts,
        table=weight.only == "card",
    )


def _copied(stem: str, layer: Attention) -> tuple[int, int]:
    """(outputs that come in groups, groups): what the ranks cut no further than into single groups."""
    if stem.endswith(("qkv_proj", "Wqkv")) and layer.kv_heads:
        return layer.kv_heads * (layer.head_dim + (layer.value_dim or layer.head_dim)), layer.kv_heads
    if layer.state is not None and layer.state.kind == "mamba2" and stem.endswith((".in_proj", ".conv1d")):
        return 2 * layer.state.groups * layer.state.state, layer.state.groups
    return 0, 1


def fused(name: str) -> str:
    """The name of the module that vLLM loads a tensor into."""
    parts = name.split(".")
    return ".".join(_FUSED.get(part, part) for part in parts)
