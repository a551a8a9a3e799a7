"""Runs as one HTML page that opens anywhere: no script, nothing fetched, plots from the log. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from infctl.bench.figures import DEFINITIONS, Figures, origin_us
from infctl.bench.record import Record
from infctl.bench.results import Result
from infctl.bench.server_side import KV_USE, RUNNING, WAITING, Sample
from infctl.bench.svg import Series, plot

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_SHOWN = ("mean", "p50", "p90", "p95", "p99", "p99.9", "max")
_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--dim:#667;--paper:#fff;--line:#d8dce2;--s0:#1b6ac9;--s1:#c2571a;
--s2:#2a8a4a;--s3:#8a3ab0}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--dim:#9aa3b0;--paper:#14181e;--line:#333b46;--s0:#6db0ff;
--s1:#ff9d5c;--s2:#6fd08c;--s3:#d08cf0}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1360px;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.15rem;margin-top:2rem}
.plots{display:grid;margin-top:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:1rem}
figure{margin:0;border:1px solid var(--line);border-radius:6px;padding:.7rem}figcaption{font-weight:600}
figure p{margin:.2rem 0 0;color:var(--dim)}svg{width:100%;height:auto}
.key{margin-right:1rem}
svg text{font-size:12px;fill:var(--ink)}svg .tick{fill:var(--dim)}
.axis{stroke:var(--dim);fill:none}.grid{stroke:var(--line);fill:none}
polyline{fill:none;stroke-width:2}polyline.s0{stroke:var(--s0)}polyline.s1{stroke:var(--s1)}
polyline.s2{stroke:var(--s2)}polyline.s3{stroke:var(--s3)}
circle.s0{fill:var(--s0)}circle.s1{fill:var(--s1)}circle.s2{fill:var(--s2)}circle.s3{fill:var(--s3)}
.cross{fill:none;stroke-width:1.5}path.s0{stroke:var(--s0)}path.s1{stroke:var(--s1)}path.s2{stroke:var(--s2)}
.key.s0{color:var(--s0)}.key.s1{color:var(--s1)}.key.s2{color:var(--s2)}.key.s3{color:var(--s3)}
.scroll{overflow-x:auto}table{border-collapse:collapse}
td,th{padding:.25rem .7rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}
td:first-child,th:first-child,.words td:nth-child(-n+3),.words th:nth-child(-n+3){text-align:left}
th{color:var(--dim);font-weight:600}
.verdict{border-left:5px solid var(--s2);padding:.4rem .8rem;margin:1rem 0}.suspect{border-color:var(--s1)}
.invalid{border-color:#c62828}dt{font-weight:600}dd{margin:0 0 .3rem 1rem;color:var(--dim)}
"""


@dataclass(frozen=True, slots=True)
class Run:
    result: Result
    load: str
    """In words."""
    figures: Figures
    records: Sequence[Record]
    servers: Sequence[str] = ()
    """What they say of it, in words."""
    samples: Sequence[Sample] = ()


def page(runs: Sequence[Run]) -> str:
    """The whole document. Runs that are invalid are told, and drawn nowhere."""
    title = f"infctl bench: {runs[0].result.config.model}" + (
        f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    )
    parts = [f"<h1>{escape(title)}</h1>"]
    valid = [run for run in runs if run.result.figures is not None]
    if len(runs) > 1:
        parts += ["<h2>All runs</h2>", _overview(runs), _together(valid)]
    for run in runs:
        parts += _run(run)
    parts.append(_definitions(runs[0].result))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _run(run: Run) -> list[str]:
    result = run.result
    asked = f"{result.config.model} at {result.url} · {run.load}"
    parts = [
        f"<h2>{escape(result.id)}</h2>",
        f"<p>{escape(asked)} · seed {result.config.seed} · {escape(result.began)}</p>",
        _verdict(result),
    ]
    if result.figures is None:
        return [*parts, "<p>No figures: those of this run are not the server's.</p>"]
    plots = [_distributions(run), _timeline(run), _throughput(run), *_engine(run)]
    return [
        *parts,
        _rates(result.figures),
        _table(result.figures),
        *([f"<p>{'<br>'.join(map(escape, run.servers))}</p>"] if run.servers else []),
        f'<div class="plots">{"".join(plots)}</div>',
    ]


def _verdict(result: Result) -> str:
    reasons = "".join(
        f"<br>{escape(reason['grade'])}: {escape(reason['text'])}" for reason in result.verdict["reasons"]
    )
    grade = escape(result.verdict["grade"], quote=True)
    partial = f"<br>partial: {escape(result.why or result.ended)}" if result.ended != "complete" else ""
    return f'<div class="verdict {grade}">verdict: <b>{grade}</b>{reasons}{partial}</div>'


def _rates(figures: Mapping[str, Any]) -> str:
    failed = ", ".join(f"{count:,} {escape(name)}" for name, count in figures["failures"].items())
    return (
        f"<p>{figures['ok']:,} of {figures['counted']:,} requests ok{f' ({failed})' if failed else ''} · "
        f"{figures['requests_per_s']:,.2f} requests/s · {figures['tokens_out_per_s']:,.1f} tokens/s out · "
        f"{figures['tokens_in_per_s']:,.1f} tokens/s in · {figures['in_flight']:.1f} in flight</p>"
    )


def _table(figures: Mapping[str, Any]) -> str:
    rows = [
        (DEFINITIONS[name].title, spread)
        for name, spread in figures["latencies_ms"].items()
        if name in DEFINITIONS
    ]
    if figures["failed"]:
        rows += [
            (f"{DEFINITIONS[name].title}, adjusted", spread)
            for name, spread in figures["adjusted_ms"].items()
        ]
    body = "".join(
        f"<tr><td>{escape(title)}</td>{''.join(f'<td>{_ms(spread, key)}</td>' for key in _SHOWN)}</tr>"
        for title, spread in rows
    )
    head = "".join(f"<th>{key}</th>" for key in ("ms", *_SHOWN))
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _ms(spread: Mapping[str, Any], key: str) -> str:
    if key not in spread:
        return ""
    value = spread[key]
    return ("never" if "count" not in spread else "-") if value is None else f"{value:,.1f}"


def _counted(run: Run) -> list[Record]:
    return [r for r in run.records if run.figures.window.counts(r) and r.outcome != "aborted"]


def _distributions(run: Run) -> str:
    """How many requests were answered within which time; failures never are: below 100 % then."""
    counted = _counted(run)
    series = []
    for name in ("ttft", "ttft_due", "e2e", "e2e_due"):
        of = DEFINITIONS[name].of
        ordered = sorted(value * 1e3 for r in counted if r.ok and (value := of(r)) is not None)
        points = [(value, (at + 1) / len(counted) * 100) for at, value in enumerate(ordered)]
        if points:
            series.append(Series(DEFINITIONS[name].title, points))
    return plot("Distributions", "ms", "% of all requests within", series, 100.0)


def _timeline(run: Run) -> str:
    def at(record: Record) -> float:
        return origin_us(record) / 1e6

    def took(record: Record) -> float:
        return (record.end_us - origin_us(record)) / 1e3

    done = [r for r in run.records if r.outcome != "aborted"]
    return plot(
        "Timeline: requests, when due or begun",
        "seconds after the run began",
        "end to end, ms",
        [
            Series("ok", [(at(r), took(r)) for r in done if r.ok], "points"),
            Series("failed", [(at(r), took(r)) for r in done if not r.ok], "crosses"),
        ],
    )


def _throughput(run: Run) -> str:
    """Tokens that arrived in each second; the last, which is not whole, is left out."""
    seconds: dict[int, float] = {}
    for record in run.records:
        content = record.content_us()
        if record.ok and content and record.tokens_out:
            for stamp in content:
                second = stamp // 1_000_000
                seconds[second] = seconds.get(second, 0.0) + record.tokens_out / len(content)
    last = max(seconds, default=0)
    points = [(second + 0.5, seconds.get(second, 0.0)) for second in range(last)]
    return plot(
        "Tokens out", "seconds after the run began", "tokens in that second", [Series("tokens/s", points)]
    )


def _engine(run: Run) -> list[str]:
    """What ran and waited in it, and how full its cache was, at each look that was taken."""

    def points(name: str, times: float = 1.0) -> list[tuple[float, float]]:
        seen = (sample for sample in run.samples if name in sample.look and sample.at_s >= 0)
        return [(sample.at_s, sample.look[name] * times) for sample in seen]

    running, waiting, used = points(RUNNING), points(WAITING), points(KV_USE, 100.0)
    across = "seconds after the run began"
    drawn = []
    if any(y for _, y in (*running, *waiting)):
        both = [Series("running", running), Series("waiting", waiting)]
        drawn.append(plot("In the engine", across, "requests", both))
    if any(y for _, y in used):
        drawn.append(plot("KV cache in use", across, "%", [Series("the fullest", used)], most_y=100.0))
    return drawn


def _overview(runs: Sequence[Run]) -> str:
    names = ("run", "load", "verdict", "requests/s", "tokens/s out", "e2e p50", "e2e p95")
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = []
    for run in runs:
        figures = run.result.figures or {}
        spread = figures.get("latencies_ms", {}).get("e2e", {})
        cells = [
            run.result.id,
            run.load,
            run.result.verdict["grade"],
            *(
                "-" if value is None else f"{value:,.1f}"
                for value in (
                    figures.get("requests_per_s"),
                    figures.get("tokens_out_per_s"),
                    spread.get("p50"),
                    spread.get("p95"),
                )
            ),
        ]
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return f'<div class="scroll"><table class="words"><tr>{head}</tr>{"".join(rows)}</table></div>'


def _together(valid: Sequence[Run]) -> str:
    """Latency against load; and what one user gets against what all get, with the runs none other beats."""
    measured = [(run, run.result.measured()) for run in valid]
    measured.sort(key=lambda one: one[1]["requests_per_s"])
    against = [
        Series(
            f"end to end {key}",
            [
                (figures["requests_per_s"], figures["latencies_ms"]["e2e"][key])
                for _, figures in measured
                if figures["latencies_ms"].get("e2e", {}).get(key) is not None
            ],
        )
        for key in ("p50", "p95", "p99")
    ]
    users = [
        (1000 / figures["latencies_ms"]["tpot"]["p50"], figures["tokens_out_per_s"], _at_once(run))
        for run, figures in measured
        if figures["latencies_ms"].get("tpot", {}).get("p50")
    ]
    best = sorted(one for one in users if not any(o[0] > one[0] and o[1] > one[1] for o in users))
    pareto = [
        Series("best of all", [one[:2] for one in best]),
        Series("runs", [one[:2] for one in users], "points", [one[2] for one in users]),
    ]
    load = plot("Latency against load", "requests/s", "ms", against)
    return (
        f'<div class="plots">{load}{plot("Pareto", "tokens/s of one user", "tokens/s of all", pareto)}</div>'
    )


def _at_once(run: Run) -> str:
    config = run.result.config
    return f"{config.rate:g}/s" if config.rate else f"{config.concurrency or ''}"


def _definitions(result: Result) -> str:
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>"
        for name, text in {**result.definitions, **result.outcomes}.items()
    )
    return f"<h2>Definitions</h2><dl>{rows}</dl>"
