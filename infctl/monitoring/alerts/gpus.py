"""The GPUs, as DCGM's exporter tells. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from infctl.monitoring.alerts.alert import Alert
from infctl.monitoring.terms import DAY_S, Terms

DEADLY_XIDS = "48|62|64|74|79|92|94|95|119|120|140|143"
"""Those after which a GPU, or what ran on it, does not go on by itself."""
BY = "by (Hostname, gpu)"


def table(terms: Terms) -> Iterator[Alert]:
    span, wait = terms.span, terms.wait
    yield Alert(
        "GpuMetricsMissing",
        "gpus",
        "ticket",
        'up{job="dcgm"} == 0',
        wait(300),
        "Nothing is known of the GPUs: their exporter at {{ $labels.instance }} cannot be read.",
    )
    yield Alert(
        "GpuXidCritical",
        "gpus",
        "page",
        f'sum by (Hostname, gpu, xid) (DCGM_EXP_XID_ERRORS_COUNT{{xid=~"{DEADLY_XIDS}"}}) > 0',
        "",
        "GPU {{ $labels.gpu }} reports Xid {{ $labels.xid }}: what runs on it will not go on by itself.",
    )
    # The gauge keeps the last Xid for ever, so what is new is what was not there before.
    yield Alert(
        "GpuXidNew",
        "gpus",
        "ticket",
        "count by (Hostname, gpu, err_code) (DCGM_FI_DEV_XID_ERRORS > 0) unless"
        f" count by (Hostname, gpu, err_code) (DCGM_FI_DEV_XID_ERRORS offset {terms.wait(600)} > 0)",
        "",
        "GPU {{ $labels.gpu }} reports an Xid error that it had not: {{ $labels.err_code }}.",
    )
    yield Alert(
        "GpuRowRemapFailed",
        "gpus",
        "page",
        f"max {BY} (DCGM_FI_DEV_ROW_REMAP_FAILURE) > 0",
        "",
        "GPU {{ $labels.gpu }} cannot set broken memory aside any more.",
    )
    yield Alert(
        "GpuMemoryWears",
        "gpus",
        "ticket",
        f"sum {BY} (increase(DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS[{span(DAY_S)}])) > 0",
        "",
        "GPU {{ $labels.gpu }} had to set memory aside that it could not correct.",
    )
    yield Alert(
        "GpuHot",
        "gpus",
        "ticket",
        f"max {BY} (DCGM_FI_DEV_GPU_TEMP) > 85",
        wait(300),
        "GPU {{ $labels.gpu }} is hotter than 85 °C.",
    )
    # Bits 5 and 6: slowed down for heat, by the driver or the card. Bit 2, the power cap, is normal at work.
    yield Alert(
        "GpuThrottled",
        "gpus",
        "ticket",
        f"max {BY} (floor(DCGM_FI_DEV_CLOCKS_EVENT_REASONS / 32) % 2"
        " + floor(DCGM_FI_DEV_CLOCKS_EVENT_REASONS / 64) % 2) > 0",
        wait(300),
        "GPU {{ $labels.gpu }} slows itself down, for heat.",
    )
    yield Alert(
        "GpuMemoryTight",
        "gpus",
        "ticket",
        f"min {BY} (DCGM_FI_DEV_FB_FREE) < 256",
        wait(600),
        "GPU {{ $labels.gpu }} has less than 256 MiB left.",
    )
    yield Alert(
        "GpuMemoryBeyondPlan",
        "gpus",
        "ticket",
        "max by (gpu) (DCGM_FI_DEV_FB_USED) * 1048576 > on (gpu) 1.05 * max by (gpu)"
        " (infctl:gpu_memory_planned:bytes)",
        wait(600),
        "GPU {{ $labels.gpu }} uses more memory than was planned: another program, or the plan errs.",
    )
