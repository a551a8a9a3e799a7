"""Dashboards: what each panel has to say, and that what it asks can be answered."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infctl.monitoring.boards import Board, boards
from infctl.monitoring.boards.board import Panel, to_json
from infctl.monitoring.names import metrics_in
from infctl.monitoring.recordings import recordings
from tests.infctl.monitoring import published
from tests.infctl.monitoring.prometheus import TERMS, promtool
from tests.infctl.monitoring.queries import asked, panels

BOARDS = boards(TERMS, gpus_watched=True)
PANELS = panels(TERMS)
RECORDED = {each.name for each in recordings(TERMS)}
each_panel = pytest.mark.parametrize(
    ("board", "panel"), PANELS, ids=[f"{board.uid}: {panel.title}" for board, panel in PANELS]
)
each_board = pytest.mark.parametrize("board", BOARDS, ids=[board.uid for board in BOARDS])


def denominators(expr: str) -> list[str]:
    """What stands behind each division that is by no number: a bracket, or what follows up to a space."""
    found = []
    for match in re.finditer(r" / (?:on \([^)]*\) )?", expr):
        rest = expr[match.end() :]
        if re.match(r"[\d.]+(?:[eE][+-]?\d+)?", rest):
            continue
        depth, end = 0, len(rest)
        for at, letter in enumerate(rest):
            depth += (letter == "(") - (letter == ")")
            if depth == 0 and letter == ")":
                end = at + 1
                break
        found.append(rest[:end])
    return found


def test_the_five_boards_are_there_and_without_gpus_four() -> None:
    assert [board.title for board in BOARDS] == ["Service", "Gateway", "Models", "Tenants", "GPU and models"]
    assert [board.uid for board in boards(TERMS, gpus_watched=False)] == [
        "service",
        "gateway",
        "models",
        "tenants",
    ]


@each_panel
def test_a_panel_says_what_it_shows(board: Board, panel: Panel) -> None:
    assert panel.title
    assert panel.unit
    assert panel.about.endswith(".")
    assert panel.queries
    assert panel.width <= 24
    assert all(query.legend for query in panel.queries) or panel.kind == "stat"
    assert [p.title for p in board.panels].count(panel.title) == 1


@each_panel
def test_a_panel_divides_by_what_is_above_zero_and_rates_over_grafanas_interval(
    board: Board, panel: Panel
) -> None:
    for query in panel.queries:
        for divisor in denominators(query.expr):
            assert divisor.endswith("> 0)"), divisor
        spans = set(re.findall(r"\brate\([^\[]*\[([^\]]*)\]", query.expr))
        assert spans <= {"$__rate_interval"}, query.expr
        for metric in metrics_in(query.expr):
            if metric.endswith(("_total", "_count", "_sum", "_bucket")):
                counted = re.search(rf"(?:rate|increase)\({re.escape(metric)}\b", query.expr)
                assert counted, f"{metric} is a counter"


@each_panel
def test_every_metric_of_a_panel_is_told_by_somebody(board: Board, panel: Panel) -> None:
    for query in panel.queries:
        assert metrics_in(query.expr) <= published.everything() | RECORDED


def test_prometheus_reads_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"test:panel:{n}", "expr": asked(query.expr)}
        for n, query in enumerate(query for _, panel in PANELS for query in panel.queries)
    ]
    assert len(rules) > 60
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)


@each_board
def test_what_grafana_reads_has_a_source_to_choose_and_panels_that_do_not_overlap(board: Board) -> None:
    data = json.loads(json.dumps(to_json(board, "p")))
    variables = {each["name"]: each for each in data["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert set(variables) == {"datasource", *(each.name for each in board.variables)}
    used: set[tuple[int, int]] = set()
    for panel in data["panels"]:
        at: dict[str, Any] = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & used
        assert at["x"] + at["w"] <= 24
        used |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["description"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    numbers = [panel["id"] for panel in data["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert data["editable"] is False


@each_board
def test_a_variable_that_is_asked_for_is_there_and_the_other_way_round(board: Board) -> None:
    exprs = " ".join(query.expr for panel in board.panels for query in panel.queries)
    assert set(re.findall(r"\$(?!__)(\w+)", exprs)) == {each.name for each in board.variables}
