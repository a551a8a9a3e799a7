"""Words for figures, and the table that fits."""

from __future__ import annotations

import pytest

from infctl.cli.text import Column, duration, size, table


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (0.31, "0.3 s"),
        (41.4, "41 s"),
        (59.6, "1 min"),
        (94, "1 min 34 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (532_800, "6 d 4 h"),
        (-1, "0.0 s"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_sizes_change_unit_at_a_gibibyte() -> None:
    assert [size(None), size(45 * 2**20), size(3 * 2**30)] == ["-", "45 MiB", "3.0 GiB"]


def test_a_narrow_table_loses_its_least_column_and_never_folds() -> None:
    columns = (
        Column("name", ("chat", "embed")),
        Column("pid", ("12345", "-"), right=True, sacrifice=2),
        Column("restarts", ("0", "3"), right=True, sacrifice=1),
    )
    assert table(columns, 80) == [
        "name     pid  restarts",
        "chat   12345         0",
        "embed      -         3",
    ]
    assert table(columns, 16) == ["name   restarts", "chat          0", "embed         3"]
    assert table(columns, 3) == ["name", "chat", "embed"]
