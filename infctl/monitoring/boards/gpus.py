"""GPUs: each card beside the engines on it. Pure.

`infctl:gpu_engine:info` says which engine is on which card, PLANNED how much memory was planned for them.
"""

from __future__ import annotations

from infctl.monitoring.boards.board import MODEL, RATE, Board, Panel, Query, Row, line
from infctl.monitoring.boards.service import M
from infctl.monitoring.terms import Terms

PLANNED = "infctl:gpu_memory_planned:bytes"
REASONS = "DCGM_FI_DEV_CLOCKS_EVENT_REASONS"
ENGINES = f"infctl:gpu_engine:info{{{M}}}"
TOKENS = f"sum by (model, backend) (rate(vllm:generation_tokens_total{{{M}}}{RATE}))"


def named(expr: str) -> str:
    """With model and backend beside the card; a card of two engines is there twice."""
    return f"{ENGINES} * on (gpu) group_left () {expr}"


def card(metric: str) -> str:
    return f"max by (gpu) ({metric})"


def board(_: Terms) -> Board:
    watts = f"sum by (gpu) (rate(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{RATE})) / 1000"
    on_card = f"sum by (gpu) ({ENGINES} * on (model, backend) group_left () {TOKENS})"
    panels = (
        line(
            "Memory used",
            "bytes",
            "By card, with the engines on it.",
            (named(f"(1048576 * {card('DCGM_FI_DEV_FB_USED')})"), "{{gpu}} {{backend}}"),
        ),
        line(
            "Memory against plan",
            "percentunit",
            "1: as planned. Above 1.05: something else is there, or the plan errs.",
            (
                f"1048576 * {card('DCGM_FI_DEV_FB_USED')} / on (gpu) ({card(PLANNED)} > 0)",
                "GPU {{gpu}}",
            ),
        ),
        line(
            "Memory free",
            "bytes",
            "Below 256 MiB it is tight.",
            (f"1048576 * {card('DCGM_FI_DEV_FB_FREE')}", "GPU {{gpu}}"),
        ),
        line(
            "Busy",
            "percentunit",
            "Share of time in which a kernel ran. High says nothing of how well.",
            (named(f"({card('DCGM_FI_DEV_GPU_UTIL')} / 100)"), "{{gpu}} {{backend}}"),
        ),
        line(
            "Memory traffic",
            "percentunit",
            "Share of time in which memory was read or written; writing answers is bound by it.",
            (f"{card('DCGM_FI_DEV_MEM_COPY_UTIL')} / 100", "GPU {{gpu}}"),
        ),
        line("Power", "watt", "Drawn.", (card("DCGM_FI_DEV_POWER_USAGE"), "GPU {{gpu}}")),
        line(
            "Joules per output token",
            "joule",
            "Energy of the card over the tokens of all engines on it, idle time included.",
            (f"{watts} / on (gpu) ({on_card} > 0)", "GPU {{gpu}}"),
        ),
        line(
            "Tokens by card",
            "short",
            "Tokens of answers a second of the engines on each card.",
            (on_card, "GPU {{gpu}}"),
        ),
        line(
            "Temperature",
            "celsius",
            "Above 85 it will slow down.",
            (card("DCGM_FI_DEV_GPU_TEMP"), "GPU {{gpu}}"),
        ),
        line(
            "Slowed down for heat",
            "none",
            "1: clocks are lowered by the driver or the card.",
            (card(f"floor({REASONS} / 32) % 2 + floor({REASONS} / 64) % 2"), "GPU {{gpu}}"),
        ),
        Panel(
            "Xid errors",
            "short",
            "Of late, by number. docs/runbooks/GpuXidCritical.md says which are deadly.",
            (Query("sum by (gpu, xid) (DCGM_EXP_XID_ERRORS_COUNT)", "GPU {{gpu}} Xid {{xid}}"),),
            kind="table",
        ),
        line(
            "Memory set aside",
            "short",
            "Rows remapped since the card was made, after errors.",
            ("max by (gpu) (DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS)", "GPU {{gpu}} uncorrectable"),
            ("max by (gpu) (DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS)", "GPU {{gpu}} corrected"),
        ),
    )
    title = "GPU and models"
    return Board("gpus", title, "Each card beside the engines on it.", (Row("Cards", panels),), (MODEL,))
