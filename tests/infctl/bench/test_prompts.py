"""Prompts and traces from files: read as they are, and a broken line named by its number."""

from __future__ import annotations

import json

import pytest

from infctl.bench import lengths
from infctl.bench.prompts import Arrival, FromFile, Replay, read_prompts, read_trace

MOONCAKE = """\
{"timestamp": 1000, "input_length": 600, "output_length": 5, "hash_ids": [46, 47]}

{"timestamp": 1500, "input_length": 520, "output_length": 7, "hash_ids": [46, 99]}
"""
BURST = """\
Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
"""
AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
"""


def test_three_kinds_of_traces_are_read() -> None:
    assert read_trace(MOONCAKE) == [Arrival(0.0, 600, 5, (46, 47)), Arrival(0.5, 520, 7, (46, 99))]
    assert read_trace(BURST) == [Arrival(0.0, 472, 18), Arrival(40.0, 1087, 1)]
    first, second = read_trace(AZURE)
    assert (first.tokens_in, second.tokens_out) == (4808, 8)
    assert second.at_s == pytest.approx(0.052)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MOONCAKE + "{oops\n", "line 4 is broken"),
        (MOONCAKE + '{"timestamp": 1600, "input_length": 3}\n', "line 4 is broken: output_length is missing"),
        (
            MOONCAKE + '{"timestamp": 900, "input_length": 3, "output_length": 1}\n',
            "line 4 is broken: it is earlier",
        ),
        (MOONCAKE.replace("600", "0"), "line 1 is broken: 0 tokens"),
        (BURST + "46,ChatGPT,many,3,3,x\n", "line 4 is broken"),
        (BURST + "46\n", "line 4 is broken"),
        (AZURE + "yesterday,1,2\n", "line 4 is broken"),
        ("a,b,c\n1,2,3\n", "line 1 is broken: its heading"),
        ("", "it holds no line"),
        (BURST.splitlines()[0], "nothing follows"),
    ],
)
def test_a_broken_line_of_a_trace_is_named_by_its_number(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_trace(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "a"}\n{"question": "b"}\n', "line 2 is no prompt: prompt is missing"),
        ('{"prompt": "a"}\n\n7\n', "line 3 is no prompt"),
        ('{"messages": [{"role": "user"}]}', "line 1 is no prompt"),
        ('{"prompt": "a", "max_tokens": 0}', "line 1 is no prompt: 0 tokens"),
        ('[{"conversations": [{"from": "human", "value": "hi"}]}, {"turns": []}]', "conversation 2"),
        ("[{]", "no JSON"),
        ("", "it holds no prompt"),
    ],
)
def test_a_broken_prompt_is_named_by_its_number(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_prompts(text)


def test_a_files_prompts_are_asked_in_order_and_again() -> None:
    text = '{"prompt": "first", "max_tokens": 5}\n{"messages": [{"role": "user", "content": "second é"}]}\n'
    made = FromFile("chat", 1, read_prompts(text), lengths.read("9"), exact=True)
    bodies = [json.loads(made.ask(index).body) for index in range(3)]
    assert [body["messages"][0]["content"] for body in bodies] == ["first", "second é", "first"]
    assert [body["max_tokens"] for body in bodies] == [5, 9, 5]


def test_shared_conversations_are_asked_by_what_the_person_said_first() -> None:
    text = json.dumps([{"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]}])
    made = FromFile("chat", 1, read_prompts(text), lengths.read("9"), exact=True)
    assert json.loads(made.ask(0).body)["messages"] == [{"role": "user", "content": "hi"}]


def test_a_trace_asks_as_much_as_it_says_and_equal_blocks_begin_alike() -> None:
    made = Replay("chat", "chat", 1, read_trace(MOONCAKE), exact=True)
    first, second = (json.loads(made.ask(index).body)["messages"][0]["content"].split() for index in range(2))
    assert (len(first), len(second)) == (600, 520)
    assert first[:512] == second[:512]
    assert first[512:520] != second[512:520]
