"""vLLM's counters before and after a run."""

from __future__ import annotations

from infctl.bench.server_side import between, read

BEFORE = """\
# HELP vllm:generation_tokens_total Number of generation tokens processed.
vllm:generation_tokens_total{engine="0",model_name="chat"} 100.0
vllm:generation_tokens_total{engine="1",model_name="chat"} 1.0e+02
vllm:request_queue_time_seconds_sum{engine="0",model_name="chat"} 1.0
vllm:request_queue_time_seconds_count{engine="0",model_name="chat"} 10.0
vllm:request_queue_time_seconds_bucket{engine="0",le="0.3",model_name="chat"} 10.0
"""
AFTER = (
    BEFORE.replace(" 100.0", " 150.0")
    .replace('chat"} 1.0\n', 'chat"} 2.0\n')
    .replace('count{engine="0",model_name="chat"} 10.0', 'count{engine="0",model_name="chat"} 14.0')
)


def test_what_lies_between_two_looks_is_the_runs() -> None:
    before, after = read(BEFORE, "chat"), read(AFTER, "chat")
    assert before is not None
    assert after is not None
    assert before["vllm:generation_tokens_total"] == 200
    told = between(before, after)
    assert told is not None
    assert (told["tokens_out"], told["queue_ms"], told["ttft_ms"]) == (50, 250.0, None)
    assert between(after, before) is None  # it was restarted


def test_the_only_model_is_meant_whatever_its_name_and_of_several_the_one_that_is_named() -> None:
    assert read(BEFORE, "an-alias") == read(BEFORE, "chat")
    both = BEFORE + 'vllm:generation_tokens_total{engine="0",model_name="other"} 7\n'
    assert read(both, "other") == {"vllm:generation_tokens_total": 7.0}
    assert read(both, "an-alias") is None
    assert read("infctl_requests_total 3\n", "chat") is None
