"""What is wrong with a config is said with its place, all of it at once, and never as a traceback."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infctl.errors import Location, PlanError, Problem
from infctl.models import ModelFacts
from infctl.models.config import Beside, facts, read_config
from infctl.models.families import ALIASES, FAMILIES
from infctl.models.known import known, names
from infctl.models.reader import LAYERS_MAX, PROBLEMS_MAX

QWEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18_944,
    "vocab_size": 152_064,
    "max_position_embeddings": 32_768,
    "torch_dtype": "bfloat16",
}


def _problems(config: Any) -> dict[str, Problem]:
    """By path."""
    with pytest.raises(PlanError) as caught:
        facts(config, name="a model")
    assert caught.value.exit_code == 4
    return {problem.path: problem for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("change", "path", "says"),
    [
        ({"num_attention_heads": 0}, "num_attention_heads", "0 is out of range"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers", "1,000,000,000 is out of range"),
        ({"hidden_size": -3584}, "hidden_size", "-3,584 is out of range"),
        ({"vocab_size": "152064"}, "vocab_size", '"152064" is not a whole number'),
        ({"hidden_size": True}, "hidden_size", "true is not a whole number"),
        ({"hidden_size": 3584.5}, "hidden_size", "3584.5 is not a whole number"),
        ({"hidden_size": float("nan")}, "hidden_size", "nan is not a whole number"),
        ({"hidden_size": float("inf")}, "hidden_size", "inf is not a whole number"),
        ({"hidden_size": 10**5000}, "hidden_size", "a number of that size is out of range"),
        ({"hidden_size": None}, "hidden_size", "is missing"),
        ({"num_key_value_heads": 3}, "num_key_value_heads", "28 attention heads cannot share 3"),
        ({"layer_types": ["full_attention"]}, "layer_types", "names 1 layers, num_hidden_layers 28"),
        ({"layer_types": [1] * 28}, "layer_types", "is not a list of words"),
        ({"layer_types": "full"}, "layer_types", '"full" is not a list'),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings", '"yes" is neither true nor false'),
        ({"torch_dtype": "int8"}, "torch_dtype", '"int8" is not a dtype'),
        ({"torch_dtype": 16}, "torch_dtype", "16 is not a text"),
        ({"rope_scaling": "yarn"}, "rope_scaling", '"yarn" is not a mapping'),
        (
            {"rope_scaling": {"type": "linear", "factor": "4"}},
            "rope_scaling/factor",
            '"4" is not a factor',
        ),
        ({"quantization_config": []}, "quantization_config", "a list is not a mapping"),
        ({"quantization_config": {"bits": 4}}, "quantization_config/quant_method", "is missing"),
        (
            {"quantization_config": {"quant_method": "awq", "bits": 0}},
            "quantization_config/bits",
            "0 is out of range",
        ),
        (
            {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128]}},
            "quantization_config/weight_block_size",
            "is not a tile",
        ),
        ({"text_config": 3}, "text_config", "3 is not a mapping"),
        ({"model_type": 5}, "model_type", "5 is not a text"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(change: dict[str, Any], path: str, says: str) -> None:
    problems = _problems(QWEN | change)
    assert list(problems) == [path]
    assert says in problems[path].message


def test_all_problems_are_told_at_once() -> None:
    wrong = {"num_attention_heads": 0, "vocab_size": "many", "num_hidden_layers": -1, "torch_dtype": "x"}
    assert set(_problems(QWEN | wrong)) == set(wrong)


def test_an_empty_config_says_what_is_missing_without_end() -> None:
    problems = _problems({})
    assert {"architectures", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"} <= set(
        problems
    )
    assert len(problems) <= PROBLEMS_MAX
    assert all(problem.message == "is missing" and problem.hint for problem in problems.values())


def test_experts_cannot_be_chosen_beyond_their_number() -> None:
    mixtral = QWEN | {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 9}
    assert list(_problems(mixtral)) == ["num_experts_per_tok"]


@pytest.mark.parametrize("what", [None, [], "config", 7, True])
def test_what_is_no_mapping_is_refused(what: object) -> None:
    assert list(_problems(what)) == [""]


def test_a_wrong_value_has_its_line_and_column() -> None:
    text = json.dumps(
        {"model_type": "gemma3", "text_config": QWEN | {"vocab_size": 0}, "architectures": ["X"]}, indent=2
    )
    tree, where = read_config(text, "m/config.json")
    with pytest.raises(PlanError) as caught:
        facts(tree, name="m", where=where)
    (problem,) = caught.value.problems
    line = next(n for n, one in enumerate(text.splitlines(), 1) if "vocab_size" in one)
    assert (problem.path, problem.where) == ("text_config/vocab_size", Location("m/config.json", line, 19))


def test_a_missing_key_has_the_place_of_what_lacks_it() -> None:
    tree, where = read_config('{\n  "architectures": ["X"],\n  "text_config": {}\n}', "c.json")
    with pytest.raises(PlanError) as caught:
        facts(tree, name="m", where=where)
    places = {problem.path: problem.where for problem in caught.value.problems}
    assert places["text_config/hidden_size"] == Location("c.json", 3, 18)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = sorted(
    {key for family in FAMILIES.values() for key in family.defaults}
    | set(QWEN)
    | {"layer_types", "layers_block_type", "hybrid_override_pattern", "rope_scaling", "rope_parameters"}
    | {"quantization_config", "text_config", "thinker_config", "no_rope_layers", "mlp_only_layers", "dtype"}
    | {"type_vocab_size", "num_labels", "id2label", "num_nextn_predict_layers", "time_step_rank"}
    | {"position_embedding_type", "topk_method", "partial_rotary_factor", "mamba_dt_rank"}
    | {"attn_layer_indices", "is_causal", "sliding_window_pattern", "compression_config", "multi_query"}
)
NUMBERS = st.sampled_from([0, 1, 2, 3, 4, 8, 64, 128, LAYERS_MAX, 10**12])
LIKELY = JSON | NUMBERS | st.lists(st.sampled_from(["full_attention", "mamba", "mlp", "moe"]), max_size=4)


def _never_but_a_plan_error(config: Any, beside: Beside) -> None:
    with suppress(PlanError):
        read = facts(config, name="m", beside=beside)
        assert isinstance(read, ModelFacts)
        assert len(read.layers) <= LAYERS_MAX
        assert read.context >= 1


@settings(max_examples=300, deadline=None)
@given(config=JSON)
def test_no_json_raises_anything_else(config: Any) -> None:
    _never_but_a_plan_error(config, Beside())


@settings(max_examples=400, deadline=None)
@given(
    family=st.sampled_from([*FAMILIES, *ALIASES, "foo"]),
    change=st.dictionaries(st.sampled_from(KEYS), LIKELY, max_size=6),
    layers=st.integers(1, 5),
    pooling=st.none() | st.booleans(),
)
def test_no_change_to_a_config_raises_anything_else(
    family: str, change: dict[str, Any], layers: int, *, pooling: bool | None
) -> None:
    config = QWEN | {"model_type": family, "num_hidden_layers": layers} | change
    _never_but_a_plan_error(config, Beside(pooling=pooling))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), hub_id=st.sampled_from(names()))
def test_no_change_to_a_well_known_config_raises_anything_else(data: st.DataObject, hub_id: str) -> None:
    config = dict(known(hub_id) or {})
    key = data.draw(st.sampled_from(sorted(config)))
    _never_but_a_plan_error(config | {key: data.draw(LIKELY)}, Beside())
