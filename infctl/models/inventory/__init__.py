"""Every tensor of a family's checkpoint, counted together where they are alike.

attention     queries, keys, values; or one latent vector
feed_forward  one path, or a router and experts
state         gated delta nets, mambas
encoder       BERT and its like
gemma3n       what Gemma 3n has besides
rotary        tables that vLLM computes
traits        how the families name things, and their small differences
shelf         counts alike tensors together
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from infctl.models import Layer, ModelFacts, Weight
from infctl.models.inventory import encoder, gemma3n, rotary
from infctl.models.inventory.attention import attention, latent_attention
from infctl.models.inventory.feed_forward import feed_forward
from infctl.models.inventory.shelf import Shelf
from infctl.models.inventory.state import state
from infctl.models.inventory.traits import COMMON, TRAITS, Traits


def weights(facts: ModelFacts, config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """In the order in which vLLM creates them. `config` is that of the language model (`text_config` where
    there is one); an architecture nobody taught us is taken for a Llama with the layers of `facts`.
    """
    shelf = Shelf()
    if facts.family in encoder.FAMILIES:
        _encoder(shelf, facts, config)
    else:
        _decoder(shelf, facts, config)
    return shelf.weights


def _encoder(shelf: Shelf, facts: ModelFacts, config: Mapping[str, Any]) -> None:
    shelf.put_all(encoder.embeddings(facts, config))
    for index in range(len(facts.layers)):
        shelf.put_all(encoder.layer(facts, index), index)
    shelf.put_all(encoder.head(facts, config))


def _decoder(shelf: Shelf, facts: ModelFacts, config: Mapping[str, Any]) -> None:
    traits = TRAITS.get(facts.family, COMMON)
    bare = facts.architecture.endswith("Model") and "For" not in facts.architecture
    root = "" if bare else traits.root
    layers = f"{root}layers.*"
    shelf.put(Weight(f"{root}{traits.embed}.weight", (facts.vocab, facts.hidden), "vocab", "first"))
    if traits.embed_norm:
        shelf.put(Weight(f"{root}{traits.embed_norm}.weight", (facts.hidden,), stage="first"))
    if facts.family in gemma3n.FAMILIES:
        shelf.put_all(gemma3n.around(root, facts, config))
    for index, layer in enumerate(facts.layers):
        shelf.put_all(_mixer(layers, layer, facts, traits, config), index)
        shelf.put_all(rotary.table(index, facts, config), index)
        shelf.put_all(feed_forward(layers, layer.feed_forward, facts, traits, config), index)
        shelf.put_all(_norms(layers, index, facts, traits), index)
        if facts.family in gemma3n.FAMILIES:
            shelf.put_all(gemma3n.layer(layers, facts, config), index)
    shelf.put_all(_end(root, facts, traits, config))
    for index in range(len(facts.layers), len(facts.layers) + _further_layers(facts, config)):
        shelf.put_all(_prediction(layers, index, facts, traits, config), index)


def parameters(facts: ModelFacts) -> int:
    """Numbers in the checkpoint, heads and further layers included. A tied head is not counted twice."""
    return sum(_numbers(weight) for weight in facts.weights if weight.only != "card")


def _numbers(weight: Weight) -> int:
    size = weight.count * max(1, len(weight.layers))
    for part in weight.shape:
        size *= part
    return size


def _mixer(
    root: str, layer: Layer, facts: ModelFacts, traits: Traits, config: Mapping[str, Any]
) -> Iterator[Weight]:
    """What lets tokens see each other. A few families have both kinds in one layer."""
    part = layer.attention
    if part.state is not None:
        yield from state(root, part.state, facts, config)
    if part.kind == "mla":
        yield from latent_attention(f"{root}.{traits.attention}", facts, config)
    elif part.heads and part.kind != "none":
        yield from attention(f"{root}.{traits.attention}", part, facts, traits, config)


def _norms(root: str, index: int, facts: ModelFacts, traits: Traits) -> Iterator[Weight]:
    for name in traits.norms[1:] if traits.embed_norm and index == 0 else traits.norms:
        yield Weight(f"{root}.{name}.weight", (facts.hidden,))
        if traits.norm_bias:
            yield Weight(f"{root}.{name}.bias", (facts.hidden,))


def _end(root: str, facts: ModelFacts, traits: Traits, config: Mapping[str, Any]) -> Iterator[Weight]:
    yield Weight(f"{root}{traits.final_norm}.weight", (facts.hidden,), stage="last")
    if traits.norm_bias:
        yield Weight(f"{root}{traits.final_norm}.bias", (facts.hidden,), stage="last")
    if facts.architecture.endswith("ForSequenceClassification"):
        labels = config.get("num_labels")
        yield Weight(
            "score.weight",
            (labels if isinstance(labels, int) and labels > 0 else 1, facts.hidden),
            stage="last",
        )
    elif not facts.tied_embeddings and not facts.architecture.endswith("Model"):
        yield Weight("lm_head.weight", (facts.vocab, facts.hidden), "vocab", "last")
        if config.get("lm_head_bias"):
            yield Weight("lm_head.bias", (facts.vocab,), "vocab", "last")


def _further_layers(facts: ModelFacts, config: Mapping[str, Any]) -> int:
    """Layers that guess more tokens at once; vLLM loads them for speculative decoding only."""
    count = config.get("num_nextn_predict_layers", 0)
    wanted = facts.family in {"deepseek_v3", "kimi_k2", "glm4_moe"}
    return count if wanted and isinstance(count, int) and 0 < count < 100 else 0


def _prediction(
    root: str, index: int, facts: ModelFacts, traits: Traits, config: Mapping[str, Any]
) -> Iterator[Weight]:
    layer = facts.layers[-1]
    found = [
        *_mixer(root, layer, facts, traits, config),
        *feed_forward(root, layer.feed_forward, facts, traits, config),
        *_norms(root, index, facts, traits),
        Weight(f"{root}.embed_tokens.weight", (facts.vocab, facts.hidden)),
        Weight(f"{root}.enorm.weight", (facts.hidden,)),
        Weight(f"{root}.hnorm.weight", (facts.hidden,)),
        Weight(f"{root}.eh_proj.weight", (facts.hidden, 2 * facts.hidden)),
        Weight(f"{root}.shared_head.norm.weight", (facts.hidden,)),
        Weight(f"{root}.shared_head.head.weight", (facts.vocab, facts.hidden)),
    ]
    for weight in found:
        yield replace(weight, only="file")
