"""Grafana: where its figures come from, and its dashboards. Pure."""

from __future__ import annotations

import json
from typing import Any

import yaml

from infctl.monitoring.boards import Board, boards
from infctl.monitoring.boards.board import to_json
from infctl.monitoring.terms import terms
from infctl.plan import Plan
from infctl.profile.schema import Profile
from infctl.render.files import RenderedFile, header
from infctl.stack.containers import Project
from infctl.stack.observers import DCGM, PROMETHEUS

FOLDER = "grafana/provisioning"
_INSIDE = "/etc/grafana/provisioning"


def render(profile: Profile, plan: Plan, project: Project) -> tuple[RenderedFile, ...]:
    watched = any(one.service == DCGM for one in project.containers)
    found = boards(terms(profile, plan), gpus_watched=watched)
    return (
        *(_board(profile, each) for each in found),
        _file(
            profile,
            "datasources/prometheus.yaml",
            "Grafana's one source of figures.",
            {
                "apiVersion": 1,
                "datasources": [
                    {
                        "name": "Prometheus",
                        "uid": "prometheus",
                        "type": "prometheus",
                        "access": "proxy",
                        "url": f"http://{PROMETHEUS}:9090",
                        "isDefault": True,
                        "editable": False,
                        "jsonData": {
                            "timeInterval": f"{max(1, round(profile.monitoring.prometheus.scrape_interval))}s"
                        },
                    }
                ],
            },
        ),
        _file(
            profile,
            "dashboards/platform.yaml",
            "Dashboards are the JSON files that lie beside this one.",
            {
                "apiVersion": 1,
                "providers": [
                    {
                        "name": profile.name,
                        "type": "file",
                        "disableDeletion": True,
                        "allowUiUpdates": False,
                        "updateIntervalSeconds": 30,
                        "options": {"path": f"{_INSIDE}/dashboards"},
                    }
                ],
            },
        ),
    )


def _board(profile: Profile, board: Board) -> RenderedFile:
    """JSON has no comments: who made it is said in the description."""
    data = to_json(board, profile.name)
    data["description"] = f"{board.about} {' '.join(header(profile.name, 'Change the profile.'))}"
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    path = f"{FOLDER}/dashboards/{board.uid}.json"
    return RenderedFile(path, text, note="shown by Grafana, which looks for changes")


def _file(profile: Profile, path: str, what: str, data: dict[str, Any]) -> RenderedFile:
    comment = "".join(f"# {line}\n" for line in header(profile.name, what))
    text = comment + yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return RenderedFile(f"{FOLDER}/{path}", text, note="read by Grafana at its start")
