"""What a model is, as its files say it: layers, widths, weights, context. Values only.

config     config.json (a tree of plain data) -> ModelFacts
inventory  what a family's layers hold, tensor by tensor -> the `Weight`s of ModelFacts
known      configs of well-known models, for plans without a network
headers    the headers of safetensors files, local or by range requests: exact bytes instead of computed ones
source     where a model's files are: a folder, the Hugging Face cache, the hub, a package, built in
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

AttentionKind = Literal["full", "mla", "sliding", "chunked", "state", "shared", "encoder", "none"]
"""full: GQA/MHA over the whole context. mla: one latent vector a token. sliding, chunked: over `window`
tokens. state: mamba, GDN and their like, of a fixed size a request. shared: uses another layer's cache.
encoder: keeps no cache at all. none: the layer has no attention."""

Split = Literal["none", "even", "kv_heads", "vocab", "experts"]
"""How tensor parallelism cuts a tensor. none: each rank holds it whole. even: cut into tp equal parts.
kv_heads: cut, but never below one KV head a rank. vocab: padded to a multiple of 64, then cut. experts:
`even`, or whole experts a rank with expert parallelism."""

Stage = Literal["first", "last", "all"]
"""Outside the layers: which pipeline stage holds the tensor (embeddings the first, the head the last)."""

Method = Literal["none", "fp8", "awq", "gptq", "mxfp4", "compressed-tensors", "bitsandbytes", "other"]


@dataclass(frozen=True, slots=True)
class StateCache:
    """The state of a mamba-like layer, of one request, before tensor parallelism.

    Named as vLLM's `MambaStateShapeCalculator` takes them.
    """

    kind: Literal["gdn", "mamba1", "mamba2", "short_conv", "linear"]
    conv_kernel: int = 0
    heads: int = 0
    """mamba2: heads; gdn: value heads."""
    head_dim: int = 0
    """mamba2: head size; gdn: value head size."""
    groups: int = 1
    """mamba2: n_groups; gdn: key heads."""
    state: int = 0
    """mamba: ssm state size; gdn: key head size."""
    inner: int = 0
    """mamba: intermediate size (expand x hidden)."""
    dtype: str = "auto"
    """Of the recurrent state where the model fixes it (`mamba_ssm_cache_dtype`); auto: the model's own."""


@dataclass(frozen=True, slots=True)
class Attention:
    """One layer's attention, whole (before tensor parallelism)."""

    kind: AttentionKind
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    value_dim: int = 0
    """Of one head's values; mostly head_dim."""
    window: int | None = None
    """Tokens; sliding and chunked only."""
    latent: int = 0
    """mla: kv_lora_rank + qk_rope_head_dim, numbers a token."""
    state: StateCache | None = None
    """state: what the layer keeps. full: kept beside the layer's KV cache (Falcon H1 has both in each)."""


@dataclass(frozen=True, slots=True)
class FeedForward:
    """One layer's feed-forward part, whole."""

    dense: int = 0
    """Width of the dense path (of all shared experts together, where the layer has experts); 0: none."""
    gated: bool = True
    """Two projections up (SwiGLU and its like) instead of one."""
    experts: int = 0
    experts_per_token: int = 0
    expert_width: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    attention: Attention
    feed_forward: FeedForward


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the stored weights are packed. Embeddings, norms, routers and the head mostly stay as they are."""

    method: Method
    bits: int = 16
    group_size: int = 0
    """Weights that share a scale; 0 or -1: a whole row or tensor."""
    zero_points: bool = False
    block: tuple[int, int] | None = None
    """fp8: the tile that shares a scale."""
    skip: tuple[str, ...] = ()
    """Names or patterns that are not quantised, as the config writes them."""
    name: str = ""
    """As the config writes the method, for messages."""


@dataclass(frozen=True, slots=True)
class Weight:
    """`count` tensors of one shape. A matrix's shape is (out, in)."""

    name: str
    """As the safetensors file writes it, without the layer's number: `layers.*.mlp.gate_proj`."""
    shape: tuple[int, ...]
    split: Split = "none"
    stage: Stage = "all"
    layers: tuple[int, ...] = ()
    """The layers that hold one each; empty: outside the layers."""
    count: int = 1
    """How many in each such layer: the experts."""
    packed: bool = False
    """Quantised, where the model is."""
    dtype: str = ""
    """Where it differs from the model's."""
    only: Literal["", "file", "card"] = ""
    """file: in the checkpoint, but vLLM leaves it there. card: vLLM computes it when it loads the model, once
    a pipeline stage, and all `layers` share it (rotary embeddings' tables)."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """All that planning needs to know of a model. Whole: before tensor and pipeline parallelism."""

    name: str
    architecture: str
    """`Qwen2ForCausalLM`."""
    family: str
    """config.json's `model_type`."""
    hidden: int
    layers: tuple[Layer, ...]
    vocab: int
    context: int
    """Tokens; what the model takes at most, as vLLM derives it."""
    dtype: str = "bfloat16"
    """What `--dtype auto` chooses: float32 checkpoints become bfloat16 or float16 as vLLM decides."""
    quantization: Quantization | None = None
    tied_embeddings: bool = False
    weights: tuple[Weight, ...] = ()
    stored_bytes: int | None = None
    """Of all tensors, from the safetensors headers; None: not looked at."""
    known: bool = True
    """False: an architecture nobody taught us; every band is wide."""
    pooling: bool = False
    """Embeds or scores; has no output head that samples."""
    multimodal: bool = False
    scale_logits_soft_cap: bool = False
    """final_logit_softcapping is set (Gemma 2): the logits are computed in two more copies."""
    mla_heads: tuple[int, int, int, int] = (0, 0, 0, 0)
    """mla: heads, qk_nope_head_dim, v_head_dim, qk_rope_head_dim."""
    origin: str = "config.json"
    """Where the facts come from, in words for a person."""
    default_context: int | None = None
    """Tokens vLLM takes where max_model_len is left open, if that is not `context` (LongRoPE takes less)."""
    warnings: tuple[str, ...] = field(default=())

    @property
    def encoder_only(self) -> bool:
        """No layer keeps a cache: vLLM allocates no KV blocks and measures nothing."""
        return all(layer.attention.kind in {"encoder", "none"} for layer in self.layers)

    @property
    def hybrid(self) -> bool:
        return any(layer.attention.state is not None for layer in self.layers)

    @property
    def experts(self) -> bool:
        return any(layer.feed_forward.experts for layer in self.layers)
