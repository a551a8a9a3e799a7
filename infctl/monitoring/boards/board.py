"""One dashboard and its panels, and both as Grafana's JSON. Pure.

A panel says its unit, and in its description what one sees there, and what is bad. Colours are names that
Grafana has for light and dark. Each division is by something above zero: no traffic is shown as such.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal["timeseries", "stat", "table", "bargauge", "state-timeline"]
Unit = Literal[
    "s",
    "reqps",
    "percentunit",
    "short",
    "bytes",
    "decmbytes",
    "celsius",
    "watt",
    "joule",
    "dateTimeFromNow",
    "none",
]
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
WIDTH: Final = 24
RATE: Final = "[$__rate_interval]"
SCHEMA: Final = 39
"""Of the JSON: Grafana 10.4 and later read it."""


@dataclass(frozen=True, slots=True)
class Query:
    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    unit: Unit
    about: str
    """What one sees, and what is bad."""
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    width: int = 8
    height: int = 8
    warn: float | None = None
    """From there it is yellow; only for figures that are judged."""
    bad: float | None = None
    """... red."""
    stacked: bool = False
    needs_gpu: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    query: str
    """`label_values(metric, label)`."""


@dataclass(frozen=True, slots=True)
class Board:
    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for row in self.rows for panel in row.panels)


MODEL: Final = Variable("model", "label_values(infctl_backend_up, model)")


def line(title: str, unit: Unit, about: str, *queries: tuple[str, str], **more: Any) -> Panel:
    return Panel(title, unit, about, tuple(Query(*each) for each in queries), **more)


def tile(title: str, unit: Unit, about: str, expr: str, **more: Any) -> Panel:
    return Panel(title, unit, about, (Query(expr),), kind="stat", **{"width": 4, "height": 4, **more})


def to_json(board: Board, platform: str) -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    y = 0
    for row in board.rows:
        panels.append(_row(row.title, len(panels) + 1, y))
        y += 1
        x = height = 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, height = 0, y + height, 0
            at = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            panels.append(_panel(panel, len(panels) + 1, at))
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return {
        "uid": f"infctl-{board.uid}",
        "title": board.title,
        "description": board.about,
        "tags": ["infctl", platform],
        "schemaVersion": SCHEMA,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "type": "dashboards",
                "title": "infctl",
                "tags": ["infctl"],
                "asDropdown": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": [_source(), *map(_variable, board.variables)]},
        "annotations": {"list": []},
        "panels": panels,
    }


def _row(title: str, number: int, y: int) -> dict[str, Any]:
    at = {"x": 0, "y": y, "w": WIDTH, "h": 1}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": at}


def _panel(panel: Panel, number: int, at: dict[str, int]) -> dict[str, Any]:
    instant = panel.kind in {"table", "bargauge"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": at,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        "targets": [
            {
                "refId": chr(ord("A") + n),
                "datasource": SOURCE,
                "editorMode": "code",
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "range": not instant,
                "instant": instant,
                **({"format": "table"} if panel.kind == "table" else {}),
            }
            for n, query in enumerate(panel.queries)
        ],
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green" if panel.warn is not None else "text", "value": None}]
    if panel.warn is not None:
        steps.append({"color": "yellow", "value": panel.warn})
    if panel.bad is not None:
        steps.append({"color": "red", "value": panel.bad})
    found: dict[str, Any] = {
        "unit": panel.unit,
        "noValue": "no data",
        "color": {"mode": "thresholds" if panel.warn is not None else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        found["custom"] = {"fillOpacity": 30 if panel.stacked else 5, "lineWidth": 1, "stacking": stacking}
        found["min"] = 0
    return found


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "timeseries":
        legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    if panel.kind in {"stat", "bargauge"}:
        return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    return {}


def _source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Source", "type": "datasource", "query": "prometheus", "hide": 0}


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "label": variable.name.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
    }
