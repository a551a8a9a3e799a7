"""What the plan decides reaches vLLM, each flag once, and on a CPU nothing changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infctl.host import Host
from infctl.plan import place, plan
from infctl.stack import Layout, Stack
from infctl.stack.build import build
from infctl.vllm import settings_in
from tests.infctl import cpu_time

BASE = Path("/srv/platform")
LAYOUT = Layout(BASE, BASE / ".infctl" / "p")
DECIDED = ("--kv-cache-memory-bytes", "--gpu-memory-utilization", "--max-model-len", "--max-num-seqs")


@pytest.fixture(scope="module")
def stacked(builders: Any) -> Any:
    profile, cards, facts_for = builders

    def make(models: dict[str, Any], gpus: str) -> Stack:
        found = profile(models)
        return build(found, plan(found, cards(gpus), facts_for(found)), LAYOUT, Host())

    return make


def flags(stack: Stack, service: str) -> dict[str, str]:
    argv = stack.service(service).argv
    assert all(argv.count(flag) <= 1 for flag in DECIDED)
    return settings_in(argv)


def test_bytes_and_the_gate_are_on_the_command_line(stacked: Any) -> None:
    found = flags(stacked({"chat": {"max_model_len": 8192}}, "1xL4"), "chat")
    assert int(found["--kv-cache-memory-bytes"]) > 4 * 2**30
    assert 0.9 < float(found["--gpu-memory-utilization"]) < 1.0
    assert found["--max-model-len"] == "8192"


def test_a_share_that_was_written_drops_the_bytes(stacked: Any) -> None:
    found = flags(stacked({"chat": {"max_model_len": 8192, "gpu_memory_utilization": 0.9}}, "1xL4"), "chat")
    assert found == {"--gpu-memory-utilization": "0.9", "--max-model-len": "8192"}


def test_a_cache_that_was_written_is_passed_as_it_is(stacked: Any) -> None:
    found = flags(stacked({"chat": {"kv_cache_memory": "2GiB"}}, "1xL4"), "chat")
    assert found["--kv-cache-memory-bytes"] == str(2 * 2**30)
    assert float(found["--gpu-memory-utilization"]) < 0.9


def test_a_context_that_does_not_fit_is_shortened(stacked: Any) -> None:
    assert flags(stacked({"chat": {"source": "llama-8b"}}, "1xL4"), "chat")["--max-model-len"] == "9216"
    assert "--max-model-len" not in flags(stacked({"chat": {"source": "llama-8b"}}, "1xH100"), "chat")


def test_neighbours_are_listed_in_the_order_in_which_they_start(stacked: Any) -> None:
    share = {"gpu": {"share": "one"}}
    models = {
        "embed": {"source": "xlm-r"} | share,
        "chat": {"source": "qwen-0.5b", "max_model_len": 8192} | share,
        "alone": {"source": "xlm-r"},
    }
    engines = [s for s in stacked(models, "2xL4").services if s.role == "engine"]
    assert [s.name for s in engines] == ["chat", "embed", "alone"]
    assert [s.start_group for s in engines] == ["gpu0", "gpu0", "gpu1"]


def test_on_a_cpu_the_command_line_is_the_one_without_facts(builders: Any) -> None:
    profile, _, facts_for = builders
    models = {
        "chat": {"source": "qwen-0.5b", "max_model_len": 2048, "kv_cache_memory": "1GiB"},
        "embed": {"source": "xlm-r"},
    }
    found = profile(models, "cpu")
    sized = plan(found, (), facts_for(found))
    assert [replica.settings for replica in sized.replicas] == [(), ()]
    assert all(replica.need is not None and replica.need.fits for replica in sized.replicas)
    by_count = place(found, ())
    assert build(found, sized, LAYOUT, Host()) == build(found, by_count, LAYOUT, Host())


@pytest.mark.serial
def test_the_reference_platform_is_planned_in_50_ms(builders: Any) -> None:
    profile, cards, facts_for = builders
    share = {"gpu": {"share": "small"}}
    chat = {"max_model_len": 8192, "gpu_memory_utilization": 0.9}
    found = profile(
        {
            "chat": chat | {"replicas": 2, "gpu": 0},
            "text2sql": chat | {"gpu": 2},
            "embed": {"source": "xlm-r"} | share,
            "rerank": {"source": "bge-reranker"} | share,
        }
    )
    facts = facts_for(found)
    assert cpu_time.own(lambda: plan(found, cards("4xL4"), facts), 0.05) < 0.05
