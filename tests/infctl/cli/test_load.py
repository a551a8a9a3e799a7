"""How busy an engine is, read from pages as vLLM writes them."""

from __future__ import annotations

import pytest

from infctl.cli.load import Load, of_rounds, read, since

PAGE = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="chat"} 8.0
vllm:num_requests_waiting{engine="0",model_name="chat"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="chat",reason="capacity"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="chat"} 0.7125
vllm:generation_tokens_total{engine="0",model_name="chat"} 1200.0
process_resident_memory_bytes 1.0e+09
"""


def test_a_page_is_read() -> None:
    assert read(PAGE, 5.0) == Load(kv_use=0.7125, running=8, waiting=2, tokens=1200.0, at=5.0)


def test_of_several_engines_behind_a_port_counts_are_summed_and_the_fullest_cache_told() -> None:
    twice = PAGE + PAGE.replace('engine="0"', 'engine="1"').replace("0.7125", "0.9")
    found = read(twice, 0.0)
    assert (found.kv_use, found.running, found.tokens) == (0.9, 16, 2400.0)


@pytest.mark.parametrize("page", ["", "vllm:kv_cache_usage_perc{", "vllm:kv_cache_usage_perc NaN", "\x00 1"])
def test_a_page_that_says_nothing_is_nothing(page: str) -> None:
    assert read(page, 0.0) == Load()


def test_tokens_a_second_need_two_looks() -> None:
    first, second = read(PAGE, 10.0), read(PAGE.replace("1200", "1412"), 12.0)
    assert since(None, first).tokens_per_s is None
    assert since(first, second).tokens_per_s == 106.0


def test_an_engine_that_began_anew_has_no_rate() -> None:
    first, second = read(PAGE, 10.0), read(PAGE.replace("1200", "3"), 12.0)
    assert since(first, second).tokens_per_s is None


def test_rounds_give_what_each_engine_said_last() -> None:
    told = {
        "at": [1.0, 1.5],
        "rounds": [
            {"chat": {"status": 200, "body": PAGE}, "embed": {"error": "connect", "why": "refused"}},
            {
                "chat": {"status": 200, "body": PAGE.replace("1200", "1250")},
                "embed": {"status": 503, "body": ""},
            },
        ],
    }
    found = of_rounds(told, {})
    assert set(found) == {"chat"}
    assert found["chat"].tokens_per_s == 100.0
    later = of_rounds({"at": [2.5], "rounds": [{"chat": {"status": 200, "body": PAGE}}]}, {})
    assert later["chat"].tokens_per_s is None
