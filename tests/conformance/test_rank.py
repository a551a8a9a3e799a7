"""One rank's modules hold as many numbers as vLLM's own classes create, however the model is cut."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infctl.models.config import facts as read
from infctl.sizing import Card, EngineArgs
from infctl.sizing.defaults import pools, resolve
from infctl.sizing.rank import modules

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
PYTHON = os.environ.get("INFCTL_VLLM_PYTHON", sys.executable)
H100 = Card("NVIDIA H100 80GB HBM3", 85_017_493_504)

MODELS = (
    "mixtral",  # first: the group of experts is made with the first model, if that has experts
    "llama",
    "llama with biases",
    "mistral",
    "qwen2",
    "qwen2-moe",
    "qwen3",
    "qwen3 that embeds",
    "qwen3-moe",
    "qwen3-next",
    "gemma2",
    "gemma3",
    "phi3",
    "deepseek-v2",
    "deepseek-v2 with narrow queries",
    "deepseek-v3",
    "granite",
    "granite-moe",
    "granite hybrid",
    "cohere2",
    "glm4",
    "bert",
    "xlm-roberta",
    "xlm-roberta that scores",
)
WHOLE = {"tensor": 1, "pipeline": 1, "stage": 0, "experts": False}
CUTS = {
    "whole": WHOLE,
    "two ranks": WHOLE | {"tensor": 2},
    "four ranks": WHOLE | {"tensor": 4},
    "four ranks of experts": WHOLE | {"tensor": 4, "experts": True},
    "the first of two stages": WHOLE | {"pipeline": 2},
    "the last of two stages": WHOLE | {"pipeline": 2, "stage": 1},
}
CASES = [
    (model, cut)
    for model in MODELS
    for cut in CUTS
    if not ("stage" in cut and model.startswith(("bert", "xlm")))  # vLLM cuts no encoder into stages
]


def config(model: str) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("small_models", HERE / "test_parameters.py")
    assert spec is not None
    assert spec.loader is not None
    small = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(small)
    found: dict[str, Any] = small.config(model)
    # vLLM asks for what every config of an encoder on the hub says.
    return found | ({"position_embedding_type": "absolute"} if "type_vocab_size" in found else {})


@pytest.fixture(scope="module")
def theirs() -> dict[tuple[str, str], dict[str, Any]]:
    jobs = [{"config": config(model), **CUTS[cut]} for model, cut in CASES]
    done = subprocess.run(
        [PYTHON, str(HERE / "vllm_modules.py")],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("model", "cut"), CASES)
def test_a_rank_holds_what_vllm_creates(
    model: str, cut: str, theirs: dict[tuple[str, str], dict[str, Any]]
) -> None:
    way = CUTS[cut]
    args = EngineArgs(
        tensor_parallel=way["tensor"],
        pipeline_parallel=way["pipeline"],
        expert_parallel=way["experts"],
    )
    facts = read(config(model), name=model)
    facts = replace(facts, pooling=pools(facts, args))
    found = modules(facts, resolve(facts, args, H100), way["stage"])
    assert sum(m.numbers for m in found if not m.table) == theirs[model, cut]["numbers"]
    assert sorted([m.out, m.into] for m in found if m.table) == theirs[model, cut]["tables"]
