"""config.json -> ModelFacts. The reader of everything else in this folder that speaks of one config.

document       text -> a tree, and where each key stands
reader         a tree -> numbers and words; what is wrong is kept, with its place
families       what each model_type's own code assumes
layer_kinds, attention, state, feed_forward, context, precision, quantization: one part of the facts each
inventory      the tensors
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from infctl.errors import PlanError, Problem, Where, nowhere
from infctl.models import Layer, ModelFacts
from infctl.models.attention import attention, mla_heads
from infctl.models.checks import check_rest, check_rope
from infctl.models.context import Beside, context, ropes
from infctl.models.document import read_config
from infctl.models.families import FAMILIES, Family, belongs, canonical, rules_of
from infctl.models.feed_forward import feed_forward
from infctl.models.inventory import weights
from infctl.models.layer_kinds import layer_words
from infctl.models.precision import auto_dtype
from infctl.models.quantization import quantization
from infctl.models.reader import LAYERS_MAX, VOCAB_MAX, WIDTH_MAX, Problems, Reader
from infctl.models.remarks import remarks
from infctl.profile.values import shown

__all__ = ["Beside", "facts", "nowhere", "read_config"]

_TEXT_CONFIGS = ("text_config", "llm_config", "language_config")
"""Where models that also see or hear keep what we plan."""
_GENERATES = ("ForCausalLM", "ForConditionalGeneration", "ChatModel", "LMHeadModel")
_POOLS = (
    "ForTextEncoding",
    "EmbeddingModel",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ClassificationModel",
    "ForRewardModeling",
    "RewardModel",
    "Model",
)
"""Ends of architectures, as vLLM takes them for a pooling model."""


def facts(
    config: Mapping[str, Any],
    *,
    name: str,
    where: Where = nowhere,
    beside: Beside = Beside(),  # noqa: B008 - frozen
) -> ModelFacts:
    """What the config says, and what its family's code assumes where it is silent.

    `where` gives the place of a path such as `text_config/hidden_size`. Raises PlanError with every problem
    that is independent of the others: keys that are missing, of the wrong type, out of range or at odds.
    """
    tree: Any = config  # of JSON: whatever a file holds
    if not isinstance(tree, Mapping):
        problem = Problem(
            f"{shown(tree)} is not a model config", "", where(""), "the mapping of a config.json"
        )
        raise PlanError(f"{name} cannot be planned", problems=[problem])
    problems = Problems(where)
    found = _read(config, name, problems, beside)
    if problems.found:
        raise PlanError(
            f"the config of {name} cannot be planned",
            problems=problems.found,
            hint="compare it with the config.json on the model's hub page",
        )
    return replace(found[0], weights=weights(*found))


def _read(
    config: Mapping[str, Any], name: str, problems: Problems, beside: Beside
) -> tuple[ModelFacts, Mapping[str, Any]]:
    outer = Reader(config, problems)
    inner = _text_config(outer)
    family_name = canonical(inner.text("model_type") or outer.text("model_type"))
    architecture = next(iter(outer.words("architectures")), "")
    rules = rules_of(architecture, family_name)
    # An outer architecture that sees or hears is not asked: what it wraps decides.
    known = family_name in FAMILIES and (
        not architecture or inner is not outer or belongs(architecture, family_name)
    )
    if not architecture and not family_name:
        outer.wrong("architectures", "is missing", 'which code runs the model: ["LlamaForCausalLM"]')
    inner = replace(inner, defaults=rules.defaults)
    pooling = _pools(architecture, rules) if beside.pooling is None else beside.pooling
    hidden = inner.count("hidden_size", "n_embd", "d_model", most=WIDTH_MAX)
    layers = _layers(inner, rules, family_name, hidden)
    tokens = context(inner, family_name, beside, pooling=pooling)
    check_rest(inner)
    for rope in ropes(inner):
        check_rope(rope)
    packed = quantization(outer, inner, beside.quantization)
    multimodal = any(isinstance(outer.get(key), Mapping) for key in ("vision_config", "audio_config"))
    attentions = [layer.attention for layer in layers]
    said = architecture or family_name
    mla = any(one.kind == "mla" for one in attentions)
    read = ModelFacts(
        name=name,
        architecture=architecture,
        family=family_name,
        hidden=hidden,
        layers=layers,
        vocab=inner.count("vocab_size", "padded_vocab_size", most=VOCAB_MAX),
        context=tokens.most,
        default_context=tokens.default if tokens.default != tokens.most else None,
        dtype=auto_dtype(outer, inner, pooling=pooling, float16=rules.float16),
        quantization=packed,
        tied_embeddings=inner.flag("tie_word_embeddings", default=False),
        known=known,
        pooling=pooling,
        multimodal=multimodal,
        scale_logits_soft_cap=inner.get("final_logit_softcapping") is not None,
        mla_heads=mla_heads(inner) if mla else (0, 0, 0, 0),
        warnings=tuple(
            remarks(inner, said, family_name, attentions, packed, tokens, known=known, multimodal=multimodal)
        ),
    )
    written = {**inner.defaults, **inner.tree}
    return read, MappingProxyType({key: value for key, value in written.items() if value is not None})


def _text_config(outer: Reader) -> Reader:
    for key in _TEXT_CONFIGS:
        if (found := outer.below(key)) is not None:
            return found
    if (thinker := outer.below("thinker_config")) is not None:
        return _text_config(thinker)
    return outer


def _layers(config: Reader, family: Family, family_name: str, hidden: int) -> tuple[Layer, ...]:
    count = _layer_count(config, family)
    attentions = attention(config, family, family_name, hidden, count)
    words = layer_words(config, family, count)
    parts = feed_forward(config, family, words, attentions)
    return tuple(Layer(one, part) for one, part in zip(attentions, parts, strict=True))


def _layer_count(config: Reader, family: Family) -> int:
    """Nemotron-H may list its layers and leave their number out."""
    listed = config.get("layers_block_type")
    unwritten = config.get("num_hidden_layers") is None
    if (
        family.kinds == "nemotron_h"
        and unwritten
        and isinstance(listed, list)
        and 0 < len(listed) <= LAYERS_MAX
    ):
        return len(listed)
    return config.count("num_hidden_layers", "n_layer", "num_layers", "n_layers", most=LAYERS_MAX)


def _pools(architecture: str, family: Family) -> bool:
    if architecture.endswith(_GENERATES):
        return False
    return architecture.endswith(_POOLS) or family.kinds == "encoder"
