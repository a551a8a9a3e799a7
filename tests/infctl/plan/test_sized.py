"""A plan with bytes: the reference platform, sharing, and what the figures of a profile really mean."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from infctl.plan import Plan

GIB = 2**30
SMALL = {"gpu": {"share": "small"}}
L4X4: dict[str, dict[str, Any]] = {
    "chat": {"replicas": 2, "gpu": 0, "max_model_len": 8192, "gpu_memory_utilization": 0.9},
    "text2sql": {"gpu": 2, "max_model_len": 8192, "gpu_memory_utilization": 0.9},
    "embed": {"source": "xlm-r", "gpu_memory_utilization": 0.8, **SMALL},
    "rerank": {"source": "bge-reranker", "gpu_memory_utilization": 0.8, **SMALL},
}
Planned = Callable[..., Plan]


def flags(plan: Plan, service: str) -> dict[str, str]:
    replica = next(replica for replica in plan.replicas if replica.service == service)
    assert all(setting.why for setting in replica.settings)
    return {setting.flag: setting.value for setting in replica.settings}


def test_reference_platform_is_allocated_as_its_page_says(planned: Planned) -> None:
    plan = planned(L4X4)
    assert {r.service: [gpu.index for gpu in r.gpus] for r in plan.replicas} == {
        "chat0": [0], "chat1": [1], "text2sql": [2], "embed": [3], "rerank": [3],
    }  # fmt: skip
    assert [use.services for use in plan.uses] == [("chat0",), ("chat1",), ("text2sql",), ("embed", "rerank")]
    assert all(replica.need is not None and replica.need.fits for replica in plan.replicas)
    assert all(replica.settings == () for replica in plan.replicas)  # each wrote its share


def test_its_two_errors_are_corrected_in_words(planned: Planned) -> None:
    told = {note.path: note.message for note in planned(L4X4).notes}
    chat = told["models/chat/gpu_memory_utilization"]
    assert chat.startswith(
        "chat takes 19.8 GiB, 0.90 of the card, not its weights alone: 14.3 GiB of weights"
    )
    assert chat.endswith("0.5 GiB of CUDA context are beside it")
    embed = told["models/embed/gpu_memory_utilization"]
    assert embed.startswith("embed is an encoder and keeps no KV cache: 0.80 of the card has to be free")
    assert re.search(r"when it starts, 17\.6 GiB, and it takes 2\.\d GiB of that$", embed)


def test_an_encoder_that_is_asked_to_answer_is_warned_of(planned: Planned) -> None:
    for gpus in ("1xL4", "2xL4"):
        (warning,) = planned({"e": {"source": "xlm-r", "task": ["chat", "embed"]}}, gpus).warnings
        assert (warning.path, warning.message) == (
            "models/e/task",
            "e is asked for chat, and XLMRobertaModel embeds or scores only: vLLM answers no such request",
        )
    assert planned({"e": {"source": "xlm-r", "task": "embed"}}, "1xL4").warnings == ()
    assert planned({"e": {"source": "qwen-0.5b", "task": ["chat", "embed"]}}, "1xL4").warnings == ()


def test_the_card_of_the_encoders_is_mostly_idle(planned: Planned) -> None:
    (idle,) = planned(L4X4).idle_memory
    assert idle.gpu.index == 3
    assert idle.free_bytes > 15 * GIB
    assert idle.says.startswith("GPU 3 holds")


def test_bytes_are_written_where_the_profile_leaves_them_open(planned: Planned) -> None:
    plan = planned({"chat": {"max_model_len": 8192}}, "1xL4")
    written = flags(plan, "chat")
    kv = int(written["--kv-cache-memory-bytes"])
    (replica,) = plan.replicas
    assert replica.need is not None
    assert replica.need.kv_bytes.expected == kv
    assert replica.need.resolved.kv_cache_memory_bytes == kv
    assert 0.9 < float(written["--gpu-memory-utilization"]) < 1.0


def test_an_encoder_gets_the_gate_it_needs_and_no_more(planned: Planned) -> None:
    plan = planned({"embed": {"source": "xlm-r"}}, "1xL4")
    assert set(flags(plan, "embed")) == {"--gpu-memory-utilization"}
    assert float(flags(plan, "embed")["--gpu-memory-utilization"]) < 0.2
