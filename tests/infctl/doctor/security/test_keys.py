"""Keys that are defaults, weak, or used twice. No value is ever told."""

from __future__ import annotations

from pathlib import Path

import pytest

from infctl.doctor.security.keys import WEAK_BITS, Key, bits, judge, look, weakness

STRONG = "mD1x7Qv0hTn3cKp9ZsYb2LwRu8fGe6Aj"
OTHER = "Vq4oE2kXz8nJtB6yCw1aHsRg7uPi9MdL"


def keys(**values: str):
    return [Key(name, f"gateway/keys/{name.lower()}", value) for name, value in values.items()]


def test_strong_keys_of_their_own_are_one_line():
    (found,) = judge(keys(GATEWAY=STRONG, BACKEND=OTHER), {})
    assert (found.verdict, found.what) == ("ok", "2 of 2 keys are strong and of their own")


@pytest.mark.parametrize(
    "value",
    [
        "changeme",
        "CHANGE-ME",
        "your-api-key-here",
        "admin",
        "test-key-0123456789",
        "sk-1234567890abcdef",
        "password1",
    ],
)
def test_defaults_and_examples_are_failures(value):
    assert "default or an example" in weakness(value, "")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("aB3$xY9!q", "has 9 characters"),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", "repeats itself"),
        ("ababababababababababab", "repeats"),
    ],
)
def test_short_and_repetitive_ones_as_well(value, said):
    assert said in weakness(value, "")


def test_what_stands_in_the_example_is_known_to_everybody():
    assert "still the one of .env.example" in weakness(STRONG, STRONG)
    assert weakness(STRONG, OTHER) == ""


def test_a_long_random_key_may_hold_any_word():
    assert weakness("x9Q" + STRONG + "test" + OTHER, "") == ""
    assert bits(STRONG) > 2 * WEAK_BITS
    assert bits("aaaaaaaab") < WEAK_BITS / 2


def test_one_key_for_two_purposes_is_a_warning():
    found = list(judge(keys(GATEWAY=STRONG, ADMIN=STRONG, BACKEND=OTHER), {}))
    assert [one.verdict for one in found] == ["warning", "ok"]
    assert found[0].what == "GATEWAY and ADMIN are one and the same key"
    assert found[0].path == "gateway/keys/admin"


def test_no_finding_holds_a_value():
    told = "".join(f"{one}" for one in judge(keys(A="hunter2-hunter2", B=STRONG, C=STRONG), {"A": "x"}))
    assert "hunter2" not in told
    assert STRONG not in told


def test_the_profiles_own_keys_are_looked_at(case, tmp_path: Path):
    (tmp_path / ".env.example").write_text(f"BACKEND_API_KEY={OTHER}\n")
    env = {"GATEWAY_API_KEY": "changeme", "BACKEND_API_KEY": OTHER, "HF_TOKEN": "admin"}
    found = list(look(case({"engines": {"hub_token": "${HF_TOKEN}"}}, env=env)))
    # The hub's token is the hub's: only two are ours.
    assert [(one.verdict, one.path) for one in found] == [
        ("failure", "gateway/keys/shared"),
        ("failure", "gateway/keys/backend"),
    ]
    (found,) = look(case(env={"GATEWAY_API_KEY": ""}))
    assert found.verdict == "skipped"
