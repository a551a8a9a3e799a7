"""Whatever a file holds, loading answers with a profile or a ProfileError, never with anything else."""

# ruff: noqa: E501, PT017 - expected lines are read whole; an answer may be a value or an error

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infctl.errors import ProfileError
from infctl.profile.loading import load
from infctl.profile.schema.walk import known_paths
from tests.examples import examples

QUIET = settings(
    max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WORDS = sorted(set(itertools.chain.from_iterable(known_paths())) - {"*"})
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.sampled_from(["${X}", "${X:-1}", "$", "2s", "8MiB", "99%", "chat", "auto", "cpu", "a/b", "127.0.0.1", "[key]"]),
)  # fmt: skip
JUNK = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(WORDS), st.text(max_size=6)), inner, max_size=4),
    ),
    max_leaves=20,
)
START = {"name": "box", "models": {"chat": {"source": "a/b", "task": "chat"}}}


def _answer(path: Path) -> None:
    try:
        loaded = load([path], {"X": "1"})
    except ProfileError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.where is not None, problem
            assert problem.where.line >= 1
            assert problem.where.column >= 1
            assert "Input should" not in str(problem), problem
            assert "pydantic" not in str(problem), problem
            assert "\n" not in str(problem), problem
            # The hint may be empty only where nothing could be said.
            assert problem.hint or "cannot stand here" in problem.message, problem
    else:
        assert loaded.profile.name


@QUIET
@given(st.dictionaries(st.sampled_from(WORDS), JUNK, max_size=5))
def test_a_mapping_of_junk(desk, data):
    _answer(desk.write(yaml.safe_dump({**START, **data}, allow_unicode=True)))


@settings(QUIET, max_examples=examples(400))
@given(st.sampled_from([p for p in known_paths() if len(p) >= 1]), JUNK)
def test_junk_in_one_field(desk, path, junk):
    data: dict = {"name": "box", "models": {"chat": {"source": "a/b", "task": "chat"}}}
    node = data
    names = ["chat" if step == "*" and path[0] == "models" else "x" if step == "*" else step for step in path]
    for step in names[:-1]:
        node = node.setdefault(step, {})
        if not isinstance(node, dict):
            return
    node[names[-1]] = junk
    _answer(desk.write(yaml.safe_dump(data, allow_unicode=True)))


@QUIET
@given(st.binary(max_size=200))
def test_bytes(desk, raw):
    try:
        load([desk.write(raw)], {})
    except ProfileError as error:
        assert error.problems


@QUIET
@given(st.text(alphabet="ab:-[]{}&*<>|#'\"!%@ \n\t", max_size=60))
def test_nearly_yaml(desk, text):
    try:
        load([desk.write(text.encode())], {})
    except ProfileError as error:
        assert all(p.where for p in error.problems)


@pytest.mark.parametrize(
    "raw",
    [b"? [a]\n: b\n", b"? {a: b}\n: c\n", b"<<: 1\nname: a\n", b"<<: [1]\n", b"? \n: 1\n", b"!!set {a}\n"],
)
def test_odd_keys(desk, raw):
    with pytest.raises(ProfileError):
        load([desk.write(raw)], {})
