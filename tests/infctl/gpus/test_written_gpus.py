"""`--gpus`: what a person may write, and what is said where it means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from infctl.errors import PlanError, UsageError
from infctl.gpus import GPUS_MAX, Gpu, lookup, parse
from infctl.gpus.listing import BYTES_MAX, read_list
from tests.examples import examples


def names(text: str) -> list[str]:
    cards = parse(text)
    assert [card.index for card in cards] == list(range(len(cards)))
    return [card.name for card in cards]


@pytest.mark.parametrize(
    ("text", "cards"),
    [
        ("4xL4", ["L4"] * 4),
        ("4 x L4", ["L4"] * 4),
        ("h100:2", ["H100", "H100"]),
        ("L4", ["L4"]),
        ("NVIDIA GeForce RTX 4090", ["RTX 4090"]),
        ("2xL4,1xH100", ["L4", "L4", "H100"]),
        ("L4, H100:2", ["L4", "H100", "H100"]),
        ("64xL4", ["L4"] * 64),
        ("cpu", []),
        ("CPU", []),
        ("None", []),
    ],
)
def test_cards_are_named_with_a_count_before_or_after(text: str, cards: list[str]) -> None:
    assert names(text) == cards


def test_a_named_card_has_its_catalogue_memory() -> None:
    (card,) = parse("h100:1")
    assert card == Gpu(0, "H100", memory_bytes=85_017_493_504, capability=(9, 0))
    (nominal,) = parse("H100 NVL")
    assert nominal.nominal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4xL4;ls",
        "0xL4",
        "65xL4",
        "L4:0",
        "60xL4,5xT4",
        "L4,,L4",
        ":",
        "9" * 400 + "xL4",
        "4x",
        "4",
        "12 *",
        "9" * 11 + "xL4",
    ],
)
def test_what_means_nothing_is_a_usage_error_that_says_what_would(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["A100", "2xA100", "L4,A100,A100"])
def test_an_unknown_card_is_a_plan_error_that_offers_the_nearest(text: str) -> None:
    with pytest.raises(PlanError) as caught:
        parse(text)
    (problem,) = caught.value.problems
    assert "A100" in problem.message
    assert "A100 40GB, A100 80GB and A10" in problem.hint
    assert "memory: 24GiB" in problem.hint


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cards.yaml", "- {name: L4}\n- {name: Odd, memory: 24GiB}\n"),
        ("cards.json", '\n [{"name": "L4"},\n  {"name": "Odd", "memory": "24GiB"}]'),
        ("cards.json", '{"gpus": [{"name": "L4"}, {"name": "Odd", "memory": "24GiB"}]}'),
        ("infctl.yaml", "# ours\ngpus:\n  - name: L4\n  - {name: Odd, memory: 24GiB}\n"),
        ("cards.yaml", "\ufeffgpus: [{name: L4}, {name: Odd, memory: 24GiB}]\n"),
    ],
)
def test_a_file_lists_cards_as_a_profile_does(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    l4 = lookup("L4")
    assert l4 is not None
    assert [(card.index, card.name, card.memory_bytes) for card in parse(str(file))] == [
        (0, "L4", l4.memory_bytes),
        (1, "Odd", 24 * 2**30),
    ]


def test_what_nvidia_smi_printed_is_a_list_of_cards(tmp_path: Path) -> None:
    file = tmp_path / "cards.csv"
    file.write_text(
        "index, uuid, name, memory.total [MiB]\n"
        "0, GPU-8a1b, NVIDIA L4, 23034 MiB\n"
        "1, GPU-8a1c, NVIDIA Odd, 24576 MiB\n"
    )
    first, second = parse(str(file))
    assert (first.name, first.uuid, first.memory_bytes) == ("L4", "GPU-8a1b", int(22.05 * 2**30))
    assert (second.name, second.memory_bytes) == ("Odd", 24 * 2**30)


@pytest.mark.parametrize("text", ["gpus: cpu\n", "cpu\n", "# none\ncpu"])
def test_a_file_may_say_cpu(tmp_path: Path, text: str) -> None:
    file = tmp_path / "cards.yaml"
    file.write_text(text)
    assert parse(str(file)) == ()


def test_a_file_may_hold_a_count_and_a_name_as_a_profile_does(tmp_path: Path) -> None:
    file = tmp_path / "cards.txt"
    file.write_text("2xL4\n")
    assert [card.name for card in parse(str(file))] == ["L4", "L4"]


def test_what_a_terminal_would_obey_is_taken_out_of_names(tmp_path: Path) -> None:
    file = tmp_path / "cards.csv"
    file.write_text("0, GPU-1, \x1b[31mOdd, 24576 MiB\n1, GPU-2, Odd\x07, [N/A]\n")
    with pytest.raises(PlanError) as caught:
        parse(str(file))
    assert caught.value.problems[0].message == "no card called Odd is in the catalogue"
    file.write_text("0, GPU-1, \x1b[31mOdd, 24576 MiB\n")
    assert parse(str(file))[0].name == "[31mOdd"


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("- {name: L4}\n- {nam: L4}\n", "2:4", 'unknown key "nam"'),
        ("- {name: L4}\n- {name: Zork}\n", "2:10", "no card called Zork"),
        ('[{"name": "L4"}, {"name": "Zork"}]', "1:27", "no card called Zork"),
        ('[{"name": "L4"},\n {"name": "Zork"}]', "2:11", "no card called Zork"),
        ("gpus:\n- {name: L4, memory: much}\n", "2:22", "much"),
        ("", "1:1", "empty"),
        ("gpus: [\n", "2:1", "not YAML"),
        ("index, uuid, name, memory.total [MiB]\n", "1:1", "no line names a GPU"),
        ("gpus: []\n", "1:7", "0 GPUs"),
        ("- {name: L4, uuid: MIG-0a}\n", "1:20", "MIG"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_place(
    tmp_path: Path, text: str, where: str, message: str
) -> None:
    file = tmp_path / "cards.yaml"
    file.write_text(text)
    with pytest.raises(PlanError) as caught:
        parse(str(file))
    (problem,) = caught.value.problems
    assert str(problem.where) == f"{file}:{where}"
    assert message in problem.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {name: L4, index: 1}\n- {name: L4, index: 1}\n", "GPU 1 twice"),
        ("0, GPU-a, NVIDIA L4, 23034 MiB\n0, GPU-b, NVIDIA L4, 23034 MiB\n", "twice"),
    ],
)
def test_a_card_that_is_listed_twice_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "cards.yaml"
    file.write_text(text)
    with pytest.raises(PlanError, match=message):
        parse(str(file))


def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        parse(str(tmp_path / "missing.yaml"))
    with pytest.raises(UsageError, match="cannot be read"):
        parse(str(tmp_path))
    big = tmp_path / "big.yaml"
    big.write_bytes(b"#" * (BYTES_MAX + 1))
    with pytest.raises(UsageError, match="longer than 256 KiB"):
        parse(str(big))


def test_a_file_of_bytes_is_no_list(tmp_path: Path) -> None:
    file = tmp_path / "cards.yaml"
    file.write_bytes(bytes(range(256)))
    with pytest.raises(PlanError, match="no GPUs that can be planned"):
        parse(str(file))


@settings(max_examples=examples(60), deadline=None)
@given(st.text(max_size=30) | st.from_regex(r"([0-9]{0,3}x?[A-Za-z0-9 :]{1,6},?){1,4}", fullmatch=True))
def test_no_text_makes_anything_but_cards_or_an_error(text: str) -> None:
    assume(text.strip() != "detect")
    try:
        assert len(parse(text)) <= GPUS_MAX
    except (UsageError, PlanError) as error:
        assert error.hint or error.problems  # noqa: PT017 - either outcome is right


@settings(max_examples=examples(60), deadline=None)
@given(
    st.text(max_size=60)
    | st.from_regex(r"(gpus: ?)?(\[?\{(name|index|memory): ?[A-Z0-9\[]{0,4}\}?,?\]?\n?){0,3}", fullmatch=True)
    | st.from_regex(r"([0-9]{1,2}, GPU-a, NVIDIA [A-Z0-9]{1,3}, [0-9]{0,6}( MiB)?\n){1,3}", fullmatch=True)
)
def test_no_file_makes_anything_but_cards_or_a_plan_error(text: str) -> None:
    try:
        cards = read_list(text, "cards.yaml")
    except PlanError as error:
        assert error.hint or error.problems  # noqa: PT017 - either outcome is right
    else:
        assert cards is None or len({card.index for card in cards}) == len(cards)
