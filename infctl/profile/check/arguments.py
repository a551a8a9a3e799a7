"""`extra_args` and `env`: what infctl itself writes, and what may never be written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from infctl.profile.check.finding import Finding
from infctl.profile.schema import Profile

OWNED_FLAGS: Mapping[str, str] = {
    "--model": "source",
    "--revision": "source: {hub: ..., revision: ...}",
    "--served-model-name": "served_name",
    "--max-model-len": "max_model_len",
    "--max-num-seqs": "max_num_seqs",
    "--max-num-batched-tokens": "max_num_batched_tokens",
    "--gpu-memory-utilization": "gpu_memory_utilization",
    "--kv-cache-memory-bytes": "kv_cache_memory",
    "--dtype": "dtype",
    "--quantization": "quantization",
    "-q": "quantization",
    "--kv-cache-dtype": "kv_cache_dtype",
    "--tensor-parallel-size": "tensor_parallel",
    "-tp": "tensor_parallel",
    "--pipeline-parallel-size": "pipeline_parallel",
    "-pp": "pipeline_parallel",
    "--enable-expert-parallel": "enable_expert_parallel",
    "--enforce-eager": "enforce_eager",
    "--enable-prefix-caching": "enable_prefix_caching",
    "--enable-chunked-prefill": "enable_chunked_prefill",
    "--async-scheduling": "async_scheduling",
    "--cpu-offload-gb": "cpu_offload",
    "--block-size": "block_size",
    "--trust-remote-code": "trust_remote_code",
    "--chat-template": "chat_template",
    "--tool-call-parser": "tool_call_parser",
    "--enable-auto-tool-choice": "tool_call_parser",
    "--reasoning-parser": "reasoning_parser",
    "--seed": "seed",
    "--load-format": "load_format",
    "--tokenizer": "tokenizer",
    "--runner": "runner",
    "--max-logprobs": "max_logprobs",
    "--limit-mm-per-prompt": "limit_mm_per_prompt",
}
"""vLLM's flag -> the field of a model that writes it."""

_PLACED = frozenset(
    {"--host", "--port", "--uds", "--device-ids", "--download-dir", "--data-parallel-size", "-dp"}
)
_SECRETS = {"--api-key": "gateway/keys/backend", "--hf-token": "engines/hub_token"}
_OWNED_ENV = frozenset({"CUDA_VISIBLE_DEVICES", "VLLM_CPU_KVCACHE_SPACE", "VLLM_HOST_IP", "VLLM_PORT"})
_SECRET_NAME = re.compile(r"(^|_)(API_?KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)


def check(profile: Profile) -> Iterator[Finding]:
    yield from _env("engines/env", profile.engines.env)
    for name, model in profile.models.items():
        yield from _env(f"models/{name}/env", model.env)
        path = f"models/{name}/extra_args"
        if model.extra_args and not model.extra_args[0].startswith("-"):
            yield Finding(
                f"{path}/0", "the first argument is no flag", "a flag first, then its value: [--flag, value]"
            )
        for number, argument in enumerate(model.extra_args):
            yield from _argument(f"{path}/{number}", argument)


def _argument(path: str, argument: str) -> Iterator[Finding]:
    # vLLM takes --max_model_len and --no-enforce-eager as well.
    flag = argument.partition("=")[0].replace("_", "-")
    if flag in _SECRETS:
        message = f"{flag} would put a secret where every user of the machine can read it"
        yield Finding(path, message, f"use {_SECRETS[flag]}")
    elif flag in _PLACED:
        yield Finding(path, f"{flag} is decided by the plan", "leave it out")
    elif field := OWNED_FLAGS.get(flag) or OWNED_FLAGS.get(flag.replace("--no-", "--", 1)):
        yield Finding(path, f"{flag} has a field of its own", f"write {field} on the model")


def _env(path: str, env: Mapping[str, str]) -> Iterator[Finding]:
    for name in env:
        if name in _OWNED_ENV:
            yield Finding(
                f"{path}/{name}",
                f"{name} is decided by the plan",
                "leave it out; see gpu and kv_cache_memory",
            )
        elif _SECRET_NAME.search(name):
            hint = "engines/hub_token and gateway/keys/backend take secrets by name; .env holds them"
            yield Finding(
                f"{path}/{name}", f"{name} looks like a secret, and env is rendered into files", hint
            )
