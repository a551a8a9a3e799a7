"""Every flag infctl emits is one that vLLM's own parser knows, with a value it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infctl.gpus import Gpu
from infctl.host import Host
from infctl.plan import place
from infctl.profile.loading import load
from infctl.profile.schema import Profile
from infctl.stack import Layout, Stack
from infctl.stack.build import build

pytestmark = pytest.mark.stack

PROFILES = Path(__file__).resolve().parents[2] / "profiles"
SHIPPED = tuple(PROFILES / f"{name}.yaml" for name in ("local", "l4x4", "one-gpu"))
PYTHON = os.environ.get("INFCTL_VLLM_PYTHON", sys.executable)
CARDS = tuple(Gpu(n, "L4") for n in range(8))

# Told on one line: vLLM's own imports log to both outputs.
PARSE = """
import json, sys, warnings
warnings.simplefilter("ignore")
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
for argv in json.load(sys.stdin):
    try:
        parser.parse_args(argv)
        print("PARSED")
    except SystemExit:
        print("REFUSED", " ".join(argv))
"""

EVERYTHING: dict[str, Any] = {
    "source": {"hub": "a/b", "revision": "main"}, "task": "chat", "max_model_len": 8192, "max_num_seqs": 64,
    "max_num_batched_tokens": 4096, "kv_cache_memory": "4GiB", "dtype": "float32", "quantization": "awq",
    "kv_cache_dtype": "fp8", "tensor_parallel": 2, "pipeline_parallel": 2, "enable_expert_parallel": True,
    "enforce_eager": True, "enable_prefix_caching": True, "enable_chunked_prefill": True,
    "async_scheduling": True, "cpu_offload": "1.5GiB", "block_size": 16, "trust_remote_code": True,
    "chat_template": "chat.jinja", "tool_call_parser": "hermes", "reasoning_parser": "qwen3", "seed": 1,
    "load_format": "dummy", "tokenizer": "c/d", "runner": "generate", "max_logprobs": 5,
    "limit_mm_per_prompt": {"image": 2}, "extra_args": ["--disable-log-stats"],
}  # fmt: skip
MINIMAL = {"source": "a/b", "task": "chat"}
SWITCHES = (
    "enable_expert_parallel", "enforce_eager", "enable_prefix_caching", "enable_chunked_prefill",
    "async_scheduling",
)  # fmt: skip
SWITCHED_OFF = dict.fromkeys(SWITCHES, False)


def engines(profile: Profile) -> list[list[str]]:
    layout = Layout(Path("/srv"), Path("/srv/.infctl/p"))
    cards = () if profile.gpus.kind == "cpu" else CARDS
    stack: Stack = build(profile, place(profile, cards), layout, Host(python="/py", env={"HOME": "/h"}))
    return [list(service.argv[3:]) for service in stack.services if service.role == "engine"]


def test_vllm_takes_every_argument() -> None:
    shipped = [load((path,), {"GATEWAY_API_KEY": "k"}).profile for path in SHIPPED]
    data = {"name": "p", "gpus": "8xL4", "models": {"chat": EVERYTHING}}
    variants = [
        Profile.model_validate(data),
        Profile.model_validate(data | {"models": {"chat": EVERYTHING | SWITCHED_OFF}}),
        Profile.model_validate(data | {"models": {"chat": EVERYTHING | {"gpu_memory_utilization": 0.5}}}),
    ]
    for field, values in LITERALS.items():
        variants += [
            Profile.model_validate(data | {"models": {"chat": MINIMAL | {field: value}}}) for value in values
        ]
    asked = [argv for profile in (*shipped, *variants) for argv in engines(profile)]
    done = subprocess.run(
        [PYTHON, "-c", PARSE], input=json.dumps(asked), capture_output=True, text=True, timeout=250,
        check=False, env={**os.environ, "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"},
    )  # fmt: skip
    refused = [line for line in done.stdout.splitlines() if line.startswith("REFUSED")]
    assert refused == [], done.stderr[-2000:]
    assert done.stdout.count("PARSED") == len(asked), done.stderr[-2000:]


# Every word the schema allows is one vLLM allows.
LITERALS = {
    "dtype": ("auto", "half", "float16", "bfloat16", "float", "float32"),
    "kv_cache_dtype": ("auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"),
    "load_format": ("auto", "safetensors", "pt", "dummy", "bitsandbytes", "runai_streamer", "tensorizer"),
    "runner": ("auto", "generate", "pooling"),
}
