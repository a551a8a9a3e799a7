"""The upper bound, as a table, and against everything a model could do."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy.reservation import MESSAGE_TOKENS, PROMPT_TOKENS, TEMPLATE_TOKENS, size, tokens_max
from tests.examples import examples

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
USER = {"role": "user", "content": "abcde"}
ONE = TEMPLATE_TOKENS + MESSAGE_TOKENS + 4 + 5
C = 8192
PICTURE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}


@pytest.mark.parametrize(
    ("path", "call", "expected"),
    [
        (CHAT, {"messages": [USER], "max_tokens": 10}, ONE + 10),
        (CHAT, {"messages": [USER], "max_completion_tokens": 7, "max_tokens": 10}, ONE + 7),
        (CHAT, {"messages": [USER], "max_tokens": 10, "n": 3}, ONE + 30),
        (CHAT, {"messages": [USER]}, C),
        (CHAT, {"messages": [USER], "n": 2}, 2 * C),
        (CHAT, {"messages": [{"role": "user", "content": "a" * 9000}], "max_tokens": 10}, C),
        (CHAT, {"messages": [PICTURE], "max_tokens": 10}, C),
        (CHAT, {"messages": [USER], "max_tokens": 10, "chat_template": "{{x}}"}, C),
        ("/v1/text2sql", {"messages": [USER], "max_tokens": 10}, ONE + 10),
        (COMPLETIONS, {"prompt": "abc", "max_tokens": 5}, 3 + PROMPT_TOKENS + 5),
        (COMPLETIONS, {"prompt": ["abc", "de"], "max_tokens": 5}, 5 + 2 * PROMPT_TOKENS + 10),
        (COMPLETIONS, {"prompt": [1, 2, 3], "max_tokens": 5}, 3 + PROMPT_TOKENS + 5),
        (COMPLETIONS, {"prompt": [[1, 2], [3]], "max_tokens": 5}, 3 + 2 * PROMPT_TOKENS + 10),
        (COMPLETIONS, {"prompt": "abc", "max_tokens": 5, "best_of": 4, "n": 2}, 3 + PROMPT_TOKENS + 20),
        (COMPLETIONS, {"prompt": "abc"}, C),
        (COMPLETIONS, {"prompt": ["abc", "de"]}, 2 * C),
        (COMPLETIONS, {"prompt_embeds": "AAAA", "max_tokens": 5}, C),
        ("/v1/responses", {"input": "abcde", "max_output_tokens": 10}, ONE + 10),
        ("/v1/responses", {"input": "x", "previous_response_id": "r", "max_output_tokens": 1}, C),
        ("/v1/embeddings", {"input": "abcd"}, 4 + PROMPT_TOKENS),
        ("/v1/embeddings", {"input": ["abcd", "ef", "x" * 10_000]}, 6 + 2 * PROMPT_TOKENS + C),
        ("/v1/embeddings", {"input": [[1, 2], [3]]}, 3 + 2 * PROMPT_TOKENS),
        ("/v1/rerank", {"query": "abc", "documents": ["de", "f"]}, 2 * 3 + 3 + 4 * PROMPT_TOKENS),
        ("/v1/rerank", {"query": "abc", "documents": [{"text": "de"}]}, 5 + 2 * PROMPT_TOKENS),
        ("/v1/rerank", {"query": "a", "documents": [{"type": "image_url", "image_url": "x"}]}, C),
        ("/v1/score", {"text_1": "a", "text_2": ["b", "cd"]}, 5 + 4 * PROMPT_TOKENS),
        ("/v1/score", {"text_1": ["a", "b"], "text_2": ["c", "d"]}, 4 + 4 * PROMPT_TOKENS),
        ("/tokenize", {"prompt": "abc"}, 0),
    ],
)  # fmt: skip
def test_a_calls_bound(path: str, call: dict[str, object], expected: int):
    assert tokens_max(path, call, C) == expected


def test_an_exact_prompt_takes_the_place_of_its_bound():
    assert tokens_max(CHAT, {"messages": [PICTURE], "max_tokens": 10}, C, prompt=50) == 60
    assert tokens_max(COMPLETIONS, {"prompt": "abc", "max_tokens": 5, "n": 2}, C, prompt=1) == 11
    assert tokens_max("/v1/embeddings", {"input": "abc"}, C, prompt=2) == 2


@settings(max_examples=examples(300))
@given(st.integers(1, 60), st.integers(0, 80), st.integers(1, 5), st.integers(1, 90) | st.none(), st.data())
def test_no_model_can_use_more(
    context: int, bound: int, answers: int, asked: int | None, data: st.DataObject
):
    """Whatever the real prompt is, below its bound, and however long each answer may get."""
    call = {"prompt": "x" * bound, "n": answers, **({"max_tokens": asked} if asked else {})}
    prompt = data.draw(st.integers(0, min(context, bound + PROMPT_TOKENS)))
    each = min(asked or context, context - prompt)
    assert prompt + answers * each <= tokens_max(COMPLETIONS, call, context)


@given(st.text())
def test_a_text_is_as_long_as_its_longer_form(text: str):
    raw, normal = (len(form.encode()) for form in (text, unicodedata.normalize("NFKC", text)))
    assert size(text) == max(raw, normal)


def test_one_character_that_becomes_many_counts_as_many():
    """U+FDFA: three bytes, eighteen characters once normalized."""
    assert size("\ufdfa") == 33


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=examples(300))
@given(
    st.sampled_from([CHAT, COMPLETIONS, "/v1/responses", "/v1/embeddings", "/v1/rerank", "/v1/score"]),
    st.dictionaries(
        st.sampled_from(
            ["messages", "prompt", "input", "query", "documents", "text_1", "text_2", "tools", "instructions"]
        ),
        ANY_JSON,
    ),
)
def test_whatever_is_sent_has_a_bound(path: str, call: dict[str, object]):
    assert tokens_max(path, json.loads(json.dumps(call)), C) >= 0


def test_what_is_not_known_is_the_whole_context():
    assert tokens_max("/v1/embeddings", {"input": {"odd": 1}}, C) == C
    assert tokens_max("/v1/embeddings", {}, C) == C
    assert tokens_max("/v1/rerank", {"query": None, "documents": ["a"]}, C) == C
    for odd in (True, 7, {"role": "user"}):
        assert tokens_max("/v1/responses", {"input": odd, "instructions": "Be brief."}, C) == C
