"""What Prometheus and Grafana are given: every part of the platform is read, and rules are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from infctl.gpus import Gpu
from infctl.host import Host
from infctl.plan import place
from infctl.profile.schema import Profile
from infctl.render import render
from infctl.stack import Layout
from infctl.stack.build import build

LAYOUT = Layout(Path("/srv/p"), Path("/srv/p/.infctl/p"), beside=True)
STORE = {"kind": "redis", "url": "${REDIS_URL}"}


def files(**rest: Any) -> dict[str, Any]:
    """Path -> its data, of the monitoring's YAML files."""
    data = {"name": "p", "models": {"chat": {"source": "a/b", "task": "chat", "replicas": 2}}}
    profile = Profile.model_validate(data | rest)
    cards = tuple(Gpu(n, "L4") for n in range(2)) if profile.gpus.kind != "cpu" else ()
    plan = place(profile, cards)
    rendered = render(build(profile, plan, LAYOUT, Host()), profile, plan, LAYOUT)
    return {f.path: yaml.safe_load(f.text) for f in rendered if f.path.startswith(("prometheus", "grafana"))}


def jobs(**rest: Any) -> dict[str, Any]:
    found = files(**rest)["prometheus/prometheus.yml"]["scrape_configs"]
    return {job.pop("job_name"): job for job in found}


def targets(job: dict[str, Any]) -> list[str]:
    return [target for group in job["static_configs"] for target in group["targets"]]


def test_every_part_is_read() -> None:
    found = jobs()
    assert {name: targets(job) for name, job in found.items()} == {
        "gateway": ["inference-gateway:8000"],
        "vllm": ["vllm-chat0:8000", "vllm-chat1:8000"],
        "dcgm": ["dcgm-exporter:9400"],
        "prometheus": ["127.0.0.1:9090"],
    }
    assert found["vllm"]["static_configs"][1]["labels"] == {"model": "chat", "backend": "vllm-chat1"}


def test_without_gpus_no_exporter_is_read() -> None:
    assert "dcgm" not in jobs(gpus="cpu")


def test_each_of_several_gateways_is_read() -> None:
    found = jobs(gateway={"replicas": 2, "store": STORE})["gateway"]
    assert found == {"dns_sd_configs": [{"names": ["inference-gateway"], "type": "A", "port": 8000}]}


def test_rules_are_loaded_and_times_are_the_profiles() -> None:
    data = files(monitoring={"prometheus": {"scrape_interval": "1.5s"}})
    assert data["prometheus/prometheus.yml"]["rule_files"] == ["rules/*.yml"]
    assert data["prometheus/prometheus.yml"]["global"] == {"scrape_interval": "1500ms"}


def test_grafana_finds_prometheus_and_its_dashboards() -> None:
    data = files()
    (source,) = data["grafana/provisioning/datasources/prometheus.yaml"]["datasources"]
    assert (source["url"], source["isDefault"]) == ("http://prometheus:9090", True)
    (provider,) = data["grafana/provisioning/dashboards/platform.yaml"]["providers"]
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"


def test_what_is_off_has_no_files() -> None:
    assert files(monitoring={"enabled": False}) == {}
    assert list(files(monitoring={"grafana": {"enabled": False}})) == ["prometheus/prometheus.yml"]
