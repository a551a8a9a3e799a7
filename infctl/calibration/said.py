"""What vLLM says of its memory: its metrics page and its start-up log -> Measured. Pure.

The metrics are exact and speak of the KV cache alone. The log rounds to 0.01 GiB and speaks of the rest; with
the bytes of the KV cache given, vLLM measures no more than its weights and its CUDA graphs. Other lines of a
log hold what anybody sent: only lines of vLLM's own shape count, from the engine's last beginning until its
server listens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from infctl.figure import GIB
from infctl.sizing import Measured

LINE_CHARS_MAX = 2000
WHOLE_MAX = 2**50

_INFO = "vllm:cache_config_info{"
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_LINE = re.compile(
    r"(?:\([^()\s]+ pid=\d+\) )?(?:DEBUG|INFO|WARNING) \d\d-\d\d \d\d:\d\d:\d\d \[[\w./]+\.py:\d+\] (.*)"
)
_BEGINS = "Initializing a V1 LLM engine"
_LISTENS = ("Starting vLLM server", "Starting vLLM API server")

_SIZE = r"-?\d{1,6}(?:\.\d{1,6})?"
_SAYS = tuple(
    re.compile(text)
    for text in (
        rf"Model loading took (?P<weights>{_SIZE}) GiB memory and ",
        rf"Available KV cache memory: (?P<available>{_SIZE}) GiB$",
        rf"Initial free memory {_SIZE} GiB, reserved (?P<given>{_SIZE}) GiB memory for KV Cache ",
        rf"(?:Explicitly|Auto) set \((?P<given>{_SIZE})/{_SIZE}\) GiB for KV cache ",
        r"(?:GPU|CPU) KV cache size: (?P<tokens>\d[\d,]{0,18}) tokens",
        rf"Graph capturing finished in \d+ secs, took (?P<graphs>{_SIZE}) GiB$",
        rf"CUDA graph pool memory: {_SIZE} GiB \(actual\), (?P<estimate>{_SIZE}) GiB \(estimated\)",
        (
            rf"{_SIZE} GiB for weight, (?P<activation>{_SIZE}) GiB for peak activation, "
            rf"(?P<non_torch>{_SIZE}) GiB for non-torch memory, "
            rf"and (?P<graphs>{_SIZE}) GiB for CUDAGraph memory"
        ),
        (
            rf"(?P<consumed>{_SIZE}) GiB for consumed memory \(weights \+ non-torch\), "
            rf"(?P<peak>{_SIZE}) GiB for peak activation, and (?P<graphs>{_SIZE}) GiB for CUDAGraph memory"
        ),
    )
)
"""The groups' names are what `_Start.heard` holds. The last two, of 0.25 and 0.32, follow `_USAGE`."""
_USAGE = "Actual usage is "
_RESERVES_GRAPHS = "CUDA graph memory profiling is enabled"
_LEAST = frozenset({"available", "given", "tokens"})
"""Of several ranks the one that has least decides; of everything else the one that needs most."""


def from_metrics(text: str) -> Measured | None:
    """The KV cache, of `/metrics`; None: not a word of it. Of several engines behind a port the smallest."""
    found = [
        measured
        for line in text.splitlines()
        if line.startswith(_INFO) and (measured := _cache(dict(_LABEL.findall(line)))) is not None
    ]
    return min(found, key=lambda one: one.num_gpu_blocks or 0, default=None)


def _cache(labels: Mapping[str, str]) -> Measured | None:
    blocks = _whole(labels.get("num_gpu_blocks"))
    if blocks is None:
        return None
    tokens = _whole(labels.get("kv_cache_size_tokens"))
    block_size = _whole(labels.get("block_size"))
    if blocks <= 1 and not tokens:
        # Without a KV cache vLLM still writes down one block, of nothing.
        return Measured(num_gpu_blocks=blocks, kv_tokens=0)
    return Measured(
        num_gpu_blocks=blocks,
        block_size=block_size,
        kv_tokens=tokens,
        concurrency=_number(labels.get("kv_cache_max_concurrency")),
        kv_available_bytes=_whole(labels.get("kv_cache_memory_bytes")),
    )


def from_log(lines: Iterable[str]) -> Measured:
    """The parts, of the engine's last start."""
    start = _Start(listens=True)  # until one begins, nothing in this log is its word
    for line in lines:
        match = _LINE.match(line[:LINE_CHARS_MAX])
        if match is None:
            continue
        text = match[1]
        if text.startswith(_BEGINS):
            start = _Start()
        elif text.startswith(_LISTENS):
            start.listens = True
        elif not start.listens:
            start.hear(text)
    return start.measured()


def joined(metrics: Measured | None, log: Measured) -> Measured:
    """Both; where both speak, the metrics, which do not round."""
    if metrics is None:
        return log
    gaps = {
        name: value
        for name in ("weights_bytes", "activation_bytes", "cudagraph_bytes", "non_torch_bytes")
        if (value := getattr(log, name)) is not None
    }
    if metrics.kv_available_bytes is None and metrics.kv_tokens != 0:
        gaps["kv_available_bytes"] = log.kv_available_bytes
    if metrics.kv_tokens is None:
        gaps["kv_tokens"] = log.kv_tokens
    return replace(metrics, **gaps)


@dataclass(slots=True)
class _Start:
    """What was heard of one start."""

    heard: dict[str, float] = field(default_factory=dict)
    listens: bool = False
    reserves: bool = False
    """Memory for CUDA graphs leaves the budget before they are captured."""

    def hear(self, text: str) -> None:
        self.reserves |= text.startswith(_RESERVES_GRAPHS)
        head, _, usage = text.partition(_USAGE)
        for pattern in _SAYS:
            match = pattern.match(usage or head)
            for name, said in match.groupdict().items() if match else ():
                number = float(said.replace(",", ""))
                choose: Callable[..., float] = min if name in _LEAST else max
                self.heard[name] = choose(self.heard.get(name, number), number)

    def measured(self) -> Measured:
        heard = self.heard
        weights = _bytes(heard.get("weights"))
        non_torch = _bytes(heard.get("non_torch"))
        consumed = _bytes(heard.get("consumed"))
        if consumed is not None and weights is not None:
            non_torch = max(0, consumed - weights)
        # What was estimated for the graphs is gone from the budget, whatever they took in the end.
        reserved = heard.get("estimate") if self.reserves else None
        graphs = _bytes(heard.get("graphs") if reserved is None else reserved)
        activation = _bytes(heard.get("activation"))
        peak = _bytes(heard.get("peak"))
        if peak is not None:
            activation = max(0, peak - (_bytes(reserved) or 0))
        tokens = heard.get("tokens")
        return Measured(
            weights_bytes=weights,
            activation_bytes=activation,
            cudagraph_bytes=graphs,
            non_torch_bytes=non_torch,
            kv_available_bytes=_bytes(heard.get("given", heard.get("available"))),
            kv_tokens=None if tokens is None else int(tokens),
        )


def _bytes(gib: float | None) -> int | None:
    return None if gib is None else int(gib * GIB)


def _whole(text: str | None) -> int | None:
    """`None` is how vLLM writes that it has no such figure."""
    number = int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 16 else None
    return number if number is not None and number < WHOLE_MAX else None


def _number(text: str | None) -> float | None:
    if text is None or not re.fullmatch(r"\d{1,12}(\.\d{1,12})?", text):
        return None
    return float(text)
