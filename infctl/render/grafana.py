"""Grafana's provisioning: where its figures come from, and where its dashboards lie. Pure."""

from __future__ import annotations

from typing import Any

import yaml

from infctl.profile.schema import Profile
from infctl.render.files import RenderedFile, header
from infctl.stack.observers import PROMETHEUS

FOLDER = "grafana/provisioning"
_INSIDE = "/etc/grafana/provisioning"


def render(profile: Profile) -> tuple[RenderedFile, ...]:
    return (
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


def _file(profile: Profile, path: str, what: str, data: dict[str, Any]) -> RenderedFile:
    comment = "".join(f"# {line}\n" for line in header(profile.name, what))
    text = comment + yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return RenderedFile(f"{FOLDER}/{path}", text, note="read by Grafana at its start")
