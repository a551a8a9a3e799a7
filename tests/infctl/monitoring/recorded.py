"""What DCGM's exporter has told of real cards, as others have published it: the values, under our labels.

T4       a Tesla T4 at work (driver 590.48.01): the answer of :9400/metrics in the guide "Accelerator Metrics
         Validation" of Ericsson CCD 2.34.0 (github.com/cncf/k8s-ai-conformance, v1.35/ericsson-ccd)
L4       an NVIDIA L4 without work (driver 580.105.08): the same repository,
         v1.35/kops/tests/TestObservability_AcceleratorMetrics_ViaDCGM/output.md
A100     an A100 at work: docs.nvidia.com/datacenter/cloud-native/gpu-telemetry/latest/dcgm-exporter.html
UNSEEN   what nobody has published: made up
"""

from __future__ import annotations

from typing import Final

LABELS: Final = ("gpu", "UUID", "pci_bus_id", "device", "modelName", "Hostname", "DCGM_FI_DRIVER_VERSION")
"""Of every line, in this order."""

T4: Final[dict[str, float]] = {
    "DCGM_FI_DEV_GPU_TEMP": 74,
    "DCGM_FI_DEV_POWER_USAGE": 68.244,
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": 15_152_422_938,
    "DCGM_FI_DEV_GPU_UTIL": 91,
    "DCGM_FI_DEV_MEM_COPY_UTIL": 73,
    "DCGM_FI_DEV_FB_FREE": 9_791,
    "DCGM_FI_DEV_FB_USED": 5_120,
    "DCGM_FI_DEV_FB_RESERVED": 447,
    "DCGM_FI_DEV_SM_CLOCK": 660,
    "DCGM_FI_DEV_MEM_CLOCK": 5_000,
    "DCGM_FI_DEV_MEMORY_TEMP": 0,
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": 0,
    "DCGM_FI_DEV_VGPU_LICENSE_STATUS": 0,
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": 0.156205,
    "DCGM_FI_PROF_DRAM_ACTIVE": 0.092781,
}
L4: Final[dict[str, float]] = {
    "DCGM_FI_DEV_GPU_TEMP": 31,
    "DCGM_FI_DEV_POWER_USAGE": 16.365,
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": 4_742_776,
    "DCGM_FI_DEV_GPU_UTIL": 0,
    "DCGM_FI_DEV_MEM_COPY_UTIL": 0,
    "DCGM_FI_DEV_FB_FREE": 22_563,
    "DCGM_FI_DEV_FB_USED": 0,
    "DCGM_FI_DEV_FB_RESERVED": 470,
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": 0,
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": 0,
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": 0,
}
A100: Final[dict[str, float]] = {"DCGM_FI_DEV_XID_ERRORS": 0}
UNSEEN: Final[dict[str, float]] = {"DCGM_FI_DEV_CLOCKS_EVENT_REASONS": 4}
"""4: held back by the power limit, as a T4 of 70 W that draws 68 is."""

AT_WORK: Final = UNSEEN | A100 | L4 | T4
"""One card: the first that says something, from the right."""
ENERGY: Final = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
"""It grows by the power that was recorded with it, in millijoules."""
POWER: Final = "DCGM_FI_DEV_POWER_USAGE"
