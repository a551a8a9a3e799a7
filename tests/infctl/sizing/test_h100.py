"""Planned against reported, from each model's config and arguments alone.

Constants were fitted on the starts in FITTED and only tested on the others:
non-torch memory      smoke-qwen0.5b-eager
context               arctic-embed-L4half
compiled states       qwen7b-H100-32k (what compiled code holds of the attention's tensors)
graphs, a layer       qwen0.5b-srv2048, qwen7b-L4like-8k-srv
Everything else follows from vLLM's code; the starts only showed which moment is the worst.
"""

from __future__ import annotations

import pytest

from infctl.sizing.need import need
from infctl.sizing.overheads import runtime_headroom
from tests.infctl.sizing.starts import GIB, STARTS, Start

FITTED = {
    "smoke-qwen0.5b-eager",
    "arctic-embed-L4half",
    "qwen7b-H100-32k",
    "qwen0.5b-srv2048",
    "qwen7b-L4like-8k-srv",
}

every_start = pytest.mark.parametrize("start", STARTS, ids=[start.name for start in STARTS])


def test_more_than_half_of_the_starts_were_not_fitted_on():
    names = {start.name for start in STARTS}
    assert names > FITTED
    assert len(names - FITTED) > len(FITTED)


@every_start
def test_tokens_are_within_three_per_cent_or_a_fifth_of_a_gib(start: Start):
    seen = start.observed
    found = need(start.facts, start.args, start.card)
    if seen["kv_tokens"] is None:
        assert found.kv is None or not found.kv.fits
        return
    planned, reported = found.kv_tokens.expected, seen["kv_tokens"]
    fifth = reported * 0.2 / seen["kv_available_gib"]
    print(f"{start.name}: planned {planned:,}, reported {reported:,}, {planned / reported - 1:+.2%}")  # noqa: T201
    assert found.fits, found.reason
    assert abs(planned - reported) <= max(0.03 * reported, fifth)
    assert found.kv_tokens.low <= reported <= found.kv_tokens.high


@every_start
def test_every_part_is_where_vllm_reported_it(start: Start):
    seen = start.observed
    found = need(start.facts, start.args, start.card)
    assert found.weights.expected / GIB == pytest.approx(seen["weights_gib"], rel=0.01, abs=0.03)
    if seen["torch_peak_increase_gib"] is not None:
        assert found.activation.expected / GIB == pytest.approx(seen["torch_peak_increase_gib"], abs=0.02)
        assert found.non_torch.expected / GIB == pytest.approx(seen["non_torch_gib"], abs=0.01)
        assert found.kv_bytes.expected / GIB == pytest.approx(seen["kv_available_gib"], rel=0.01, abs=0.06)
        assert found.cudagraphs.low <= seen["cudagraph_gib"] * GIB <= found.cudagraphs.high


def test_a_context_that_is_too_long_is_a_failure_with_the_length_that_fits():
    start = next(start for start in STARTS if start.name == "llama8b-len-too-long")
    found = need(start.facts, start.args, start.card)
    assert found.fate == "kv"
    assert found.max_model_len_that_fits == pytest.approx(50000, rel=0.05)
    assert "16.00 GiB of KV cache" in found.reason
    assert f"--max-model-len {found.max_model_len_that_fits}" in found.reason


@every_start
def test_footprint_and_headroom_cover_what_the_card_had_lost_once_it_served(start: Start):
    free = start.observed["free_after_start_bytes"]
    if free is None:
        return
    found = need(start.facts, start.args, start.card)
    lost = start.card.total_bytes - 592_445_440 - free  # the measuring program's own context
    most = found.footprint.expected + runtime_headroom(start.facts, found.resolved, start.card)
    assert lost <= most + 0.2 * GIB
    if found.kv is None:
        assert lost == pytest.approx(found.footprint.expected, abs=0.3 * GIB)
