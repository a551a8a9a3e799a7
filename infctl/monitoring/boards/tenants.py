"""Tenants: who uses what, who is near a limit, who is refused. Pure."""

from __future__ import annotations

from infctl.monitoring.alerts.tenants import QUOTAS
from infctl.monitoring.boards.board import RATE, Board, Row, Variable, line
from infctl.monitoring.terms import Terms

T = 'tenant=~"$tenant"'


def top(metric: str, match: str = T, by: str = "tenant") -> str:
    return f"topk(10, sum by ({by}) (rate({metric}{{{match}}}{RATE})))"


def day(metric: str) -> str:
    return f"topk(20, sum by (tenant) (increase({metric}{{{T}}}[1d])))"


def board(_: Terms) -> Board:
    left = f'min by (tenant, limit) (infctl_limit_left{{{T},limit=~"{QUOTAS}"}})'
    whole = f'max by (tenant, limit) (infctl_limit{{{T},limit=~"{QUOTAS}"}})'
    cached = f"sum by (tenant) (rate(infctl_cached_prompt_tokens_total{{{T}}}{RATE}))"
    prompts = f"sum by (tenant) (rate(infctl_prompt_tokens_total{{{T}}}{RATE}))"
    return Board(
        "tenants",
        "Tenants",
        "Who uses what, who is near a limit, who is refused. The busiest 200; the rest is `other`.",
        (
            Row(
                "Use",
                (
                    line(
                        "Calls",
                        "reqps",
                        "The ten that ask most.",
                        (top("infctl_requests_total"), "{{tenant}}"),
                        stacked=True,
                    ),
                    line(
                        "Tokens of prompts",
                        "short",
                        "A second; the ten with most.",
                        (top("infctl_prompt_tokens_total"), "{{tenant}}"),
                        stacked=True,
                    ),
                    line(
                        "Tokens of answers",
                        "short",
                        "A second; the ten with most.",
                        (top("infctl_generation_tokens_total"), "{{tenant}}"),
                        stacked=True,
                    ),
                    line(
                        "Tokens in a day",
                        "short",
                        "Prompts and answers of the last 24 hours.",
                        (day("infctl_prompt_tokens_total"), "{{tenant}} prompts"),
                        (day("infctl_generation_tokens_total"), "{{tenant}} answers"),
                        kind="bargauge",
                        width=12,
                    ),
                    line(
                        "Cached tokens",
                        "percentunit",
                        "Share of prompt tokens that engines had computed before.",
                        (f"{cached} / ({prompts} > 0)", "{{tenant}}"),
                        width=12,
                    ),
                ),
            ),
            Row(
                "Limits",
                (
                    line(
                        "Quota used",
                        "percentunit",
                        "Of configured tenants. 1: the next call is refused.",
                        (f"1 - {left} / ({whole} > 0)", "{{tenant}} {{limit}}"),
                        kind="bargauge",
                        width=12,
                        warn=0.8,
                        bad=0.95,
                    ),
                    line(
                        "Refused",
                        "reqps",
                        "By limit; the ten with most.",
                        (
                            top("infctl_requests_total", f'{T},outcome="refused"', "tenant, reason"),
                            "{{tenant}} {{reason}}",
                        ),
                        width=12,
                    ),
                    line(
                        "Held by workers",
                        "short",
                        "Leased of the store and not spent, and reserved by calls under way.",
                        ("sum by (limit) (infctl_leased)", "{{limit}} leased"),
                        ("sum by (limit) (infctl_reserved)", "{{limit}} reserved"),
                        width=12,
                    ),
                ),
            ),
        ),
        (Variable("tenant", "label_values(infctl_requests_total, tenant)"),),
    )
