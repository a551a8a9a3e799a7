"""An answer within a time."""

from __future__ import annotations

import threading

import pytest

from infctl.in_time import answer


def test_an_answer_in_time_is_given_and_so_is_an_error() -> None:
    assert answer(lambda: 7, 10.0) == 7
    with pytest.raises(KeyError):
        answer({}.popitem, 10.0)


def test_what_hangs_is_left_behind() -> None:
    hung = threading.Event()
    try:
        with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
            answer(lambda: hung.wait(30), 0.05)
    finally:
        hung.set()
