"""Service: is it well, for users? One screen. Pure."""

from __future__ import annotations

from infctl.monitoring.boards.board import MODEL, RATE, Board, Panel, Query, Row, line, tile
from infctl.monitoring.recordings import FAULTS, FAULTS_REFUSED
from infctl.monitoring.terms import FIRST_TOKEN_SHARE, Terms

M = 'model=~"$model"'
FAILED = (
    f'sum by (model) (rate(infctl_requests_total{{{M},outcome=~"{FAULTS}",reason!="deadline"}}{RATE})'
    f' or rate(infctl_requests_total{{{M},outcome="refused",reason=~"{FAULTS_REFUSED}"}}{RATE})'
    f" or 0 * rate(infctl_requests_total{{{M}}}{RATE}))"
)
ALL = f"sum by (model) (rate(infctl_requests_total{{{M}}}{RATE}))"


def p(share: float, histogram: str, by: str = "model", match: str = M) -> str:
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({histogram}_bucket{{{match}}}{RATE})))"


def board(terms: Terms) -> Board:
    promised = f"{terms.availability:.6g}"
    first = "infctl_time_to_first_token_seconds"
    bound = str(float(terms.first_token_s))
    return Board(
        "service",
        "Service",
        "Is it well, for users? Promises, and how they are kept.",
        (
            Row(
                "Now",
                (
                    tile(
                        "Answered well",
                        "percentunit",
                        f"Share of calls without a fault of ours. Promised: {promised}.",
                        f"1 - sum({FAILED}) / (sum({ALL}) > 0)",
                    ),
                    tile(
                        "First token in time",
                        "percentunit",
                        f"Share of streams that begin within {bound} s. Promised: {FIRST_TOKEN_SHARE:.0%}.",
                        f'sum(rate({first}_bucket{{{M},le="{bound}"}}{RATE}))'
                        f" / (sum(rate({first}_count{{{M}}}{RATE})) > 0)",
                    ),
                    tile("Calls", "reqps", "Calls a second, refused ones among them.", f"sum({ALL})"),
                    tile(
                        "Tokens out",
                        "short",
                        "Tokens of answers a second.",
                        f"sum(rate(infctl_generation_tokens_total{{{M}}}{RATE}))",
                    ),
                    tile(
                        "Waiting",
                        "short",
                        "Calls that wait for a place at an engine. Above 0 for long: too few engines.",
                        f"sum(infctl_queue_waiting{{{M}}})",
                        warn=1,
                        bad=20,
                    ),
                    tile(
                        "Engines away",
                        "short",
                        "Backends that get no calls.",
                        f"count(max by (model, backend) (infctl_backend_up{{{M}}}) == 0) or vector(0)",
                        warn=1,
                        bad=2,
                    ),
                ),
            ),
            Row(
                "Promises",
                (
                    line(
                        "Failed calls",
                        "percentunit",
                        "Share that failed by our fault, over the last hour and six hours.",
                        (f"infctl:requests_failed:ratio_1h{{{M}}}", "{{model}} 1 h"),
                        (f"infctl:requests_failed:ratio_6h{{{M}}}", "{{model}} 6 h"),
                    ),
                    line(
                        "Budget burn",
                        "short",
                        "How many times too fast the error budget is used; 1 uses it up exactly at its end.",
                        (f"infctl:requests_failed:ratio_1h{{{M}}} / {terms.errors:.6g}", "{{model}} 1 h"),
                        (f"infctl:requests_failed:ratio_3d{{{M}}} / {terms.errors:.6g}", "{{model}} 3 d"),
                    ),
                    line(
                        "Late first tokens",
                        "percentunit",
                        f"Share of streams that begin after {bound} s.",
                        (f"infctl:first_token_late:ratio_1h{{{M}}}", "{{model}} 1 h"),
                    ),
                ),
            ),
            Row(
                "What users feel",
                (
                    line(
                        "Time to first token",
                        "s",
                        "As the gateway saw it, waiting included.",
                        (p(0.5, first), "{{model}} p50"),
                        (p(0.95, first), "{{model}} p95"),
                        (p(0.99, first), "{{model}} p99"),
                    ),
                    line(
                        "Time per output token",
                        "s",
                        "Of streams, behind the first token. Reading speed is about 0.1 s.",
                        (p(0.5, "infctl_time_per_output_token_seconds"), "{{model}} p50"),
                        (p(0.95, "infctl_time_per_output_token_seconds"), "{{model}} p95"),
                    ),
                    line(
                        "Whole answer",
                        "s",
                        "From the request's head to its answer's end.",
                        (p(0.5, "infctl_request_duration_seconds"), "{{model}} p50"),
                        (p(0.95, "infctl_request_duration_seconds"), "{{model}} p95"),
                    ),
                    line(
                        "Calls by model",
                        "reqps",
                        "All calls, refused ones among them.",
                        (ALL, "{{model}}"),
                        stacked=True,
                    ),
                    line(
                        "How streams end",
                        "reqps",
                        "done is well; client_gone is the client's wish; the rest breaks answers.",
                        (f"sum by (outcome) (rate(infctl_streams_total{{{M}}}{RATE}))", "{{outcome}}"),
                        stacked=True,
                    ),
                    Panel(
                        "Engines",
                        "none",
                        "1: gets calls. 0: does not.",
                        (Query(f"max by (model, backend) (infctl_backend_up{{{M}}})", "{{backend}}"),),
                        kind="state-timeline",
                    ),
                ),
            ),
        ),
        (MODEL,),
    )
