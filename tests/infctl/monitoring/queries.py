"""What a panel asks once Grafana has put its variables in."""

from __future__ import annotations

from infctl.monitoring.boards import Board, boards
from infctl.monitoring.boards.board import Panel
from infctl.monitoring.terms import Terms


def asked(expr: str, interval: str = "1m") -> str:
    found = expr.replace("$__rate_interval", interval)
    for name in ("model", "tenant"):
        found = found.replace(f"${name}", ".*")
    assert "$" not in found, found
    return found


def panels(terms: Terms) -> list[tuple[Board, Panel]]:
    return [(board, panel) for board in boards(terms, gpus_watched=True) for panel in board.panels]
