"""What does not fit: which key is to blame, by how much, and what would fit instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from infctl.errors import Location, PlanError, Problem
from infctl.gpus import CATALOGUE, Gpu
from infctl.plan import Plan
from infctl.profile.check import placement

Planned = Callable[..., Plan]
SHARED = {"gpu": {"share": "one"}}
LONG = {"source": "llama-8b", "max_model_len": 131072}


def refused(planned: Planned, models: dict[str, Any], gpus: str) -> list[Problem]:
    with pytest.raises(PlanError) as caught:
        planned(models, gpus, where=lambda path: Location(path, 1, 1))
    assert caught.value.exit_code == 4
    for problem in caught.value.problems:
        assert problem.where == Location(problem.path, 1, 1)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("models", "gpus", "path", "message"),
    [
        (
            {"chat": LONG}, "1xL4", "models/chat/max_model_len",
            r"chat needs 16\.0 GiB of KV cache for one request of 131,072 tokens, 4\.\d GiB are there",
        ),
        (
            {"chat": {"max_model_len": 65536}}, "1xL4", "models/chat/max_model_len",
            r"chat takes 32,768 tokens at most, 65,536 are asked for",
        ),
        (
            {"chat": {"gpu_memory_utilization": 0.5}}, "1xL4", "models/chat/gpu_memory_utilization",
            r"0\.50 of the card are 11\.0 GiB, weights and work take 15\.\d GiB: .* \d\.\d GiB are missing",
        ),
        (
            {"chat": {"gpu_memory_utilization": 1.0}}, "1xL4", "models/chat/gpu_memory_utilization",
            r"1\.00 of GPU 0 and the CUDA context are 22\.\d GiB, the card has 22\.\d GiB",
        ),
        (
            {"chat": {"kv_cache_memory": "9GiB"}}, "1xL4", "models/chat/kv_cache_memory",
            r"9\.0 GiB of KV cache are asked for, \d\.\d GiB are there",
        ),
        (
            {"chat": {"kv_cache_memory": "256MiB", "max_model_len": 8192}}, "1xL4",
            "models/chat/max_model_len",
            r"chat needs 0\.4 GiB of KV cache for one request of 8,192 tokens, 0\.2 GiB are there",
        ),
        (
            {"a": SHARED, "b": SHARED}, "1xL4", "models/a/gpu",
            r"a and b share GPU 0 and need 3\d\.\d GiB at least \(a 1\d\.\d GiB, b .*\), .* too much",
        ),
        (
            {"a": SHARED | {"gpu_memory_utilization": 0.9}, "b": SHARED}, "1xL4",
            "models/a/gpu_memory_utilization", r"a and b share GPU 0 .* too much",
        ),
        (
            {"chat": {}}, "1xA2", "models/chat/source",
            r"chat needs 1\d\.\d GiB of GPU 0 before its KV cache gets any .* too little",
        ),
        (
            {"chat": {"source": "llama-8b", "kv_cache_memory": "100MiB"}}, "1xL4",
            "models/chat/kv_cache_memory", r"one request of 131,072 tokens, 0\.1 GiB are there",
        ),
        (
            {"chat": {"source": "qwen-0.5b", "tensor_parallel": 4}}, "4xL4", "models/chat/tensor_parallel",
            r"14 attention heads cannot be cut into 4 equal parts",
        ),
        (
            {"chat": {"source": "qwen-0.5b", "tensor_parallel": 4, "gpu_memory_utilization": 0.9}}, "4xL4",
            "models/chat/tensor_parallel", r"14 attention heads cannot be cut into 4 equal parts",
        ),
        (
            {"chat": {"block_size": 20, "gpu_memory_utilization": 0.9}}, "1xL4", "models/chat/block_size",
            r"block_size 20 is no multiple of 16, .*: block_size 16 would do",
        ),
        (
            {"chat": {"gpu_memory_utilization": 0.9}}, "1xA2", "models/chat/source",
            r"chat needs 1\d\.\d GiB of GPU 0 before its KV cache gets any .* too little",
        ),
        ({"chat": {"gpu": 7}}, "1xL4", "models/chat/gpu", r"chat asks for GPU 7, which does not exist"),
    ],
)  # fmt: skip
def test_it_says_which_key_and_by_how_much(
    planned: Planned, models: dict[str, Any], gpus: str, path: str, message: str
) -> None:
    (problem,) = refused(planned, models, gpus)
    assert problem.path == path
    assert re.search(message, problem.message), problem.message


def test_neighbours_that_leave_less_than_a_written_share_shut_it_out(planned: Planned) -> None:
    models = {
        "chat": SHARED | {"source": "qwen-0.5b", "gpu_memory_utilization": 0.85},
        "embed": SHARED | {"source": "xlm-r", "gpu_memory_utilization": 0.9},
        "more": SHARED | {"source": "xlm-r", "gpu_memory_utilization": 0.9},
    }
    problems = refused(planned, models, "1xL4")
    assert problems[0].path.endswith("gpu_memory_utilization")


def test_the_longest_context_that_fits_is_proposed_and_is_the_longest(planned: Planned) -> None:
    (problem,) = refused(planned, {"chat": LONG}, "1xL4")
    found = re.search(r"max_model_len: (\d+)", problem.hint)
    assert found is not None
    length = int(found[1])
    planned({"chat": LONG | {"max_model_len": length}}, "1xL4")
    refused(planned, {"chat": LONG | {"max_model_len": length + 1024}}, "1xL4")


PROPOSALS = (
    (r"^max_model_len: (\d+)", lambda found: {"max_model_len": int(found[1])}),
    (r"^no gpu_memory_utilization", lambda _: {"gpu_memory_utilization": None}),
    (r"^no kv_cache_memory", lambda _: {"kv_cache_memory": None}),
    (r"^kv_cache_memory: (\w+)", lambda found: {"kv_cache_memory": found[1]}),
    (r"^no max_num_batched_tokens", lambda _: {"max_num_batched_tokens": None}),
    (r"^block_size: (\d+)", lambda found: {"block_size": int(found[1])}),
    (r"^pipeline_parallel: (\d+)", lambda found: {"pipeline_parallel": int(found[1])}),
    (r"^kv_cache_dtype: fp8", lambda _: {"kv_cache_dtype": "fp8"}),
    (r"^max_num_seqs: (\d+)", lambda found: {"max_num_seqs": int(found[1])}),
    (r"^replicas: (\d+)", lambda found: {"replicas": int(found[1])}),
    (r"^gpu: auto", lambda _: {"gpu": "auto"}),
    (r"^tensor_parallel: (\d+)", lambda found: {"tensor_parallel": int(found[1])}),
)


@pytest.mark.parametrize(
    ("models", "gpus"),
    [
        ({"chat": LONG}, "1xL4"),
        ({"chat": LONG}, "2xL4"),
        ({"chat": {"gpu_memory_utilization": 0.5}}, "2xL4"),
        ({"chat": {"kv_cache_memory": "9GiB"}}, "1xL4"),
        ({"chat": {"source": "llama-8b", "max_model_len": 45056}}, "1xL4"),
        ({"a": SHARED, "b": SHARED}, "2xL4"),
        ({"chat": {"source": "qwen-0.5b", "tensor_parallel": 4}}, "4xL4"),
        ({"chat": {}}, "1xA2"),
        ({"chat": {"replicas": 5}, "sql": {}}, "4xL4"),
        ({"chat": SHARED | {"source": "llama-8b", "max_model_len": 131072}}, "1xL4"),
        ({"chat": LONG | {"replicas": 2}}, "1xL4, 1xA40"),
        ({"chat": {"replicas": 2}}, "1xT4, 1xA40"),
        ({"chat": {"block_size": 40}}, "1xL4"),
        ({"chat": {"max_model_len": 40000}}, "1xL4"),
        ({"e": {"source": "xlm-r", "max_num_batched_tokens": 256}}, "1xL4"),
        ({"chat": {"tensor_parallel": 4}}, "2xL4"),
        ({"chat": {"tensor_parallel": 4}}, "1xA40"),
        ({"chat": {"pipeline_parallel": 32}}, "32xL4"),
    ],
)
def test_every_proposal_fits_when_it_is_planned(
    planned: Planned, builders: Any, models: dict[str, Any], gpus: str
) -> None:
    def sound(changed: dict[str, Any]) -> dict[str, Any]:
        assert list(placement.check(builders[0](changed))) == []
        return changed

    (problem,) = refused(planned, models, gpus)
    lines = [line.removeprefix("would fit: ").removeprefix("or ") for line in problem.hint.splitlines()]
    assert 1 <= len(lines) <= 4
    tried = 0
    for line in lines:
        head, _, rest = line.partition(": ")
        name, says = (head, rest) if head in models else (problem.path.split("/")[1], line)
        if (cards := re.match(r"gpus: (\d+)x([^(]+?) (?:and tensor_parallel: (\d+) )?\(", says)) is not None:
            wide = {name: models[name] | {"tensor_parallel": int(cards[3])}} if cards[3] else {}
            assert planned(sound({**models, **wide}), f"{cards[1]}x{cards[2]}").replicas
            tried += 1
        for pattern, change in PROPOSALS:
            if (found := re.match(pattern, says)) is not None:
                fields = {**models[name], **change(found)}
                assert planned(sound({**models, name: fields}), gpus).replicas
                tried += 1
    assert tried + sum("4-bit" in line for line in lines) == len(lines)


def test_fp8_is_proposed_where_it_is_what_is_missing(planned: Planned) -> None:
    (problem,) = refused(planned, {"chat": {"source": "llama-8b", "max_model_len": 45056}}, "1xL4")
    assert "kv_cache_dtype: fp8" in problem.hint


def test_a_model_without_facts_is_placed_and_told(planned: Planned) -> None:
    plan = planned({"a": {"source": "nobody-knows"}, "b": {}}, "2xL4", where=lambda p: Location(p, 3, 1))
    assert [(r.service, [g.index for g in r.gpus]) for r in plan.replicas] == [("a", [0]), ("b", [1])]
    assert [r.need is None for r in plan.replicas] == [True, False]
    (warning,) = plan.warnings
    assert (warning.path, warning.where) == ("models/a/source", Location("models/a/source", 3, 1))


def test_a_card_of_unknown_memory_is_placed_by_count(builders: Any) -> None:
    from infctl.plan import plan

    profile, _, facts_for = builders
    found = profile({"a": {}, "b": {"gpu": 1}})
    made = plan(found, (Gpu(0, "Mystery"), Gpu(1, "L4", memory_bytes=CATALOGUE["L4"])), facts_for(found))
    assert [r.need is None for r in made.replicas] == [True, False]
    assert [w.path for w in made.warnings] == ["gpus"]


def test_cards_that_leave_the_model_failing_elsewhere_are_no_proposal(planned: Planned) -> None:
    """A context that one card holds and the model's other replica on a smaller card does not."""
    (problem,) = refused(planned, {"chat": {"replicas": 2, "max_model_len": 65536}}, "1xT4, 1xA40")
    assert "max_model_len" not in problem.hint


def test_proposals_are_sought_for_the_first_failures_alone(planned: Planned) -> None:
    problems = refused(planned, {f"m{n}": {} for n in range(20)}, "20xT4")
    hints = [problem.hint.partition(":")[0] for problem in problems]
    assert hints == ["would fit"] * 4 + ["what would make it fit is told once those above do"] * 16


def test_models_that_could_share_the_only_card_are_told_so(planned: Planned) -> None:
    small = {"source": "qwen-0.5b", "max_model_len": 4096}
    (problem,) = refused(planned, {"a": small, "b": small}, "1xL4")
    first = problem.hint.splitlines()[0]
    found = re.fullmatch(
        r"would fit: gpu: \{share: one\} on a and b \(a ([\d,]+) and b ([\d,]+) tokens of KV cache\)", first
    )
    assert found is not None
    together = planned({name: small | {"gpu": {"share": "one"}} for name in "ab"}, "1xL4")
    tokens = [f"{r.need.kv_tokens.expected:,}" for r in together.replicas if r.need is not None]
    assert tokens == [found[1], found[2]]
    (problem,) = refused(planned, {"a": {}, "b": {}, "c": {}}, "1xT4, 1xA2")
    assert problem.hint.startswith("no single change makes it fit")


def test_a_context_beyond_the_model_is_cut_to_the_models_own(planned: Planned) -> None:
    """Also where that is shorter than the steps in which lengths are sought."""
    for length, source in ((40_000, "qwen-7b"), (9_000, "xlm-r")):
        (problem,) = refused(planned, {"m": {"source": source, "max_model_len": length}}, "1xL4")
        most = {"qwen-7b": 32_768, "xlm-r": 8_194}[source]
        assert re.match(rf"would fit: max_model_len: {most}\b", problem.hint), problem.hint
