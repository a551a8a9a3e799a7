"""What holds for every model and any number of bytes, and the cases that vLLM would refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infctl.models import Attention, FeedForward, Layer, ModelFacts, StateCache
from infctl.sizing import Resolved, Vllm
from infctl.sizing.kv import bytes_for, capacity, longest, refusal
from infctl.sizing.kv_specs import Ranks, block_size, specs
from tests.examples import examples
from tests.infctl import cpu_time
from tests.infctl.settled import settled

MIB = 2**20
FULL = Attention("full", 32, 8, 128, 128)
SLIDING = replace(FULL, kind="sliding", window=1024)
CHUNKED = replace(FULL, kind="chunked", window=8192)
MLA = Attention("mla", 16, 1, 192, 128, latent=576)
GDN = Attention("state", state=StateCache("gdn", conv_kernel=4, heads=32, head_dim=128, groups=16, state=128))
SHARED = replace(FULL, kind="shared")
ENCODER = replace(FULL, kind="encoder")
PATTERNS = (
    (FULL,), (MLA,), (SLIDING,), (SLIDING, FULL), (SLIDING, SLIDING, SLIDING, SLIDING, SLIDING, FULL),
    (CHUNKED, CHUNKED, CHUNKED, FULL), (GDN, GDN, GDN, FULL), (GDN, MLA), (GDN,), (GDN, SLIDING, FULL),
    (SLIDING, CHUNKED, FULL), (FULL, SHARED, SHARED), (replace(SLIDING, head_dim=256), FULL),
)  # fmt: skip
LENGTHS = st.integers(1, 1_000_000)
BYTES = st.integers(0, 200 * 1024 * MIB)


def model(*attentions: Attention) -> ModelFacts:
    layers = tuple(Layer(attention, FeedForward()) for attention in attentions)
    return ModelFacts("m", "MForCausalLM", "m", hidden=64, layers=layers, vocab=1000, context=131072)


@st.composite
def asked(draw: st.DrawFn) -> tuple[Ranks, Resolved]:
    """Some model with some settings that vLLM would start with, were there bytes enough."""
    pattern = draw(st.sampled_from(PATTERNS))
    layers = draw(st.integers(max(4, len(pattern)), 96))
    resolved = settled(
        draw(LENGTHS),
        max_num_batched_tokens=draw(st.sampled_from((512, 2048, 16384))),
        async_scheduling=draw(st.booleans()),
        prefix_caching=draw(st.booleans()),
        tensor_parallel=draw(st.sampled_from((1, 2, 8))),
        block_size=draw(st.sampled_from((16, 32, 128))),
        kv_dtype=draw(st.sampled_from(("bfloat16", "fp8"))),
        vllm=draw(st.sampled_from(("0.25", "0.32"))),
    )
    return specs(model(*(pattern[n % len(pattern)] for n in range(layers))), resolved), resolved


@settings(max_examples=examples(150), deadline=None)
@given(asked(), BYTES, BYTES)
def test_more_bytes_never_hold_fewer_tokens(case: tuple[Ranks, Resolved], one: int, other: int) -> None:
    ranks, resolved = case
    less, more = (capacity(ranks, size, resolved) for size in sorted((one, other)))
    assert less is not None
    assert more is not None
    assert less.tokens <= more.tokens
    assert less.num_blocks <= more.num_blocks
    assert less.longest <= more.longest
    assert less.fits <= more.fits


@settings(max_examples=examples(150), deadline=None)
@given(asked(), BYTES, LENGTHS)
def test_a_longer_context_never_runs_more_requests_at_once(
    case: tuple[Ranks, Resolved], available: int, other: int
) -> None:
    ranks, resolved = case
    lengths = sorted((resolved.max_model_len, other))
    short, long = (capacity(ranks, available, replace(resolved, max_model_len=n)) for n in lengths)
    assert short is not None
    assert long is not None
    assert short.concurrency >= long.concurrency
    assert short.fits >= long.fits


@settings(max_examples=examples(150), deadline=None)
@given(asked(), BYTES)
def test_the_longest_that_fits_fits_and_one_more_token_does_not(
    case: tuple[Ranks, Resolved], available: int
) -> None:
    ranks, resolved = case
    most = 2_000_000
    reach = longest(ranks, available, resolved, most)

    def fits(length: int) -> bool:
        found = capacity(ranks, available, replace(resolved, max_model_len=length))
        assert found is not None
        return found.fits

    assert reach == 0 or fits(reach)
    assert reach == most or not fits(reach + 1)


@settings(max_examples=examples(300), deadline=None)
@given(asked(), st.floats(0.1, 64) | st.sampled_from((1.0, 1.1, 2.5, 64.0)))
def test_the_least_bytes_for_some_requests_hold_them_and_one_byte_less_does_not(
    case: tuple[Ranks, Resolved], requests: float
) -> None:
    ranks, resolved = case
    least = bytes_for(ranks, requests, resolved)
    enough, short = (capacity(ranks, size, resolved) for size in (least, least - 1))
    assert enough is not None
    assert short is not None
    assert enough.fits
    assert enough.concurrency >= requests
    assert not short.fits or short.concurrency < requests


def test_no_layer_that_keeps_a_cache_is_no_capacity() -> None:
    ranks = specs(model(ENCODER, ENCODER), settled())
    assert capacity(ranks, 2**30, settled()) is None
    assert longest(ranks, 0, settled(), 512) == 512
    assert bytes_for(ranks, 1, settled()) == 0


@pytest.mark.parametrize(("vllm", "fits"), [("0.25", True), ("0.32", False)])
def test_the_newer_vllm_holds_one_block_back(vllm: Vllm, fits: bool) -> None:
    resolved = settled(8192, vllm=vllm)
    ranks = specs(model(FULL), resolved)
    page = 16 * 8 * 256 * 2
    found = capacity(ranks, 512 * page, resolved)
    assert found is not None
    assert found.blocks_per_request == found.num_blocks == 512
    assert found.fits is fits
    assert found.longest == (8192 if fits else 8176)


def test_what_is_in_flight_widens_a_window_only_where_it_is_counted() -> None:
    old, new = (settled(131072, vllm=vllm) for vllm in ("0.25", "0.32"))
    blocks = []
    for resolved in (old, new):
        found = capacity(specs(model(SLIDING), resolved), 2**34, resolved)
        assert found is not None
        blocks.append(found.blocks_per_request)
    assert blocks == [-(-(1023 + 2048) // 16) + 1, -(-(1023 + 2 * 2048) // 16) + 1]


def test_no_bytes_hold_nothing() -> None:
    for available in (0, -5):
        found = capacity(specs(model(FULL), settled()), available, settled())
        assert found is not None
        assert (found.num_blocks, found.tokens, found.longest, found.fits) == (0, 0, 0, False)


@pytest.mark.parametrize(
    "pattern",
    [(GDN, FULL), (SLIDING, replace(SLIDING, window=64), FULL)],
    ids=["states beside attention", "two windows"],
)
def test_what_vllm_refuses_without_its_hybrid_manager_is_said(pattern: tuple[Attention, ...]) -> None:
    resolved = settled(hybrid_kv_cache=False)
    ranks = specs(model(*pattern * 4), resolved)
    assert "hybrid" in (refusal(ranks, resolved) or "")
    found = capacity(ranks, 2**34, resolved)
    assert found is not None
    assert not found.fits
    assert longest(ranks, 2**34, resolved, 100) == 0
    assert refusal(ranks, settled()) is None


def test_the_rank_with_the_fewest_blocks_decides() -> None:
    resolved = settled(pipeline_parallel=2)
    ranks = specs(model(*[FULL] * 4), resolved)
    page = ranks[0][0].page_bytes
    found = capacity(ranks, (100 * 2 * page, 70 * 2 * page), resolved)
    assert found is not None
    assert (found.num_blocks, found.bytes_per_block) == (70, 2 * page)


def test_a_layer_may_keep_a_cache_and_a_state() -> None:
    both = replace(FULL, state=GDN.state)
    ((one, other),) = specs(model(both), settled())
    assert {one.kind, other.kind} == {"full", "state"}
    assert one.page_bytes == other.page_bytes


def test_latents_are_whole_on_every_tensor_parallel_rank_and_heads_never_less_than_one() -> None:
    for gpus, heads in ((1, 8), (2, 4), (16, 1)):
        resolved = settled(tensor_parallel=gpus)
        ((full, mla),) = specs(model(FULL, MLA), resolved)
        assert full.content_bytes == 16 * heads * 256 * 2
        assert mla.content_bytes == 16 * 576 * 2


@pytest.mark.parametrize(
    ("attention", "asked_for", "cpu", "tokens"),
    [
        (FULL, None, False, 16), (MLA, None, False, 16), (FULL, 32, False, 32), (FULL, None, True, 128),
        (MLA, 64, True, 16),
    ],
)  # fmt: skip
def test_block_sizes_are_vllms(attention: Attention, asked_for: int | None, cpu: bool, tokens: int) -> None:
    assert block_size(model(attention), asked_for, "0.32", cpu=cpu) == tokens


@pytest.mark.parametrize(
    ("capability", "fp8", "tokens"),
    [(None, False, 16), (8, True, 16), (9, False, 16), (9, True, 64), (10, False, 32), (12, True, 16)],
)
def test_latents_are_kept_in_blocks_that_the_cards_backend_takes(
    capability: int | None, fp8: bool, tokens: int
) -> None:
    for attention, expected in ((MLA, tokens), (FULL, 16)):
        found = block_size(model(attention), None, "0.32", cpu=False, capability=capability, fp8=fp8)
        assert found == expected
    assert block_size(model(MLA), 128, "0.32", cpu=False, capability=capability, fp8=fp8) == 128


@pytest.mark.serial
def test_a_large_model_with_a_million_tokens_takes_two_milliseconds() -> None:
    resolved = settled(1_000_000)
    ranks = specs(model(*[SLIDING, FULL] * 47), resolved)
    assert cpu_time.own(lambda: capacity(ranks, 2**36, resolved), 0.002) < 0.002


@pytest.mark.parametrize(
    ("full", "sliding", "layers"), [(13, 12, 13), (10, 20, 10), (10, 15, 10), (10, 14, 14)]
)
def test_groups_have_the_rarest_kinds_layers_unless_padding_costs_little(
    full: int, sliding: int, layers: int
) -> None:
    resolved = settled()
    ranks = specs(model(*[FULL] * full, *[SLIDING] * sliding), resolved)
    found = capacity(ranks, 2**34, resolved)
    assert found is not None
    assert found.bytes_per_block == layers * ranks[0][0].page_bytes


def test_pipeline_ranks_hold_about_as_many_layers_of_each_group() -> None:
    """A group that lay on one rank alone would need twice the bytes there."""
    resolved = settled(pipeline_parallel=2)
    ranks = specs(model(*[SLIDING, SLIDING, FULL] * 8), resolved)
    found = capacity(ranks, 2**34, resolved)
    assert found is not None
    assert found.bytes_per_block == 4 * ranks[0][0].page_bytes
