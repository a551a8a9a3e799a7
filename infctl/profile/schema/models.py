"""`models`, `gpus` and `engines`: what is served, on what, by which vLLM."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from gateway.config import Task
from infctl.profile.schema.base import (
    Argument,
    Count,
    Duration,
    EnvName,
    EnvValue,
    FilePath,
    Flag,
    Fraction,
    GpuModel,
    GpuUuid,
    Host,
    HubId,
    Image,
    OneOrMany,
    PackageName,
    Port,
    Revision,
    Secret,
    Section,
    ServedName,
    ShareName,
    Size,
    Weight,
    Word,
    defaults,
    misfit,
)
from infctl.profile.values import shown


class Source(Section):
    """Where the weights come from: exactly one of hub, path, package. A bare string is a hub id."""

    hub: HubId | None = None
    """A model of the Hugging Face hub, `org/name`."""
    revision: Revision | None = None
    """Branch, tag or commit of the hub's repository; a commit makes the start reproducible."""
    path: FilePath | None = None
    """A folder with config.json and safetensors; relative to the first profile's folder."""
    package: PackageName | None = None
    """An installed Python package that carries the weights."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"hub": value} if isinstance(value, str) else value


_PLACEMENTS = "auto, an index such as 0, or {index: 0}, {uuid: GPU-...}, {share: small}"


class Placement(Section):
    """Which GPU: `auto`, an index, or exactly one of index, uuid, share."""

    index: Annotated[int, Field(ge=0, le=63, strict=True)] | None = None
    """As nvidia-smi counts. With replicas or tensor_parallel: the first of consecutive ones."""
    uuid: GpuUuid | None = None
    """Keeps its meaning when cards are moved."""
    share: ShareName | None = None
    """Models that write the same name live on the same GPU."""

    @property
    def auto(self) -> bool:
        """Nothing is asked for: the plan chooses."""
        return self.index is None and self.uuid is None and self.share is None

    @property
    def pinned(self) -> bool:
        """One card is named: its index or its UUID."""
        return self.index is not None or self.uuid is not None

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        if value == "auto" and isinstance(value, str):
            return {}
        if isinstance(value, int) and not isinstance(value, bool):
            return {"index": value}
        if not isinstance(value, dict | Placement):
            raise misfit(
                f"{shown(value)} is not a placement",
                "auto, an index such as 0, or {index: 0}, {uuid: GPU-...}, {share: small}",
            )
        return value


LoadFormat = Literal[
    "auto", "safetensors", "pt", "dummy", "gguf", "bitsandbytes", "runai_streamer", "tensorizer"
]


class Model(Section):
    """One model: what it is, how often, where, and vLLM's settings. What is left out, the plan decides."""

    source: Source
    """The weights: a hub id, or {hub, revision}, {path}, {package}."""
    task: Annotated[tuple[Task, ...], Field(min_length=1), OneOrMany()]
    """What it is asked for, one or a list: chat, text2sql, embed, rerank."""
    alias: Annotated[tuple[ServedName, ...], OneOrMany()] = ()
    """Further names clients may use for it."""
    served_name: ServedName | None = None
    """What the engine itself calls the model; left out: the model's name here."""
    replicas: Annotated[int, Field(ge=1, le=64, strict=True)] | None = None
    """Copies. Written, the services are chat0, chat1 ...; left out, there is one, called as the model."""
    gpu: Placement = defaults(Placement)
    """auto, an index, {uuid: ...} or {share: name}."""
    weights: tuple[Weight, ...] = ()
    """One a replica: its share of the calls under `balancing: {policy: weighted}`; left out: equal shares."""
    concurrency: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None
    """Calls at one replica at once, more wait in the gateway; left out: as many as it computes at once."""
    loading: Duration | None = None
    """How long a start takes, told to clients that come too early; left out: as the plan expects."""

    max_model_len: Count | None = None
    """Tokens, prompt and answer together; left out: what the model takes, or less if that does not fit."""
    max_num_seqs: Annotated[int, Field(ge=1, le=65_536, strict=True)] | None = None
    """Requests computed at once by one replica."""
    max_num_batched_tokens: Count | None = None
    """Tokens computed in one step; more is faster prefill and more work memory."""
    gpu_memory_utilization: Fraction | None = None
    """Share of the GPU the engine may take. Written, it replaces the plan's exact KV cache bytes."""
    kv_cache_memory: Size | None = None
    """Bytes of KV cache a GPU; left out, the plan gives what is free. On a CPU: all the KV cache."""
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None = None
    """Number format of weights and work."""
    quantization: Word | None = None
    """awq, gptq, fp8, bitsandbytes, compressed-tensors ...; left out: as the weights say."""
    kv_cache_dtype: Literal["auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"] | None = None
    """fp8 holds twice the tokens in the same bytes."""
    tensor_parallel: Annotated[int, Field(ge=1, le=64, strict=True)] = 1
    """GPUs one replica is cut across, layer by layer."""
    pipeline_parallel: Annotated[int, Field(ge=1, le=64, strict=True)] = 1
    """GPUs one replica is cut across, stage after stage."""
    enable_expert_parallel: Flag | None = None
    """Experts of a mixture-of-experts model spread over the GPUs instead of cut."""
    enforce_eager: Flag | None = None
    """No CUDA graphs: less memory, a faster start, slower tokens."""
    enable_prefix_caching: Flag | None = None
    """Prompts that begin alike are computed once."""
    enable_chunked_prefill: Flag | None = None
    """Long prompts are computed in pieces between other requests' tokens."""
    async_scheduling: Flag | None = None
    """The next step is prepared while the GPU works on this one."""
    cpu_offload: Size | None = None
    """Weights a GPU that stay in the machine's memory; slow."""
    block_size: Annotated[int, Field(ge=1, le=1024, strict=True)] | None = None
    """Tokens in a block of the KV cache."""
    trust_remote_code: Flag = False
    """Run Python that comes with the weights. It can do what the engine's user can."""
    chat_template: FilePath | None = None
    """A Jinja file that replaces the model's own chat template."""
    tool_call_parser: Word | None = None
    """hermes, llama3_json, mistral ...: turns tool calls on."""
    reasoning_parser: Word | None = None
    """deepseek_r1, qwen3 ...: splits thinking from the answer."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1, strict=True)] | None = None
    """Same seed, same draws."""
    load_format: LoadFormat | None = None
    """dummy: random weights, to try a plan without a download."""
    tokenizer: HubId | None = None
    """Another repository's tokenizer."""
    runner: Literal["auto", "generate", "pooling"] | None = None
    """Left out: pooling for embed and rerank, else generate."""
    max_logprobs: Annotated[int, Field(ge=-1, le=1_000_000, strict=True)] | None = None
    """The most logprobs a request may ask for; -1: no limit."""
    limit_mm_per_prompt: dict[Word, Annotated[int, Field(ge=0, le=999, strict=True)]] = Field(
        default_factory=dict
    )
    """Images, videos ... a prompt may carry: {image: 2}."""
    extra_args: tuple[Argument, ...] = ()
    """Further arguments of vLLM, one an entry, as on the command line: [--scheduling-policy, priority]."""
    env: dict[EnvName, EnvValue] = Field(default_factory=dict)
    """Variables of this engine. No secrets: these are rendered."""
    start_timeout: Duration = 900.0
    """From process start to ready. Weights are loaded in this time, not downloaded."""
    stop_timeout: Duration = 30.0
    """From SIGTERM to SIGKILL."""


class GpuDevice(Section):
    """One card the plan may use. What is left out is looked up in the catalogue or on the machine."""

    name: GpuModel | None = None
    """The card's name: L4, A100-80GB, H100 ..."""
    index: Annotated[int, Field(ge=0, le=63, strict=True)] | None = None
    """As nvidia-smi counts."""
    uuid: GpuUuid | None = None
    """As nvidia-smi -L prints it."""
    memory: Size | None = None
    """In all, as cudaMemGetInfo counts; nvidia-smi says more than an engine gets."""


_GPUS = re.compile(r"([1-9][0-9]?)\s*x\s*([A-Za-z0-9][A-Za-z0-9 ._-]{0,63})")
_GPUS_HINT = "detect, cpu, a count with a name such as 4xL4, or a list of {name, index, uuid, memory}"


class Gpus(Section):
    """`detect`, `cpu`, `4xL4`, or a list of cards."""

    kind: Literal["detect", "cpu", "listed"] = "detect"
    """detect: what the machine has; cpu: none; listed: the devices."""
    devices: tuple[GpuDevice, ...] = ()
    """Set when kind is listed."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, list):
            if not 1 <= len(value) <= 64:
                raise misfit(f"{len(value)} GPUs are listed", "1 to 64; for none write gpus: cpu")
            return {"kind": "listed", "devices": value}
        if isinstance(value, str):
            if value in {"detect", "cpu"}:
                return {"kind": value}
            if match := _GPUS.fullmatch(value.strip()):
                return {
                    "kind": "listed",
                    "devices": [{"name": match[2].strip(), "index": n} for n in range(int(match[1]))],
                }
        if isinstance(value, dict | Gpus):
            return value
        raise misfit(f"{shown(value)} names no GPUs", _GPUS_HINT)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """As a person writes it, not as it is kept."""
        kept = handler.resolve_ref_schema(handler(core_schema))
        return {
            "anyOf": [
                {"enum": ["detect", "cpu"]},
                {"type": "string", "pattern": f"^{_GPUS.pattern}$", "examples": ["4xL4"]},
                {**kept["properties"]["devices"], "minItems": 1, "maxItems": 64},
            ]
        }


class Engines(Section):
    """The vLLM that serves all models: an image (docker) or an interpreter (process)."""

    image: Image = "vllm/vllm-openai:v0.32.0"
    """docker: the engine's image."""
    python: FilePath | None = None
    """process: the interpreter that has vLLM; left out: the one infctl runs on."""
    host: Host = "127.0.0.1"
    """process: where the engines listen."""
    port_base: Port = 8101
    """process: the first engine's port; the others follow in profile order."""
    cache: FilePath = "hf-cache"
    """docker: the folder that holds downloaded weights; relative to the first profile's folder."""
    offline: Flag = True
    """Engines never ask the hub; weights are fetched before."""
    hub_token: Secret | None = None
    """For gated models: "${HF_TOKEN}"."""
    shm_size: Size = 8 * 2**30
    """docker: shared memory an engine, which tensor parallelism needs."""
    gpu_driver: Literal["nvidia", "cdi"] = "nvidia"
    """docker: who hands out GPUs: the NVIDIA runtime, or CDI, which outlives a reload of the daemon."""
    pull: Literal["missing", "always", "never"] = "missing"
    """docker: when images are pulled."""
    env: dict[EnvName, EnvValue] = Field(default_factory=dict)
    """Variables of every engine. No secrets: these are rendered."""


__all__ = ["Engines", "GpuDevice", "Gpus", "Model", "Placement", "Source", "Task"]
