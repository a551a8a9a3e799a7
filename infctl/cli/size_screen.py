"""The screen of `infctl size`, as lines. Pure.

heading · where the card's bytes go · the verdict, tokens, longest context · notes and warnings
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from infctl.cli.figures import as_is, doubt, labelled, plain, shortened, source
from infctl.cli.text import Column, Paint, number, table, unpainted
from infctl.figure import GIB, Figure, gib
from infctl.sizing import MemoryNeed


def lines(
    model: str,
    need: MemoryNeed,
    width: int,
    *,
    other: MemoryNeed | None = None,
    origin: str = "",
    warnings: Iterable[str] = (),
    utf8: bool = True,
    paint: Paint = unpainted,
) -> list[str]:
    """`other`: the same replica under the other vLLM's rules. `origin`: where the model's facts come from."""
    words = as_is if utf8 else plain
    out = [paint(line, "bold") for line in labelled("", words(heading(model, need)), width, indent=0)]
    out += ["", *table(shortened(_columns(need), width, words), width, paint), ""]
    good = "good" if need.fits else "error"
    verdict = labelled(verdict_word(need), words(verdict_text(need)), width)
    out += [verdict[0].replace(verdict_word(need), paint(verdict_word(need), good), 1), *verdict[1:]]
    for label, text in says(need, other, origin, warnings):
        told = labelled(label, words(text), width)
        style = "warning" if label == "warning" else "bold"
        out += [told[0].replace(label, paint(label, style), 1) if label else told[0], *told[1:]]
    return out


def heading(model: str, need: MemoryNeed) -> str:
    """`Qwen/Qwen2.5-7B-Instruct on L4 (22.05 GiB) · vLLM 0.25`."""
    card, resolved = need.card, need.resolved
    total = gib(card.total_bytes, 2) + (", nominal" if card.nominal else "")
    ranks = resolved.tensor_parallel * resolved.pipeline_parallel
    cards = f"{ranks} x {card.name}" if ranks > 1 else card.name
    return f"{model} on {cards} ({total}{' each' if ranks > 1 else ''}) · vLLM {resolved.vllm}"


def verdict_word(need: MemoryNeed) -> str:
    return "fits" if need.fits else "no"


def verdict_text(need: MemoryNeed) -> str:
    """One sentence: what is there for requests, or by how much it does not fit."""
    kv = need.kv
    if not need.fits or kv is None:
        return need.reason or "it does not fit"
    tokens = need.kv_tokens
    band = f" ({tokens.low:,} to {tokens.high:,})" if doubt(tokens) else ""
    return (
        f"{tokens.expected:,} KV tokens{band} in {kv.num_blocks:,} blocks of {kv.block_size}:"
        f" {kv.concurrency:.1f} requests of {need.resolved.max_model_len:,} tokens at once"
    )


def _longest(need: MemoryNeed) -> Iterable[tuple[str, str]]:
    if need.fate in {"weights", "start"}:
        return  # no length would help
    if need.max_model_len_that_fits > 0:
        yield "longest", f"a context of {need.max_model_len_that_fits:,} tokens fits"
    elif need.kv is not None:
        yield "longest", "not even one token fits"


def says(
    need: MemoryNeed, other: MemoryNeed | None, origin: str, warnings: Iterable[str]
) -> Iterable[tuple[str, str]]:
    """(label, sentence) below the verdict."""
    resolved = need.resolved
    yield from _longest(need)
    if other is not None and _differs(need, other):
        yield "note", _other(need, other)
    cache = f" KV cache in {resolved.kv_dtype}," if need.kv is not None else ""
    tokens, seqs = resolved.max_num_batched_tokens, resolved.max_num_seqs
    batch = f"max_num_batched_tokens {tokens:,}, max_num_seqs {seqs:,}"
    graphs = "compiled with CUDA graphs" if resolved.compiled else "eager"
    yield "with", f"{batch}, dtype {resolved.dtype},{cache} {graphs}"
    if origin:
        yield "facts", f"of the model: {origin}"
    yield from (("warning", text) for text in dict.fromkeys((*need.warnings, *warnings)))


def _differs(need: MemoryNeed, other: MemoryNeed) -> bool:
    """Worth a line: other tokens, or another verdict."""
    if need.kv is None or not (need.fits or other.fits):
        return False
    return other.fits != need.fits or other.kv_tokens.expected != need.kv_tokens.expected


def _other(need: MemoryNeed, other: MemoryNeed) -> str:
    vllm = other.resolved.vllm
    fewer = other.kv_tokens.expected < need.kv_tokens.expected
    graphs = need.cudagraphs.expected and fewer and vllm == "0.32"
    why = "takes the CUDA graphs from this as well" if graphs else "shares the card out differently"
    figure = f"{number(other.kv_tokens.expected)} tokens" if other.fits else "it does not fit then"
    return f"vLLM {vllm} {why}: {figure}; --vllm-version {vllm}"


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    size: str
    band: str
    source: str


def _columns(need: MemoryNeed) -> tuple[Column, ...]:
    rows = _rows(need)
    ranks = need.resolved.tensor_parallel * need.resolved.pipeline_parallel
    return (
        Column("a GPU" if ranks > 1 else "", tuple(row.name for row in rows)),
        Column("GiB", tuple(row.size for row in rows), right=True),
        Column("between", tuple(row.band for row in rows), right=True, sacrifice=1),
        Column("from", tuple(row.source for row in rows), sacrifice=2),
    )


def _rows(need: MemoryNeed) -> list[_Row]:
    """What sums up to vLLM's budget, the budget, then what the card loses beside it."""
    graphs = _row("CUDA graphs", need.cudagraphs)
    context = _row("CUDA context", need.context)
    counted = _counts_graphs(need)
    inside = [
        _row("weights", need.weights),
        _row("activation", need.activation),
        *([graphs] if counted else []),
        _row("libraries (non-torch)", need.non_torch),
    ]
    if need.kv is not None:
        inside.append(_row("KV cache" if need.kv_bytes.expected >= 0 else "missing", need.kv_bytes))
    if need.card.cpu:
        return [row for row in inside if row.size != "0.00"]
    given = need.resolved.kv_cache_memory_bytes is not None and need.kv is not None
    share = "what these sum up to" if given else f"{need.resolved.gpu_memory_utilization:g} of the card"
    budget = _Row("vLLM's budget", f"{need.budget_bytes / GIB:.2f}", "", share)
    outside = [
        replace(row, source=f"{row.source}, beside it") for row in ([] if counted else [graphs]) + [context]
    ]
    return [*inside, budget, *outside]


def _row(name: str, figure: Figure) -> _Row:
    known = source(figure).partition(",")[0] if figure.high or figure.low else ""
    return _Row(name, f"{abs(figure.expected) / GIB:.2f}", _band(figure), known)


def _counts_graphs(need: MemoryNeed) -> bool:
    """Whether the KV cache gave way to the graphs: the sum says so. Encoders: nothing gives way."""
    rest = need.weights.expected + need.activation.expected + need.non_torch.expected + need.kv_bytes.expected
    return need.kv is None or need.budget_bytes - rest > need.cudagraphs.expected // 2


def _band(figure: Figure) -> str:
    low, high = (f"{abs(end) / GIB:.2f}" for end in sorted((figure.low, figure.high), key=abs))
    return "" if low == high else f"{low} .. {high}"
