"""The configs that come with the package: they read, and their sizes are the published ones."""

import pytest

from infctl.models.config import facts
from infctl.models.inventory import parameters
from infctl.models.known import _entries, known, known_beside, names
from tests.infctl import cpu_time


@pytest.mark.parametrize("hub_id", names())
def test_each_is_read_by_rules(hub_id: str) -> None:
    read = facts(known(hub_id) or {}, name=hub_id, beside=known_beside(hub_id))
    assert read.known
    assert read.weights


@pytest.mark.parametrize(
    ("hub_id", "millions"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", 7616),
        ("Qwen/Qwen2.5-72B-Instruct", 72_706),
        ("Qwen/Qwen3-30B-A3B", 30_532),
        ("Qwen/Qwen3-Embedding-0.6B", 596),
        ("meta-llama/Llama-3.1-8B-Instruct", 8030),
        ("meta-llama/Llama-3.2-1B-Instruct", 1236),
        ("mistralai/Mistral-7B-Instruct-v0.3", 7248),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 46_703),
        ("google/gemma-2-9b-it", 9242),
        ("google/gemma-3-1b-it", 1000),
        ("deepseek-ai/DeepSeek-V2-Lite-Chat", 15_706),
        ("deepseek-ai/DeepSeek-V3", 684_490),
        ("openai/gpt-oss-20b", 20_915),
        ("microsoft/phi-4", 14_660),
        ("microsoft/Phi-3-mini-4k-instruct", 3821),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", 568),
        ("sentence-transformers/all-MiniLM-L6-v2", 23),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 135),
    ],
)
def test_their_parameters_are_those_of_the_model_card(hub_id: str, millions: int) -> None:
    read = facts(known(hub_id) or {}, name=hub_id, beside=known_beside(hub_id))
    assert round(parameters(read) / 1e6) == millions


def test_letters_case_does_not_matter_and_what_is_unknown_is_not_guessed() -> None:
    assert known("qwen/qwen2.5-7b-instruct") == known("Qwen/Qwen2.5-7B-Instruct") is not None
    assert known("Qwen/Qwen2.5-8B-Instruct") is None


def test_a_caller_cannot_change_them() -> None:
    (known("Qwen/Qwen3-8B") or {})["hidden_size"] = 0  # type: ignore[index]
    assert (known("Qwen/Qwen3-8B") or {})["hidden_size"] == 4096


def test_the_reference_platforms_encoders_take_8192_tokens_and_keep_no_cache() -> None:
    for hub_id in ("Snowflake/snowflake-arctic-embed-l-v2.0", "BAAI/bge-reranker-v2-m3"):
        read = facts(known(hub_id) or {}, name=hub_id, beside=known_beside(hub_id))
        assert (read.context, read.encoder_only, read.dtype) == (8192, True, "float16")


def test_decoders_that_embed_or_rank_keep_a_cache() -> None:
    for hub_id in ("Qwen/Qwen3-Embedding-0.6B", "Qwen/Qwen3-Reranker-0.6B"):
        assert not facts(known(hub_id) or {}, name=hub_id, beside=known_beside(hub_id)).encoder_only


@pytest.mark.serial
def test_they_load_in_under_5_ms() -> None:
    def load() -> None:
        _entries.cache_clear()
        names()

    assert cpu_time.own(load, 0.005) < 0.005
