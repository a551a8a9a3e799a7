"""The real starts of vLLM 0.25 on an H100 that the planner is measured against."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infctl.models import ModelFacts
from infctl.models.config import facts
from infctl.sizing import Card, EngineArgs

GIB = 2**30
FILE = Path(__file__).parents[2] / "golden" / "vllm" / "h100_starts.json"

IN_PROCESS = {"max_num_batched_tokens": 16384, "max_num_seqs": 1024}
"""What vLLM takes on such a card when it runs inside another program, as it did here, and not as a server."""


@dataclass(frozen=True)
class Start:
    name: str
    facts: ModelFacts
    args: EngineArgs
    card: Card
    observed: dict[str, Any]


def _start(case: dict[str, Any]) -> Start:
    known = {name: value for name, value in case["args"].items() if name in EngineArgs.__dataclass_fields__}
    return Start(
        name=case["case"],
        facts=facts(case["hf_config"], name=case["case"]),
        args=EngineArgs(**{**IN_PROCESS, **known}, async_scheduling=False, vllm="0.25"),
        card=Card(case["device"], case["total_bytes"]),
        observed=case["observed"],
    )


STARTS = tuple(_start(case) for case in json.loads(FILE.read_text()))
