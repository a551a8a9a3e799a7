"""How much memory an engine needs, and what its KV cache holds. Pure: facts and flags in, figures out.

need       ModelFacts x EngineArgs x card -> MemoryNeed: the one to call
verdict    whether it runs, and why not, with the flag that would do
defaults   what vLLM takes where the arguments leave something open
weights    bytes of weights a rank: the modules it loads (rank), as kernels pack them (packing), as PyTorch's
           allocator counts them (allocator)
activation the peak of the profile run: one pass through the layers (forward), sampling, compiling
graphs     CUDA graphs, and whether vLLM leaves room for them
overheads  non-torch memory, the context, what is taken only once the engine serves
hardware   a card's generation, by its name
kv_specs   layers -> what vLLM calls KVCacheSpec, a rank (states of mamba-like layers: kv_state)
kv         bytes -> blocks -> tokens -> concurrency, by vLLM's own grouping (kv_groups)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from infctl.figure import Figure

Vllm = Literal["0.25", "0.32"]
"""Rules that differ between the vLLM whose starts were measured on a GPU and the one that is deployed."""

DEPLOYED: Vllm = "0.32"
"""What profiles are planned for and `requirements` install."""

Fate = Literal["fits", "weights", "kv", "context", "start"]
"""fits. weights: nothing is left for the KV cache. kv: one request of max_model_len does not fit. context:
longer than the model takes. start: the gate asks for more than the card has free."""


DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8, "int64": 8}
"""Of one number."""


@dataclass(frozen=True, slots=True)
class EngineArgs:
    """vLLM's arguments that decide about memory. None: left to vLLM, see `defaults`."""

    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_memory_bytes: int | None = None
    dtype: str | None = None
    quantization: str | None = None
    kv_cache_dtype: str | None = None
    block_size: int | None = None
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    expert_parallel: bool = False
    enforce_eager: bool = False
    async_scheduling: bool | None = None
    prefix_caching: bool | None = None
    chunked_prefill: bool | None = None
    hybrid_kv_cache: bool = True
    """False: --disable-hybrid-kv-cache-manager."""
    runner: str | None = None
    cpu_offload_bytes: int = 0
    vllm: Vllm = DEPLOYED


@dataclass(frozen=True, slots=True)
class Card:
    """What sizing needs to know of a GPU (or, with `cpu`, of the machine)."""

    name: str
    total_bytes: int
    """cudaMemGetInfo's total."""
    nominal: bool = False
    """The total is from a data sheet, not from a driver."""
    cpu: bool = False
    capability: tuple[int, int] | None = None
    """CUDA compute capability, (8, 9); None: told by the name."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """EngineArgs with nothing left open: what vLLM would run with on this card."""

    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    kv_cache_memory_bytes: int | None
    dtype: str
    kv_dtype: str
    """bfloat16, float16, float32, fp8: of a number in the KV cache."""
    block_size: int
    tensor_parallel: int
    pipeline_parallel: int
    expert_parallel: bool
    compiled: bool
    async_scheduling: bool
    prefix_caching: bool
    hybrid_kv_cache: bool
    cpu_offload_bytes: int
    quantization: str | None
    vllm: Vllm

    @property
    def in_flight_tokens(self) -> int:
        """Scheduled but not settled, at most: vLLM's `max_in_flight_tokens`."""
        batches = self.pipeline_parallel + 1 if self.async_scheduling else self.pipeline_parallel
        return batches * self.max_num_batched_tokens


@dataclass(frozen=True, slots=True)
class Measured:
    """What an engine with these very settings reported when it started here. None: it did not say."""

    weights_bytes: int | None = None
    activation_bytes: int | None = None
    cudagraph_bytes: int | None = None
    non_torch_bytes: int | None = None
    kv_available_bytes: int | None = None
    num_gpu_blocks: int | None = None
    block_size: int | None = None
    kv_tokens: int | None = None
    concurrency: float | None = None
    starts: int = 1
    """How many starts said so; where they differ, the last."""


@dataclass(frozen=True, slots=True)
class KvCapacity:
    """What vLLM reports after its start, for one replica."""

    num_blocks: int
    """The smallest of all ranks; the log's and `vllm:cache_config_info`'s num_gpu_blocks."""
    block_size: int
    """Tokens, of the first group."""
    bytes_per_block: int
    """Of the rank that has the fewest blocks."""
    blocks_per_request: int
    """A request of max_model_len."""
    tokens: int
    """`GPU KV cache size`."""
    concurrency: float
    """`Maximum concurrency for max_model_len tokens per request`."""
    fits: bool
    """One request of max_model_len can run."""
    longest: int
    """The longest max_model_len that fits, at most the one asked for; 0: not one token."""


def later(before: Figure, after: Figure, more: int) -> Figure:
    """What has to be kept free beside `more` bytes that come only after `before` is over."""
    pairs = ((before.low, after.low), (before.expected, after.expected), (before.high, after.high))
    low, expected, high = (max(first - more, second) for first, second in pairs)
    return replace(before + after, low=low, expected=expected, high=high)


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """One replica on its card, a rank: the rank that needs most where they differ."""

    resolved: Resolved
    card: Card
    budget_bytes: int
    """ceil(total x utilization); with kv_cache_memory_bytes: what the parts sum up to."""
    weights: Figure
    activation: Figure
    """The peak of the profile run."""
    serving: Figure
    """The same once everything is compiled. Compiling is over before KV cache and graphs get their memory."""
    cudagraphs: Figure
    non_torch: Figure
    context: Figure
    """CUDA context: of the card, but outside vLLM's budget."""
    kv_bytes: Figure
    """Available for the KV cache; 0 for encoders. May be negative: how much is missing."""
    kv: KvCapacity | None
    """None: this model keeps no KV cache."""
    kv_tokens: Figure
    fate: Fate
    reason: str
    """Why it does not fit, or what to know although it does; in full sentences."""
    max_model_len_that_fits: int
    """Up to what the model takes, whatever max_model_len was asked for."""
    warnings: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        return self.fate == "fits"

    @property
    def profiled(self) -> Figure:
        """The work that vLLM looks at when it divides a share of the card: its own, without the context."""
        return self.activation + self.cudagraphs + self.non_torch

    def work(self, kv: int) -> Figure:
        """What the card loses beside weights and `kv` bytes of KV cache that were given, context included.

        The larger of two moments: compiling, before there is a KV cache, and serving, with graphs and cache.
        """
        return later(self.activation, self.serving + self.cudagraphs, kv) + self.non_torch + self.context

    @property
    def footprint(self) -> Figure:
        """What the card loses to this engine where vLLM itself measures and divides, context included."""
        return self.weights + self.profiled + self.context + self.kv_bytes
