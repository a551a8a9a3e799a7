"""What holds for every model, card and set of arguments."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from infctl.models import ModelFacts
from infctl.models.config import facts
from infctl.sizing import Card, EngineArgs
from infctl.sizing.defaults import resolve
from infctl.sizing.need import _cut, need
from infctl.sizing.weights import weights
from tests.examples import examples
from tests.infctl.sizing.starts import STARTS

GIB = 2**30
CONTEXT = 65536


@st.composite
def small_models(draw: st.DrawFn) -> ModelFacts:
    kv_heads = draw(st.sampled_from([1, 2, 4, 8]))
    layers = draw(st.integers(1, 12))
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": 128 * draw(st.integers(1, 32)),
        "num_hidden_layers": layers,
        "num_attention_heads": kv_heads * draw(st.integers(1, 4)),
        "num_key_value_heads": kv_heads,
        "head_dim": draw(st.sampled_from([64, 128])),
        "intermediate_size": 256 * draw(st.integers(1, 64)),
        "vocab_size": draw(st.integers(1000, 200_000)),
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
    }
    if draw(st.booleans()):
        kinds = st.sampled_from(["sliding_attention", "full_attention"])
        config |= {
            "layer_types": draw(st.lists(kinds, min_size=layers, max_size=layers)),
            "sliding_window": draw(st.sampled_from([128, 4096])),
            "use_sliding_window": True,
        }
    return facts(config, name="drawn")


models = st.one_of(small_models(), st.sampled_from([start.facts for start in STARTS]))
arguments = st.builds(
    EngineArgs,
    max_model_len=st.integers(16, CONTEXT),
    max_num_seqs=st.integers(1, 1024),
    max_num_batched_tokens=st.integers(1024, 16384),
    gpu_memory_utilization=st.floats(0.1, 0.95),
    enforce_eager=st.booleans(),
    kv_cache_dtype=st.sampled_from([None, "fp8"]),
    tensor_parallel=st.sampled_from([1, 2]),
    pipeline_parallel=st.sampled_from([1, 2]),
    hybrid_kv_cache=st.booleans(),
    vllm=st.sampled_from(["0.25", "0.32"]),
)
sizes = st.integers(8 * GIB, 150 * GIB)


def card(size: int) -> Card:
    return Card("NVIDIA H100", size)


@settings(max_examples=examples(60), deadline=None)
@given(models, arguments, sizes, st.integers(0, 60 * GIB))
def test_more_memory_never_gives_fewer_tokens(model, args, size, more):
    less, plenty = need(model, args, card(size)), need(model, args, card(size + more))
    assert plenty.kv_tokens.expected >= less.kv_tokens.expected
    assert plenty.max_model_len_that_fits >= less.max_model_len_that_fits


@settings(max_examples=examples(60), deadline=None)
@given(models, arguments, sizes, st.floats(0, 0.04))
def test_a_higher_share_never_gives_fewer_tokens(model, args, size, more):
    higher = replace(args, gpu_memory_utilization=args.gpu_memory_utilization + more)
    assert (
        need(model, higher, card(size)).kv_tokens.expected >= need(model, args, card(size)).kv_tokens.expected
    )


@settings(max_examples=examples(60), deadline=None)
@given(models, arguments, sizes, st.integers(1, CONTEXT))
def test_a_longer_context_never_gives_more_concurrency(model, args, size, more):
    longer = replace(args, max_model_len=args.max_model_len + more)
    short, long = need(model, args, card(size)).kv, need(model, longer, card(size)).kv
    if short is not None and long is not None:
        assert long.concurrency <= short.concurrency


@settings(max_examples=examples(60), deadline=None)
@given(models, arguments, sizes)
def test_need_is_a_pure_function_whose_parts_add_up(model, args, size):
    found = need(model, args, card(size))
    assert found == need(model, args, card(size))
    counted = found.weights.expected + found.activation.expected + found.non_torch.expected
    if found.kv is not None:
        assert 0 <= found.budget_bytes - counted - found.kv_bytes.expected <= found.cudagraphs.expected
    assert found.kv_tokens.low <= found.kv_tokens.expected <= found.kv_tokens.high
    assert found.reason.endswith(".")
    assert found.fits == (found.fate == "fits")


@settings(max_examples=examples(60), deadline=None)
@given(models, arguments, sizes)
def test_what_fits_has_room_for_one_request(model, args, size):
    found = need(model, args, card(size))
    if found.fits and found.kv is not None:
        assert found.kv.concurrency >= 1
        assert found.max_model_len_that_fits >= args.max_model_len
    if found.fate == "kv" and found.kv is not None:
        assert found.max_model_len_that_fits < args.max_model_len


@settings(max_examples=examples(60), deadline=None)
@given(models, arguments, sizes)
def test_weights_depend_on_nothing_that_is_left_out_of_their_key(model, args, size):
    resolved = resolve(model, args, card(size))
    assert weights(model, _cut(resolved), card(size)) == weights(model, resolved, card(size))
