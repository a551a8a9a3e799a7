"""The tensors of BERT, RoBERTa and XLM-RoBERTa, with and without a head that scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from infctl.models import ModelFacts, Weight
from infctl.models.inventory.attention import matrix

FAMILIES = frozenset({"bert", "roberta", "xlm-roberta"})


def _norm(name: str, width: int) -> Iterator[Weight]:
    yield Weight(f"{name}.weight", (width,))
    yield Weight(f"{name}.bias", (width,))


def embeddings(facts: ModelFacts, config: Mapping[str, Any]) -> Iterator[Weight]:
    at, hidden = f"{_root(facts)}embeddings", facts.hidden
    tables = {
        "word_embeddings": facts.vocab,
        "position_embeddings": int(config.get("max_position_embeddings", 512)),
        "token_type_embeddings": int(config.get("type_vocab_size", 2)),
    }
    for name, rows in tables.items():
        yield Weight(f"{at}.{name}.weight", (rows, hidden), "vocab", "first")
    for weight in _norm(f"{at}.LayerNorm", hidden):
        yield Weight(weight.name, weight.shape, stage="first")


def layer(facts: ModelFacts, index: int) -> Iterator[Weight]:
    at, hidden = f"{_root(facts)}encoder.layer.*", facts.hidden
    width = facts.layers[index].feed_forward.dense
    for name in ("query", "key", "value"):
        yield from matrix(f"{at}.attention.self.{name}", hidden, hidden, bias=True)
    yield from matrix(f"{at}.attention.output.dense", hidden, hidden, bias=True, bias_split="none")
    yield from _norm(f"{at}.attention.output.LayerNorm", hidden)
    yield from matrix(f"{at}.intermediate.dense", width, hidden, bias=True)
    yield from matrix(f"{at}.output.dense", hidden, width, bias=True, bias_split="none")
    yield from _norm(f"{at}.output.LayerNorm", hidden)


def head(facts: ModelFacts, config: Mapping[str, Any]) -> Iterator[Weight]:
    """Scores are computed in float32 by linear layers that no rank shares."""
    labels, hidden = _labels(config), facts.hidden
    scores = facts.architecture.endswith("ForSequenceClassification")
    if not scores or facts.family == "bert":
        only: Literal["", "file"] = "" if scores else "file"  # an embedder pools without it
        pooler = f"{_root(facts)}pooler.dense"
        yield Weight(
            f"{pooler}.weight", (hidden, hidden), stage="last", only=only, dtype="float32" if scores else ""
        )
        yield Weight(f"{pooler}.bias", (hidden,), stage="last", only=only, dtype="float32" if scores else "")
    if scores and facts.family == "bert":
        yield Weight("classifier.weight", (labels, hidden), stage="last", dtype="float32")
        yield Weight("classifier.bias", (labels,), stage="last", dtype="float32")
    elif scores:
        for name, rows in (("dense", hidden), ("out_proj", labels)):
            yield Weight(f"classifier.{name}.weight", (rows, hidden), stage="last", dtype="float32")
            yield Weight(f"classifier.{name}.bias", (rows,), stage="last", dtype="float32")


def _root(facts: ModelFacts) -> str:
    """A bare model's file leaves out the name that a model with a head gives it."""
    if facts.architecture.endswith("Model"):
        return ""
    return "bert." if facts.family == "bert" else "roberta."


def _labels(config: Mapping[str, Any]) -> int:
    labels, written = config.get("num_labels"), config.get("id2label")
    if isinstance(labels, int) and labels > 0:
        return labels
    return len(written) if isinstance(written, Mapping) and written else 2
