"""A profile's model -> the command line of vLLM 0.32's server. Pure.

The order is fixed, so that equal profiles give equal argv; each setting is emitted once, and what the profile
leaves open is left to vLLM, except where a deployer must not: the shutdown time-out (0 by default: SIGTERM
would abort running requests) and the parts of a shared GPU.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from infctl.plan.engine_args import runner
from infctl.plan.model import GATE, KV_BYTES, LENGTH, SEQS, Setting
from infctl.profile.schema import Model

_GIB = 2**30

CPU_KV_CACHE_GIB = "1"
"""A CPU model's, where the profile says nothing: vLLM would take most of the machine's memory."""

TRACES_PATH = "/v1/traces"
TRACES_ENV = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
"""vLLM would speak gRPC."""


def command(
    model: Model,
    *,
    python: str,
    weights: str,
    served_name: str,
    listen: tuple[str, int],
    on_cpu: bool,
    shared_part: float | None = None,
    settings: Sequence[Setting] = (),
    file: Callable[[str], str] = str,
    traces: str | None = None,
) -> tuple[str, ...]:
    """The whole argv.

    `weights`: a hub id or a folder. `settings`: what the plan decided where the model leaves it open.
    `shared_part`: of a shared GPU, where no bytes were planned; used unless the model writes its own.
    `file`: a path of the profile -> where the engine finds it. `traces`: the collector its spans go to.
    """
    argv = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", weights]
    if model.source.hub is not None and model.source.revision is not None:
        argv += ["--revision", model.source.revision]
    argv += ["--served-model-name", served_name, "--host", listen[0], "--port", str(listen[1])]
    planned = {setting.flag: setting.value for setting in settings}
    argv += _flags(model, on_cpu=on_cpu, shared_part=shared_part, planned=planned, file=file)
    argv += ["--shutdown-timeout", str(shutdown_timeout_s(model))]
    if traces is not None:
        argv += ["--otlp-traces-endpoint", f"{traces.rstrip('/').removesuffix(TRACES_PATH)}{TRACES_PATH}"]
    return (*argv, *model.extra_args)


def settings_in(argv: Sequence[str]) -> dict[str, str]:
    """The flags that a plan may decide, as an engine's command line has them."""
    return {flag: value for flag, value in pairwise(argv) if flag in {KV_BYTES, GATE, LENGTH, SEQS}}


def shutdown_timeout_s(model: Model) -> int:
    """Running requests get four fifths of the time until SIGKILL; the rest is for taking the engine down."""
    return int(model.stop_timeout * 0.8)


def _flags(
    model: Model,
    *,
    on_cpu: bool,
    shared_part: float | None,
    planned: Mapping[str, str],
    file: Callable[[str], str],
) -> Iterator[str]:
    def given(flag: str, value: Any) -> Iterator[str]:
        if value is not None:
            yield from (flag, str(value))

    def switch(flag: str, value: bool | None) -> Iterator[str]:
        if value is not None:
            yield f"--{flag}" if value else f"--no-{flag}"

    yield from given("--runner", runner(model))
    yield from given("--tokenizer", model.tokenizer)
    yield from given("--dtype", model.dtype)
    yield from given("--quantization", model.quantization)
    yield from given("--load-format", model.load_format)
    yield from given("--max-model-len", model.max_model_len or planned.get(LENGTH))
    yield from given("--max-num-seqs", model.max_num_seqs or planned.get(SEQS))
    yield from given("--max-num-batched-tokens", model.max_num_batched_tokens)
    yield from _memory(model, on_cpu=on_cpu, shared_part=shared_part, planned=planned)
    yield from given("--kv-cache-dtype", model.kv_cache_dtype)
    yield from given("--block-size", model.block_size)
    yield from given("--cpu-offload-gb", _gib(model.cpu_offload))
    yield from given("--tensor-parallel-size", model.tensor_parallel if model.tensor_parallel > 1 else None)
    yield from given(
        "--pipeline-parallel-size", model.pipeline_parallel if model.pipeline_parallel > 1 else None
    )
    yield from switch("enable-expert-parallel", model.enable_expert_parallel)
    yield from switch("enforce-eager", model.enforce_eager)
    yield from switch("enable-prefix-caching", model.enable_prefix_caching)
    yield from switch("enable-chunked-prefill", model.enable_chunked_prefill)
    yield from switch("async-scheduling", model.async_scheduling)
    yield from switch("trust-remote-code", model.trust_remote_code or None)
    yield from given("--chat-template", None if model.chat_template is None else file(model.chat_template))
    if model.tool_call_parser is not None:
        yield from ("--enable-auto-tool-choice", "--tool-call-parser", model.tool_call_parser)
    yield from given("--reasoning-parser", model.reasoning_parser)
    yield from given("--seed", model.seed)
    yield from given("--max-logprobs", model.max_logprobs)
    if model.limit_mm_per_prompt:
        limits = json.dumps(model.limit_mm_per_prompt, sort_keys=True, separators=(",", ":"))
        yield from ("--limit-mm-per-prompt", limits)


def _memory(
    model: Model, *, on_cpu: bool, shared_part: float | None, planned: Mapping[str, str]
) -> Iterator[str]:
    """Exact KV bytes, or a share of the card: vLLM ignores the share for the KV cache once bytes are given.

    A share the user wrote therefore drops the bytes; without one, the share is the start-up gate alone.
    """
    written = model.gpu_memory_utilization
    if written is not None:
        yield from ("--gpu-memory-utilization", f"{written:g}")
        return
    if model.kv_cache_memory is not None:
        yield from ("--kv-cache-memory-bytes", str(model.kv_cache_memory))
    elif (size := planned.get(KV_BYTES)) is not None:
        yield from ("--kv-cache-memory-bytes", size)
    if (gate := planned.get(GATE)) is not None:
        yield from ("--gpu-memory-utilization", gate)
    elif shared_part is not None and not on_cpu:
        yield from ("--gpu-memory-utilization", f"{shared_part:g}")


def _gib(size: int | None) -> str | None:
    return None if size is None else f"{size / _GIB:g}"
