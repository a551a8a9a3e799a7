"""What `infctl bench` prints: the verdict first, then figures with what they mean. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infctl.bench.figures import DEFINITIONS
from infctl.bench.results import Config, Result
from infctl.cli.text import Column, Paint, duration, table, unpainted

_MARKS = {"valid": "good", "suspect": "warning", "invalid": "error"}
_SHOWN = ("mean", "p50", "p90", "p95", "p99", "p99.9", "max")
_SACRIFICE = {"p99.9": 3, "p90": 2, "max": 1}


def lines(found: Result, width: int, paint: Paint = unpainted) -> list[str]:
    """The whole of one result."""
    return [*head(found, paint), *verdict(found, paint), "", *_figures(found, width, paint), *_ended(found)]


def head(found: Result, paint: Paint = unpainted) -> list[str]:
    model = paint(found.config.model, "bold")
    return [f"{model} at {found.url} · {load_text(found.config)} · seed {found.config.seed}"]


def load_text(config: Config) -> str:
    """`chat, 256 in, 64 out, 4 at once`."""
    parts = [config.endpoint]
    if config.source:
        parts.append(
            config.source.partition(" ")[0] + (f" at {config.speed:g}x" if config.speed != 1 else "")
        )
    if config.arrivals != "trace":
        parts += [] if config.source else [f"{config.lengths_in} in"]
        parts += [] if config.endpoint in {"embeddings", "rerank"} else [f"{config.lengths_out} out"]
    parts += [f"prefix {config.prefix}"] if config.prefix else []
    parts += [f"{config.turns} turns"] if config.turns > 1 else []
    if config.rate is not None:
        parts.append(f"{config.rate:g} requests/s ({config.arrivals})")
    if config.concurrency is not None:
        most = "" if config.arrivals == "closed" else "at most "
        parts.append(f"{most}{config.concurrency} at once")
    return ", ".join(parts)


def verdict(found: Result, paint: Paint = unpainted) -> list[str]:
    grade, reasons = found.verdict["grade"], found.verdict["reasons"]
    told = [f"verdict: {paint(grade, _MARKS[grade])}" + ("" if reasons else ", nothing speaks against it")]
    return told + [f"  {reason['grade']}: {reason['text']}" for reason in reasons]


def _figures(found: Result, width: int, paint: Paint) -> list[str]:
    if found.figures is None:
        told = ["no figures: those of this run are not the server's (they are in result.json, marked)"]
        return told + _failures(found.measured())
    figures = found.figures
    counted = f"{figures['ok']:,} of {figures['counted']:,} requests ok"
    rates = (
        f"{_rate(figures['requests_per_s'])} requests/s · {_rate(figures['tokens_out_per_s'])} tokens/s out"
        f" · {_rate(figures['tokens_in_per_s'])} tokens/s in · {figures['in_flight']:.1f} in flight"
    )
    window = figures["window_s"]
    told = [f"{counted} in {duration(window[1] - window[0])}: {rates}"]
    if figures["goodput_per_s"] is not None:
        kept = ", ".join(f"{name} <= {limit:g} ms" for name, limit in found.config.slo_ms.items())
        told.append(
            f"goodput {_rate(figures['goodput_per_s'])} requests/s, {figures['good_share']:.1%} kept {kept}"
        )
    told += _failures(figures)
    told += ["", *_table(figures["latencies_ms"], figures["adjusted_ms"], figures["failed"], width, paint)]
    each = figures["tokens_a_piece"]
    if each is not None and not 0.99 <= each <= 1.01:
        beside = "" if "itl_token" in figures["latencies_ms"] else "; --chunk-usage has vLLM count each"
        told.append(f"a piece holds {each:.2f} tokens: ITL is between pieces, not between tokens{beside}")
    return told + server_lines(found)


def _failures(figures: Mapping[str, Any]) -> list[str]:
    if not figures.get("failures"):
        return []
    told = ["failed: " + ", ".join(f"{count:,} {name}" for name, count in figures["failures"].items())]
    return told + [
        f"  {row['outcome']}, {row['count']:,} times: {row['said']}"
        for row in figures["details"]
        if row["said"]
    ]


def _table(
    latencies: Mapping[str, Mapping[str, Any]],
    adjusted: Mapping[str, Mapping[str, Any]],
    failed: int,
    width: int,
    paint: Paint,
) -> list[str]:
    rows: list[tuple[str, Mapping[str, Any]]] = [
        (DEFINITIONS[name].title, spread) for name, spread in latencies.items() if name != "connect"
    ]
    if failed:
        rows += [(f"{DEFINITIONS[name].title}, adjusted", spread) for name, spread in adjusted.items()]
    columns = [Column("ms", tuple(title for title, _ in rows))]
    columns += [
        Column(key, tuple(_ms(row, key) for _, row in rows), right=True, sacrifice=_SACRIFICE.get(key, 0))
        for key in _SHOWN
    ]
    return table(columns, width, paint)


def _ms(row: Mapping[str, Any], key: str) -> str:
    if key not in row:
        return ""
    value = row[key]
    if value is None:
        return "never" if "count" not in row else "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def server_lines(found: Result) -> list[str]:
    """What the servers say of the whole run; means beside ours."""
    told = found.server
    if not told:
        return []
    said = ["", "by the servers, of the whole run with its warm-up:"]
    said += _split(told)
    queries, hits = told.get("cache_queries"), told.get("cache_hits")
    parts = []
    kv = told.get("kv_use")
    if kv:
        parts.append(f"KV cache {kv['mean']:.0%} in use, at most {kv['most']:.0%}")
    if told.get("preemptions") is not None:
        parts.append(f"{told['preemptions']:,.0f} preemptions")
    if queries:
        parts.append(f"{(hits or 0) / queries:.0%} of prompt tokens found in the cache")
    waiting, running = told.get("waiting"), told.get("running")
    if running and waiting:
        parts.append(f"running {running['mean']:.1f}, at most {running['most']:.0f}")
        parts.append(f"waiting {waiting['mean']:.1f}, at most {waiting['most']:.0f}")
    if parts:
        said.append("  " + ", ".join(parts))
    said.append("  " + _energy(told.get("energy")))
    return said


def _split(told: Mapping[str, Any]) -> list[str]:
    parts = told.get("split_ms")
    if parts:
        words = {"client": "client and network", "engine": "the engine's rest"}
        known = {words.get(name, name): value for name, value in parts.items() if value is not None}
        shown = [f"{name} {_near(value)}" for name, value in known.items()]
        total = sum(known.values())
        return [f"  mean TTFT {_near(total)} ms: {', '.join(shown)}"]
    named = (
        ("TTFT", "ttft_ms"),
        ("queue", "queue_ms"),
        ("prefill", "prefill_ms"),
        ("TTFT at the gateway", "gateway_ttft_ms"),
        ("the gateway's own", "gateway_overhead_ms"),
    )
    shown = [f"{name} {_near(told[key])} ms" for name, key in named if told.get(key) is not None]
    return ["  means: " + ", ".join(shown)] if shown else []


def _near(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"


def _energy(told: Mapping[str, Any] | None) -> str:
    if not told:
        return "joules per token: not measured (no GPU's counter of energy was read)"
    each = told.get("joules_a_token")
    spent = f"{told['joules']:,.0f} J, {told['watts']:,.0f} W ({told['source']})"
    return f"{each:.3g} joules per token out: {spent}" if each is not None else f"energy: {spent}"


def _ended(found: Result) -> list[str]:
    if found.ended == "complete":
        return []
    return [
        "",
        f"partial: {found.why or found.ended}; what is here is of the {duration(found.took_s)} before",
    ]


def definitions(found: Result) -> list[str]:
    shown = found.measured().get("latencies_ms", {})
    told = [f"{DEFINITIONS[name].title}: {found.definitions[name]}" for name in DEFINITIONS if name in shown]
    return [
        *told,
        *(f"{name}: {text}" for name, text in found.definitions.items() if name not in DEFINITIONS),
    ]


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
