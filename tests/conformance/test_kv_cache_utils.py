"""Blocks, tokens and concurrency are those of vLLM's own functions, over random models and settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from infctl.models import Attention, FeedForward, Layer, ModelFacts, StateCache
from infctl.sizing import Resolved
from infctl.sizing.kv import capacity, longest, refusal
from infctl.sizing.kv_specs import LayerSpec, Ranks, specs
from tests.examples import examples

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

PYTHON = os.environ.get("INFCTL_VLLM_PYTHON", sys.executable)
ASK = Path(__file__).with_name("vllm_kv.py")
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2, "fp8": 1}
FAMILIES = (
    "full", "mla", "local", "sliding", "chunked", "two-shapes", "three", "gdn", "mamba1", "mamba2",
    "short_conv", "linear", "state-mla", "state-sliding", "pure-state", "shared", "both",
)  # fmt: skip

Case = dict[str, Any]


def settings(rng: Random, family: str) -> Case:
    length = rng.choice((1, 17, 512, 2048, 8192, 32768, 131072, 262144, 1_000_000, rng.randint(1, 300_000)))
    return {
        "family": family,
        "max_model_len": length,
        "upto": rng.choice((length, 4 * length, rng.randint(1, 1_000_000))),
        "batch": rng.choice((256, 512, 2048, 8192, 16384)),
        "async": rng.random() < 0.5,
        "prefix": rng.random() < 0.6,
        "hybrid": rng.random() < 0.85,
        "tp": rng.choice((1, 1, 2, 4, 8)),
        "block": rng.choice((16, 16, 32, 48, 64, 128)),
        "dtype": rng.choice(("bfloat16", "float16", "float32")),
    }


def of_model(rng: Random) -> Case:
    """A whole model, from which both sides make their specs."""
    case = settings(rng, rng.choice(FAMILIES))
    case["kv_dtype"] = rng.choice((case["dtype"], case["dtype"], "fp8"))
    pattern = layer_pattern(rng, case["family"])
    count = rng.randint(max(4, len(pattern)), 64)
    case["layers"] = [pattern[n % len(pattern)] for n in range(count)]
    case["available"] = [0] * rng.choice((1, 1, 1, 2, 3, 4))
    return case


def layer_pattern(rng: Random, family: str) -> list[Case]:
    full, window = attention(rng), rng.choice((128, 512, 1024, 4096))
    sliding, chunked = (
        full | {"kind": "sliding", "window": window},
        full | {"kind": "chunked", "window": window},
    )
    mla = full | {"kind": "mla", "kv_heads": 16, "latent": rng.choice((576, 320, 288))}
    other = attention(rng) | {"kind": "sliding", "window": window}
    state = state_layer(rng, family)
    times = rng.randint(1, 6)
    return {
        "full": [full],
        "mla": [mla],
        "local": [sliding],
        "sliding": [sliding] * times + [full],
        "chunked": [chunked] * times + [full],
        "two-shapes": [other] * times + [full],
        "three": [sliding, chunked, chunked, full, other | {"window": 2 * window}][: rng.randint(3, 5)],
        "state-mla": [state] * times + [mla],
        "state-sliding": [state] * times + [sliding, full],
        "pure-state": [state],
        "both": [full | {"beside": state}],
        "shared": [full, *[full | {"kind": rng.choice(("shared", "none"))}] * times, sliding],
    }.get(family, [state] * times + [full])


def attention(rng: Random) -> Case:
    heads, size = rng.choice((1, 2, 4, 8, 16)), rng.choice((64, 80, 96, 128, 192, 256))
    value = rng.choice((0, 0, 0, 128))
    return {
        "kind": "full",
        "kv_heads": heads,
        "head_dim": size,
        "value_dim": value,
        "window": None,
        "latent": 0,
    }


def state_layer(rng: Random, family: str) -> Case:
    kinds = ("gdn", "mamba1", "mamba2", "short_conv", "linear")
    kind = family if family in kinds else rng.choice(kinds)
    heads, size = rng.choice((16, 32, 64)), rng.choice((64, 128))
    return {
        "kind": "state",
        "state_kind": kind,
        "conv_kernel": rng.choice((3, 4)),
        "heads": heads,
        "head_dim": size,
        "groups": rng.choice((8, 16)) if kind == "gdn" else rng.choice((1, 2, 8)),
        "state": rng.choice((16, 64, 128)),
        "inner": heads * size,
        "state_dtype": rng.choice(("auto", "float32")),
    }


def of_specs(rng: Random) -> Case:
    """Specs as no model has them: mixed blocks, pages that do not divide each other."""
    case = settings(rng, "given")
    kinds = [given_layer(rng) for _ in range(rng.choice((1, 2, 2, 3, 3, 4)))]
    layers = [layer for layer in kinds for _ in range(rng.randint(1, 14))]
    rng.shuffle(layers)
    ranks = rng.randint(1, min(4, len(layers)))
    case["ranks"] = [layers[n * len(layers) // ranks : (n + 1) * len(layers) // ranks] for n in range(ranks)]
    case["available"] = [0] * ranks
    return case


def given_layer(rng: Random) -> Case:
    kind = rng.choice(("full", "full", "sliding", "sliding", "chunked", "mla", "state"))
    if kind == "state":
        numbers = rng.choice((1024, 4096, 65536, 65537))
        padded = rng.choice((None, None, numbers * 2 + 512))
        return {
            "kind": kind,
            "block": rng.choice((16, 8192)),
            "numbers": numbers,
            "padded": padded,
            "window": None,
        }
    size, dtype = rng.choice((64, 128, 192)), rng.choice(("bfloat16", "bfloat16", "fp8"))
    shape = (1, 576, 0) if kind == "mla" else (rng.choice((1, 2, 8)), size, rng.choice((size, 64)))
    window = rng.choice((128, 1024, 3000)) if kind in {"sliding", "chunked"} else None
    block = rng.choice((16, 16, 16, 32, 64, 128))
    return {"kind": kind, "block": block, "shape": shape, "dtype": dtype, "padded": None, "window": window}


def facts(case: Case) -> ModelFacts:
    layers = tuple(Layer(whole(layer), FeedForward()) for layer in case["layers"])
    return ModelFacts("m", "MForCausalLM", "m", hidden=64, layers=layers, vocab=1000, context=case["upto"])


def whole(layer: Case) -> Attention:
    if layer["kind"] != "state":
        own = {name: value for name, value in layer.items() if name != "beside"}
        beside = whole(layer["beside"]).state if "beside" in layer else None
        return Attention(heads=64, state=beside, **own)
    fields = ("conv_kernel", "heads", "head_dim", "groups", "state", "inner")
    own = StateCache(
        layer["state_kind"], dtype=layer["state_dtype"], **{name: layer[name] for name in fields}
    )
    return Attention("state", state=own)


def resolved(case: Case) -> Resolved:
    return Resolved(
        max_model_len=case["max_model_len"],
        max_num_seqs=256,
        max_num_batched_tokens=case["batch"],
        gpu_memory_utilization=0.9,
        kv_cache_memory_bytes=None,
        dtype=case["dtype"],
        kv_dtype=case.get("kv_dtype", case["dtype"]),
        block_size=case["block"],
        tensor_parallel=case["tp"],
        pipeline_parallel=len(case["available"]),
        expert_parallel=False,
        compiled=True,
        async_scheduling=case["async"],
        prefix_caching=case["prefix"],
        hybrid_kv_cache=case["hybrid"],
        cpu_offload_bytes=0,
        quantization=None,
        vllm="0.32",
    )


def as_given(layer: Case) -> LayerSpec:
    if layer["kind"] == "state":
        return LayerSpec("state", layer["block"], 2 * layer["numbers"], padded_bytes=layer["padded"])
    (heads, key, value), width = layer["shape"], WIDTHS[layer["dtype"]]
    content = layer["block"] * heads * (key + value) * width
    return LayerSpec(layer["kind"], layer["block"], content, (heads, key, value, width), layer["window"])


def ours(case: Case) -> Ranks:
    if "ranks" in case:
        return tuple(tuple(as_given(layer) for layer in rank) for rank in case["ranks"])
    return specs(facts(case), resolved(case))


def made(rng: Random) -> Case:
    """A case with bytes between too few and plenty."""
    while True:
        case = of_model(rng) if rng.random() < 0.6 else of_specs(rng)
        ranks = ours(case)
        if all(ranks):  # vLLM divides by zero where a rank keeps no cache beside ranks that do
            break
    share = rng.choice((0.1, 0.8, 1.2, 2.0, 5.0, 20.0)) * rng.uniform(0.5, 1.5)
    blocks = case["max_model_len"] / min(spec.block_size for rank in ranks for spec in rank)
    most = [sum(spec.page_bytes for spec in rank) for rank in ranks]
    case["available"] = [
        int(size * (share * blocks + rng.choice((0, 4, 30, 400))) * rng.uniform(0.8, 1)) for size in most
    ]
    return case


def answered(seed: int) -> list[tuple[Case, Case]]:
    """Cases and what vLLM says of each."""
    rng = Random(seed)
    cases = [made(rng) for _ in range(3400)]
    quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        [PYTHON, str(ASK)], input=json.dumps(cases), env=os.environ | quiet, capture_output=True, text=True,
        check=False, timeout=560,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return list(zip(cases, json.loads(done.stdout.splitlines()[-1]), strict=True))


def different(case: Case, vllm: Case) -> dict[str, Any]:
    ranks, settled = ours(case), resolved(case)
    available = tuple(case["available"])
    found = capacity(ranks, available, settled)
    assert found is not None
    here: dict[str, Any] = {
        "pages": [[spec.page_bytes for spec in rank] for rank in ranks],
        "sizes": [[spec.block_size for spec in rank] for rank in ranks],
        "refused": refusal(ranks, settled) is not None,
        "fits": found.fits,
        "longest": longest(ranks, available, settled, case["upto"]),
    }
    if vllm["fits"]:
        here |= {
            "blocks": found.num_blocks,
            "tokens": found.tokens,
            "concurrency": found.concurrency,
            "block_size": found.block_size,
        }
    return {name: (value, vllm[name]) for name, value in here.items() if value != vllm[name]}


@pytest.mark.parametrize("seed", range(examples(1)))
def test_no_case_differs_from_vllm(seed: int) -> None:
    cases = answered(seed)
    covers_what_it_is_for(cases)
    wrong = [(case, difference) for case, vllm in cases if (difference := different(case, vllm))]
    assert not wrong, f"{len(wrong)} of {len(cases)}, the first: {wrong[0]}"


def covers_what_it_is_for(cases: list[tuple[Case, Case]]) -> None:
    families = Counter(case["family"] for case, _ in cases)
    assert all(families[family] >= 40 for family in FAMILIES), families
    fates = Counter((vllm["fits"], vllm["refused"]) for _, vllm in cases)
    assert fates[True, False] >= 2000, fates
    assert fates[False, False] >= 400, fates
    assert fates[False, True] >= 100, fates
    shorter = [1 for case, vllm in cases if 0 < vllm["longest"] < case["upto"]]
    assert len(shorter) >= 400
    assert Counter(len(case["available"]) for case, _ in cases).keys() >= {1, 2, 3, 4}
