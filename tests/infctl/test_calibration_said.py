"""What vLLM says of its memory, read from what it really wrote (CPU) or writes (GPU, its own formats)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infctl.calibration.said import from_log, from_metrics, joined
from infctl.sizing import Measured
from tests.examples import examples

GOLDEN = Path(__file__).parents[1] / "golden" / "vllm"
GIB = 2**30


def log(name: str) -> list[str]:
    return (GOLDEN / f"{name}.log").read_text(encoding="utf-8").split("\n")


def metrics(name: str) -> str:
    return (GOLDEN / f"{name}.metrics").read_text(encoding="utf-8")


def gib(size: float) -> int:
    return int(size * GIB)


def test_a_cpu_engine_tells_its_kv_cache_exactly() -> None:
    said = joined(from_metrics(metrics("cpu-chat")), from_log(log("cpu-chat")))
    assert said == Measured(
        kv_available_bytes=GIB, num_gpu_blocks=182, block_size=128, kv_tokens=23_296, concurrency=11.375
    )


def test_an_engine_without_a_kv_cache_has_none_although_vllm_writes_one_block() -> None:
    said = joined(from_metrics(metrics("cpu-embed")), from_log(log("cpu-embed")))
    assert said == Measured(num_gpu_blocks=1, kv_tokens=0)


def test_with_a_share_of_the_card_the_parts_add_up_to_the_budget() -> None:
    said = from_log(log("gpu-share-0.32"))
    assert said == Measured(
        weights_bytes=gib(14.25),
        non_torch_bytes=gib(14.46) - gib(14.25),
        activation_bytes=gib(1.52) - gib(0.42),
        cudagraph_bytes=gib(0.42),
        kv_available_bytes=gib(3.86),
        kv_tokens=72_272,
    )
    parts = (said.weights_bytes, said.non_torch_bytes, said.activation_bytes, said.cudagraph_bytes)
    assert sum(part or 0 for part in (*parts, said.kv_available_bytes)) == pytest.approx(
        19.85 * GIB, abs=0.02 * GIB
    )


def test_with_kv_bytes_given_the_heavier_rank_and_what_the_graphs_took_are_known() -> None:
    assert from_log(log("gpu-bytes-0.32")) == Measured(
        weights_bytes=gib(7.17),
        cudagraph_bytes=gib(0.63),
        kv_available_bytes=gib(4.4),
        kv_tokens=164_752,
    )


def test_the_older_sentence_names_each_part() -> None:
    assert from_log(log("gpu-0.25")) == Measured(
        weights_bytes=gib(14.29),
        activation_bytes=gib(2.2),
        non_torch_bytes=gib(0.22),
        cudagraph_bytes=0,
        kv_available_bytes=gib(4.86),
        kv_tokens=90_944,
    )


def test_the_last_start_in_a_log_counts_alone() -> None:
    assert from_log([*log("gpu-0.25"), *log("gpu-bytes-0.32")]) == from_log(log("gpu-bytes-0.32"))
    begun = [*log("gpu-0.25"), log("gpu-bytes-0.32")[0]]
    assert from_log(begun) == Measured()


def test_what_is_written_once_the_server_listens_is_not_vllms_word() -> None:
    line = "(APIServer pid=1) INFO 11-23 09:16:07 [logger.py:42] Available KV cache memory: 0.01 GiB"
    assert from_log([*log("gpu-0.25"), line]) == from_log(log("gpu-0.25"))
    assert from_log([line]) == Measured(), "of a log whose beginning was rotated away"


@pytest.mark.parametrize(
    "line",
    [
        "Available KV cache memory: 0.01 GiB",
        "prompt: INFO 11-23 09:16:07 [gpu_worker.py:1] Available KV cache memory: 0.01 GiB",
        "(EngineCore pid=88) INFO 11-23 09:14:51 [gpu_worker.py:736] Available KV cache memory: 1e99 GiB",
        "(EngineCore pid=88) INFO 11-23 09:14:51 [gpu_worker.py:736] Available KV cache memory: "
        + "9" * 5000
        + " GiB",
        "(EngineCore pid=88) INFO 11-23 09:14:51 [a.py:1] Available KV cache memory: 1 GiB of 2 GiB",
    ],
)
def test_a_line_of_another_shape_says_nothing(line: str) -> None:
    begins = log("gpu-0.25")[0]
    good = "(EngineCore pid=88) INFO 11-23 09:14:51 [gpu_worker.py:736] Available KV cache memory: 0.01 GiB"
    assert from_log([begins, good]) == Measured(kv_available_bytes=gib(0.01))
    assert from_log([begins, line]) == Measured()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vllm:num_requests_running 0.0",
        "vllm:cache_config_info{} 1.0",
        'vllm:cache_config_info{num_gpu_blocks="None"} 1.0',
        'vllm:cache_config_info{num_gpu_blocks="-3",block_size="16"} 1.0',
        'vllm:cache_config_info{num_gpu_blocks="' + "9" * 400 + '"} 1.0',
        '# vllm:cache_config_info{num_gpu_blocks="3"} 1.0',
    ],
)
def test_metrics_that_say_nothing_usable_are_none(text: str) -> None:
    assert from_metrics(text) is None


def test_of_several_engines_behind_one_port_the_smallest_counts() -> None:
    one = 'vllm:cache_config_info{engine="0",num_gpu_blocks="9",kv_cache_size_tokens="90"} 1'
    two = 'vllm:cache_config_info{engine="1",num_gpu_blocks="7",kv_cache_size_tokens="70"} 1'
    found = from_metrics(f"{one}\n{two}\n")
    assert found is not None
    assert found.num_gpu_blocks == 7


def test_without_metrics_the_log_speaks_alone_and_fills_what_they_lack() -> None:
    heard = from_log(log("gpu-0.25"))
    assert joined(None, heard) == heard
    old = from_metrics('vllm:cache_config_info{num_gpu_blocks="5684",block_size="16"} 1.0')
    both = joined(old, heard)
    assert (both.num_gpu_blocks, both.kv_tokens, both.kv_available_bytes) == (5684, 90_944, gib(4.86))


@settings(max_examples=examples(60), deadline=None)
@given(st.text(max_size=200), st.lists(st.sampled_from(log("gpu-share-0.32") + log("gpu-0.25")), max_size=9))
def test_nothing_in_a_page_or_a_log_is_an_error(text: str, lines: list[str]) -> None:
    from_metrics(f"vllm:cache_config_info{{{text}")
    cut = [line[: len(text) * 3] for line in lines]
    from_log([text, *lines, *cut])
