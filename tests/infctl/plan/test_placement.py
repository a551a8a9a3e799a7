"""Which replica runs on which GPU, and how a plan that does not fit says so."""

from __future__ import annotations

from typing import Any

import pytest

from infctl.errors import Location, PlanError
from infctl.gpus import Gpu, detect, listed, read_smi
from infctl.plan import Plan, place
from infctl.profile.schema import Gpus, Profile


def cards(count: int) -> tuple[Gpu, ...]:
    return tuple(Gpu(n, "L4", f"GPU-0000000{n}") for n in range(count))


def profile(models: dict[str, dict[str, Any]], gpus: str = "detect") -> Profile:
    full = {name: {"source": "a/b", "task": "chat"} | model for name, model in models.items()}
    return Profile.model_validate({"name": "p", "gpus": gpus, "models": full})


def placed(models: dict[str, dict[str, Any]], count: int) -> dict[str, list[int]]:
    plan = place(profile(models), cards(count))
    return {replica.service: [gpu.index for gpu in replica.gpus] for replica in plan.replicas}


SHARED = {"gpu": {"share": "small"}}


def test_reference_platform_goes_where_it_always_was() -> None:
    models = {"chat": {"replicas": 2}, "text2sql": {}, "embed": SHARED, "rerank": SHARED}
    assert placed(models, 4) == {"chat0": [0], "chat1": [1], "text2sql": [2], "embed": [3], "rerank": [3]}


@pytest.mark.parametrize(
    ("models", "count", "expected"),
    [
        ({"a": {}, "b": {"gpu": 0}}, 2, {"a": [1], "b": [0]}),
        ({"a": {"gpu": {"uuid": "GPU-00000001"}}, "b": {}}, 2, {"a": [1], "b": [0]}),
        ({"a": {"tensor_parallel": 2}, "b": {}}, 3, {"a": [0, 1], "b": [2]}),
        ({"a": {"replicas": 2, "tensor_parallel": 2}}, 4, {"a0": [0, 1], "a1": [2, 3]}),
        ({"a": {"replicas": 2, "gpu": 1}, "b": {}}, 3, {"a0": [1], "a1": [2], "b": [0]}),
        ({"a": {"replicas": 2, **SHARED}, "b": SHARED}, 1, {"a0": [0], "a1": [0], "b": [0]}),
        ({"a": {"replicas": 1}}, 1, {"a0": [0]}),
        ({"a": {"pipeline_parallel": 2, "tensor_parallel": 2}}, 4, {"a": [0, 1, 2, 3]}),
    ],
)
def test_placement(models: dict[str, Any], count: int, expected: dict[str, list[int]]) -> None:
    assert placed(models, count) == expected


def test_on_the_cpu_nothing_is_placed() -> None:
    plan = place(profile({"chat": {"replicas": 2}, "embed": SHARED}, "cpu"), ())
    assert [(r.service, r.gpus) for r in plan.replicas] == [("chat0", ()), ("chat1", ()), ("embed", ())]


def test_sharers_get_equal_parts_of_what_is_left_of_90_percent() -> None:
    def parts(models: dict[str, Any]) -> list[float | None]:
        return [replica.utilization for replica in place(profile(models), cards(2)).replicas]

    assert parts({"a": SHARED, "b": SHARED}) == [0.45, 0.45]
    assert parts({"a": SHARED | {"gpu_memory_utilization": 0.6}, "b": SHARED}) == [None, 0.3]
    assert parts({"a": SHARED, "b": {}}) == [None, None]


def test_idle_cards_are_known() -> None:
    plan: Plan = place(profile({"a": {"gpu": 1}}), cards(3))
    assert [gpu.index for gpu in plan.idle] == [0, 2]


@pytest.mark.parametrize(
    ("models", "count", "path", "message", "hint"),
    [
        (
            {"chat": {"replicas": 5}, "text2sql": {}}, 4, "models/chat/replicas",
            "5 replicas of chat need 5 GPUs, 4 exist and 1 is taken by text2sql", "3 fit",
        ),
        (
            {"a": {"tensor_parallel": 4}, "b": {}, "c": {}}, 4, "models/a/tensor_parallel",
            "a needs 4 GPUs, 4 exist and 2 are taken by b, c", "share",
        ),
        ({"a": {}, "b": {}}, 1, "models/a/gpu", "a needs 1 GPU, 1 exists and 1 is taken by b", "share"),
        ({"a": {"gpu": 7}}, 2, "models/a/gpu", "a asks for GPU 7, which does not exist", "there are: 0, 1"),
        ({"a": {"gpu": 0}, "b": {"gpu": 0}}, 2, "models/b/gpu", "GPU 0 is taken by a", "share"),
        (
            {"a": {"gpu": {"uuid": "GPU-99999999"}}}, 1, "models/a/gpu",
            "no GPU has the UUID GPU-99999999", "GPU-00000000",
        ),
        (
            {"a": {"gpu": {"uuid": "GPU-00000000"}, "replicas": 2}}, 2, "models/a/gpu",
            "a needs 2 GPUs, and a UUID names one", "index",
        ),
        (
            {"a": SHARED, "b": SHARED | {"tensor_parallel": 2}}, 4, "models/b/tensor_parallel",
            "b and a share small, but are cut across different numbers of GPUs", "tensor_parallel",
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_is_said_with_its_place(
    models: dict[str, Any], count: int, path: str, message: str, hint: str
) -> None:
    with pytest.raises(PlanError) as caught:
        place(profile(models), cards(count), lambda path: Location(path, 1, 1))
    (problem,) = caught.value.problems
    assert (problem.path, problem.message, problem.where) == (path, message, Location(path, 1, 1))
    assert hint in problem.hint


def test_a_catalogue_knows_what_the_driver_would_say() -> None:
    found = listed(Gpus.model_validate("2xL4").devices)
    assert [(g.index, g.name) for g in found] == [(0, "L4"), (1, "L4")]
    assert found[0].memory_bytes == int(22.05 * 2**30)


def test_cards_without_an_index_take_the_free_ones() -> None:
    found = listed(
        Gpus.model_validate([{"name": "L4"}, {"name": "H100", "index": 0}, {"memory": "24GiB"}]).devices
    )
    assert [(g.index, g.name, g.memory_bytes) for g in found] == [
        (0, "H100", 85_017_493_504), (1, "L4", int(22.05 * 2**30)), (2, "", 24 * 2**30),
    ]  # fmt: skip


def test_nvidia_smi_is_read() -> None:
    text = "1, GPU-b, NVIDIA H200, 143771\n0, GPU-a, NVIDIA L4, [N/A]\nNo devices were found\n"
    assert read_smi(text) == (Gpu(0, "L4", "GPU-a", 0), Gpu(1, "H200", "GPU-b", 143771 * 2**20))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'Driver mismatch' >&2; exit 9", "nvidia-smi failed"),
        ("exit 0", "nvidia-smi lists no GPU"),
    ],
)
def test_a_driver_that_does_not_answer_is_a_plan_error(tmp_path: Any, script: str, message: str) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with pytest.raises(PlanError, match=message) as caught:
        detect(str(program))
    assert "`gpus: cpu`" in caught.value.hint


def test_no_driver_is_a_plan_error_that_says_what_to_write(tmp_path: Any) -> None:
    with pytest.raises(PlanError, match="no NVIDIA driver") as caught:
        detect(str(tmp_path / "missing"))
    assert "such as `gpus: 1xL4`" in caught.value.hint
    assert "`-f one-gpu.yaml -f cards.yaml`" in caught.value.hint
