"""What DCGM's exporter is asked for, beyond which it tells nothing: its counters file. Pure.

Names and kinds: NVIDIA's dcgm-exporter. Without those of the profiling module, which need SYS_ADMIN.
"""

from __future__ import annotations

from typing import Final

COUNTERS: Final[tuple[tuple[str, str, str], ...]] = (
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "Clock of the multiprocessors (MHz)."),
    ("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Clock of the memory (MHz)."),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge", "Temperature of the chip (C)."),
    ("DCGM_FI_DEV_MEMORY_TEMP", "gauge", "Temperature of the memory (C)."),
    ("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power drawn (W)."),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", "Energy since the driver was loaded (mJ)."),
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "counter", "Repeated PCIe transfers."),
    ("DCGM_FI_DEV_GPU_UTIL", "gauge", "Share of time in which a kernel ran (percent)."),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "gauge", "Share of time in which memory was read or written (percent)."),
    ("DCGM_FI_DEV_FB_FREE", "gauge", "Memory that is free (MiB)."),
    ("DCGM_FI_DEV_FB_USED", "gauge", "Memory that is used (MiB)."),
    ("DCGM_FI_DEV_XID_ERRORS", "gauge", "The last Xid error; it stays."),
    (
        "DCGM_EXP_XID_ERRORS_COUNT",
        "gauge",
        "Xid errors of late by number; the exporter counts.",
    ),
    ("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "gauge", "Why clocks are lower than they could be (bits)."),
    ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "counter", "Errors of two bits since the driver was loaded."),
    ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "counter", "Rows set aside after errors that stayed errors."),
    ("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "counter", "Rows set aside after errors that were corrected."),
    ("DCGM_FI_DEV_ROW_REMAP_FAILURE", "gauge", "1: a row could not be set aside."),
    ("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", "counter", "Traffic over all NVLinks."),
)
"""Field, kind, what it is."""
NAMES: Final = frozenset(name for name, _, _ in COUNTERS)


def csv() -> str:
    width = max(len(name) for name, _, _ in COUNTERS) + 1
    return "".join(f"{name + ',':<{width}} {kind}, {what}\n" for name, kind, what in COUNTERS)
