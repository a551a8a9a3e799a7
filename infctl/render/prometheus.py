"""prometheus.yml: what Prometheus reads, and how often. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from infctl.profile.schema import Profile
from infctl.render.files import RenderedFile, header
from infctl.stack import Stack
from infctl.stack.containers import Project
from infctl.stack.names import CONTAINER_PORT, GATEWAY_HOST, Names
from infctl.stack.observers import DCGM, PROMETHEUS


def render(stack: Stack, profile: Profile, names: Names, project: Project) -> RenderedFile:
    lines = header(
        profile.name,
        "Read by Prometheus at start, and again on SIGHUP.",
        "Rules in rules/*.yml are loaded where there are any.",
    )
    data = {
        "global": {"scrape_interval": _time(profile.monitoring.prometheus.scrape_interval)},
        "rule_files": ["rules/*.yml"],
        "scrape_configs": list(_jobs(stack, profile, names, project)),
    }
    comment = "".join(f"# {line}\n" for line in lines)
    text = comment + yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return RenderedFile("prometheus/prometheus.yml", text, note="read by Prometheus")


def _jobs(stack: Stack, profile: Profile, names: Names, project: Project) -> Iterator[dict[str, Any]]:
    if profile.gateway.replicas > 1:
        # One name, several addresses.
        found = {"names": [GATEWAY_HOST], "type": "A", "port": CONTAINER_PORT}
        yield {"job_name": "gateway", "dns_sd_configs": [found]}
    else:
        yield _static("gateway", [f"{GATEWAY_HOST}:{CONTAINER_PORT}"])
    engines = [service for service in stack.services if service.role == "engine"]
    yield {
        "job_name": "vllm",
        "static_configs": [
            {
                "targets": [f"{names.engine(engine.name)}:{CONTAINER_PORT}"],
                "labels": {"model": engine.models[0], "backend": f"vllm-{engine.name}"},
            }
            for engine in engines
        ],
    }
    if any(one.service == DCGM for one in project.containers):
        yield _static("dcgm", [f"{DCGM}:{profile.monitoring.dcgm.port}"])
    yield _static(PROMETHEUS, ["127.0.0.1:9090"])


def _static(job: str, targets: list[str]) -> dict[str, Any]:
    return {"job_name": job, "static_configs": [{"targets": targets}]}


def _time(seconds: float) -> str:
    """Prometheus knows whole units only."""
    return f"{max(1, round(seconds * 1000))}ms" if seconds != int(seconds) else f"{int(seconds)}s"
