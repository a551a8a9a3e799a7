"""What Prometheus is given: whom it reads, how often, its rules. Alertmanager's file, and DCGM's. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from infctl.monitoring import counters, notifying
from infctl.monitoring.rules import all_groups
from infctl.monitoring.terms import FIRST_TOKEN_SHARE, terms
from infctl.plan import Plan
from infctl.profile.schema import Profile
from infctl.render.files import RenderedFile, header
from infctl.stack import Stack
from infctl.stack.containers import Project
from infctl.stack.names import CONTAINER_PORT, GATEWAY_HOST, Names
from infctl.stack.observers import ALERTMANAGER, DCGM, PROMETHEUS, WEBHOOK_AT, notified

RELOAD = "Read by Prometheus at start, and again on SIGHUP."


def render(
    stack: Stack, profile: Profile, plan: Plan, names: Names, project: Project, *, scale: float = 1.0
) -> Iterator[RenderedFile]:
    """`scale`: of every duration in the rules; tests cannot wait for hours."""
    monitoring = profile.monitoring
    every = _time(monitoring.prometheus.scrape_interval)
    data: dict[str, Any] = {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": ["rules/*.yml"],
        "scrape_configs": list(_jobs(stack, profile, names, project)),
    }
    if notified(profile):
        alerting = {"alertmanagers": [{"static_configs": [{"targets": [f"{ALERTMANAGER}:9093"]}]}]}
        data = {"global": data.pop("global"), "alerting": alerting, **data}
    yield _file(profile, "prometheus/prometheus.yml", data, RELOAD)
    promised = terms(profile, plan, scale=scale)
    watched = any(one.service == DCGM for one in project.containers)
    recorded, alerted = all_groups(promised, gpus_watched=watched)
    late = f"{FIRST_TOKEN_SHARE:.0%} of streams begun within {promised.first_token_s:g} s"
    said = (
        f"Promised: {promised.availability:.6g} of all calls answered, {late}",
        "(monitoring.slo of the profile; the time is the next bound of the gateway's histogram).",
    )
    yield _file(profile, "prometheus/rules/recordings.yml", {"groups": recorded}, RELOAD, *said)
    if monitoring.alerts.enabled:
        yield _file(
            profile,
            "prometheus/rules/alerts.yml",
            {"groups": alerted},
            RELOAD,
            "page: users are not served, or something is lost; ticket: for the next day. Each has a page:",
            "docs/runbooks/NAME.md.",
        )
    if notified(profile):
        hook = None if monitoring.alerts.webhook is None else {"url_file": WEBHOOK_AT}
        yield _file(
            profile,
            "alertmanager/alertmanager.yml",
            notifying.config(hook),
            "Read by Alertmanager at start, and again on SIGHUP.",
        )
    if watched:
        comment = "".join(f"# {line}\n" for line in header(profile.name, "What DCGM's exporter tells."))
        yield RenderedFile("dcgm/counters.csv", comment + counters.csv(), note="read by dcgm-exporter")


def _file(profile: Profile, path: str, data: dict[str, Any], *about: str) -> RenderedFile:
    comment = "".join(f"# {line}\n" for line in header(profile.name, *about))
    text = comment + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)
    return RenderedFile(path, text, note="read by " + ("Alertmanager" if "alertm" in path else "Prometheus"))


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
    if notified(profile):
        yield _static(ALERTMANAGER, [f"{ALERTMANAGER}:9093"])


def _static(job: str, targets: list[str]) -> dict[str, Any]:
    return {"job_name": job, "static_configs": [{"targets": targets}]}


def _time(seconds: float) -> str:
    """Prometheus knows whole units only."""
    return f"{max(1, round(seconds * 1000))}ms" if seconds != int(seconds) else f"{int(seconds)}s"
