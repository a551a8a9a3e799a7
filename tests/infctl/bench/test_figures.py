"""A piece is not a token: what is told of each, where the server counts and where it does not."""

from __future__ import annotations

import pytest

from infctl.bench import record as records
from infctl.bench.figures import DEFINITIONS, Window, figures, gaps, token_gaps
from infctl.bench.record import Record


def request(piece_ms: list[int], counted: list[int], kinds: str = "") -> Record:
    return Record(
        index=0,
        due_us=None,
        began_us=0,
        sent_us=0,
        end_us=piece_ms[-1] * 1000,
        outcome="ok",
        piece_us=[at * 1000 for at in piece_ms],
        pieces=kinds or "t" * len(piece_ms),
        piece_tokens=counted,
        tokens_in=7,
        tokens_out=counted[-1] if counted else 9,
    )


def test_a_piece_of_four_tokens_is_four_short_gaps_of_tokens_and_one_long_one_of_pieces() -> None:
    made = request([100, 110, 150], [1, 2, 6])
    assert gaps(made) == pytest.approx([0.010, 0.040])
    assert token_gaps(made) == pytest.approx([0.010, 0.010, 0.010, 0.010, 0.010])


def test_a_piece_without_a_new_token_or_without_text_is_no_gap_of_a_token() -> None:
    made = request([90, 100, 105, 120], [0, 1, 1, 3], "Ettt")
    assert token_gaps(made) == pytest.approx([0.0075, 0.0075])


def test_where_pieces_are_not_counted_there_is_no_figure_of_tokens() -> None:
    window = Window(0, 1_000_000)
    plain = figures([request([100, 110, 150], [])], window)
    assert "itl_token" not in plain.latencies
    assert plain.tokens_a_piece == 3.0
    counted = figures([request([100, 110, 150], [1, 2, 6])], window)
    assert counted.latencies["itl_token"].count == 5
    assert counted.latencies["itl"].count == 2
    assert counted.latencies["itl_token"].mean == pytest.approx(counted.latencies["tpot"].mean)
    assert "tokens of the later one" in DEFINITIONS["itl_token"].text


def test_a_log_with_counts_of_some_pieces_only_is_no_log() -> None:
    line = records.written(request([100, 110, 150], [1, 2, 6]))
    assert next(iter(records.read([line]))).piece_tokens == [1, 2, 6]
    with pytest.raises(ValueError, match="line 1"):
        list(records.read([line.replace(b"[1,2,6]", b"[1,2]")]))
