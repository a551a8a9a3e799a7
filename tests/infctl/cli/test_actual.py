"""Planned against actual, as an operator reads it."""

from __future__ import annotations

from typing import Any

import pytest

from infctl.cli.actual import Start, actual_data, lines
from infctl.cli.shapes import PLAN
from infctl.sizing import Measured

STARTS = (
    Start("chat0", True, 79_900, 4_993, Measured(kv_tokens=80_128, num_gpu_blocks=5_008, starts=3)),
    Start("chat1", True, 79_900, 4_993, None),
    Start("text2sql", True, 65_536, 4_096, Measured(kv_tokens=65_536, num_gpu_blocks=4_096)),
    Start("embed", False, None, None, Measured(num_gpu_blocks=1, kv_tokens=0)),
)


def test_both_columns_the_difference_and_what_has_not_started() -> None:
    assert lines(STARTS, 100) == [
        "engine    planned tokens  actual          planned blocks  actual  starts",
        "chat0             79,900  80,128  +0.3 %           4,993   5,008       3",
        "chat1             79,900       -       -           4,993       -       0",
        "text2sql          65,536  65,536   exact           4,096   4,096       1",
        "",
        "actual   chat1 has not started here with these settings",
    ]


@pytest.mark.parametrize("width", [60, 72, 100])
def test_it_fits_the_window(width: int) -> None:
    assert max(len(line) for line in lines(STARTS, width)) <= width


def test_without_a_kv_cache_there_is_nothing_to_compare() -> None:
    assert lines(STARTS[3:], 100) == ["actual   no engine keeps a KV cache: there is nothing to compare"]


def test_its_data_has_the_promised_keys() -> None:
    rows = actual_data(STARTS)
    promised: Any = PLAN["actual"]
    assert all(list(row) == list(promised[0]) for row in rows)
    assert rows[0]["difference_percent"] == pytest.approx(0.29)
    assert (rows[1]["actual_kv_tokens"], rows[1]["difference_percent"], rows[1]["starts"]) == (None, None, 0)
