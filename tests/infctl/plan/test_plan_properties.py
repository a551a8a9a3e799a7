"""What holds of every plan."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from infctl.errors import PlanError
from infctl.gpus import CATALOGUE, Gpu
from infctl.plan import Plan, plan
from tests.examples import examples

GIB = 2**30
NAMES = ("a", "b", "c", "d")
CARDS = ("L4", "A10", "L40S", "RTX 4090", "H100", "A100 40GB")
QUICK = settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def written(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


DECODERS = st.builds(
    lambda source, more: {"source": source} | more,
    st.sampled_from(["qwen-7b", "qwen-0.5b", "llama-8b", "qwen-embedding"]),
    written(
        max_model_len=st.sampled_from([1024, 4096, 8192, 16384, 32768]),
        max_num_seqs=st.sampled_from([16, 64, 256]),
        kv_cache_dtype=st.just("fp8"),
        enforce_eager=st.booleans(),
        replicas=st.integers(1, 3),
    ),
)
MEMORY = st.one_of(
    st.just({}),
    st.builds(
        lambda share: {"gpu_memory_utilization": share}, st.floats(0.1, 0.99).map(lambda x: round(x, 2))
    ),
    st.builds(lambda size: {"kv_cache_memory": f"{size}MiB"}, st.integers(64, 8192)),
)
ENCODERS = st.builds(
    lambda source, more: {"source": source} | more,
    st.sampled_from(["xlm-r", "bge-reranker"]),
    written(gpu_memory_utilization=st.sampled_from([0.2, 0.5, 0.8])),
)
MODELS = st.one_of(st.builds(lambda model, memory: model | memory, DECODERS, MEMORY), ENCODERS)
PLACES = st.sampled_from([{}, {}, {"gpu": {"share": "s"}}, {"gpu": 0}])
PROFILES = st.lists(st.builds(lambda m, p: m | p, MODELS, PLACES), min_size=1, max_size=4).map(
    lambda models: dict(zip(NAMES, models, strict=False))
)
GPUS = st.lists(st.sampled_from(CARDS), min_size=1, max_size=4)


def cards_of(names: list[str]) -> tuple[Gpu, ...]:
    return tuple(Gpu(n, name, memory_bytes=CATALOGUE[name]) for n, name in enumerate(names))


@pytest.fixture(scope="module")
def attempt(builders: Any) -> Any:
    """The plan, or None where it refuses."""
    profile, _, facts_for = builders

    def make(models: dict[str, Any], gpus: tuple[Gpu, ...]) -> Plan | None:
        found = profile(models)
        try:
            return plan(found, gpus, facts_for(found))
        except PlanError as error:
            silent = not error.problems or any(not (p.path and p.message) for p in error.problems)
            if silent:
                raise
            return None

    return make


@QUICK
@given(models=PROFILES, names=GPUS)
def test_no_card_is_given_more_than_it_has(attempt: Any, models: dict[str, Any], names: list[str]) -> None:
    made = attempt(models, cards_of(names))
    assume(made is not None)
    for use in made.uses:
        assert use.used.high <= use.gpu.memory_bytes
        assert use.used.expected + use.headroom_bytes + use.free_bytes <= use.gpu.memory_bytes
        on_it = [r for r in made.replicas if use.gpu in r.gpus]
        assert sorted(use.services) == sorted(r.service for r in on_it)
        for replica in on_it:
            assert replica.need is not None
            assert replica.need.fits
        gates = {
            r.service: s.value for r in on_it for s in r.settings if s.flag == "--gpu-memory-utilization"
        }
        assert sum(map(float, gates.values())) <= 1.0


@settings(QUICK, max_examples=examples(10))
@given(models=PROFILES, names=GPUS)
def test_a_plan_follows_from_its_inputs_alone(attempt: Any, models: dict[str, Any], names: list[str]) -> None:
    assert attempt(models, cards_of(names)) == attempt(models, cards_of(names))


@QUICK
@given(model=DECODERS, smaller=st.integers(8 * 2**10, 60 * 2**10), more=st.integers(0, 8 * 2**10))
def test_more_memory_never_gives_fewer_tokens(
    attempt: Any, model: dict[str, Any], smaller: int, more: int
) -> None:
    """Below the size at which vLLM's own defaults change."""

    def tokens(mib: int) -> int:
        cards = tuple(Gpu(n, "some", memory_bytes=mib * 2**20) for n in range(3))
        made = attempt({"a": {"max_model_len": 4096} | model}, cards)
        return 0 if made is None else min(r.need.kv_tokens.expected for r in made.replicas)

    assert tokens(smaller) <= tokens(smaller + more)


@QUICK
@given(models=PROFILES, names=GPUS)
def test_every_proposal_for_idle_memory_is_one_that_fits(
    attempt: Any, models: dict[str, Any], names: list[str]
) -> None:
    made = attempt(models, cards_of(names))
    assume(made is not None)
    for idle in made.idle_memory:
        if idle.model is None:
            assert idle.change == ""
            continue
        changed = {name: dict(model) for name, model in models.items()}
        for part in idle.change.split(", "):
            path, _, value = part.removeprefix("without ").partition(": ")
            _, name, field = path.split("/")
            if part.startswith("without "):
                changed[name].pop(field)
            else:
                changed[name][field] = yaml.safe_load(value)
        assert attempt(changed, cards_of(names)) is not None
