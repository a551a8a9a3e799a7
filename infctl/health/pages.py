"""Each /metrics, read from here; and what Prometheus says of the same targets. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from infctl.health.found import Found, failure, ok, warning
from infctl.shown import shown

CHECK: Final = "metrics"
Kind = Literal["gateway", "vllm", "dcgm", "prometheus"]
BEGINS: Final[dict[Kind, str]] = {
    "gateway": "infctl_",
    "vllm": "vllm:",
    "dcgm": "DCGM_",
    "prometheus": "prometheus_",
}
"""How the names of each begin."""
_LOG: Final = {"gateway": "infctl logs gateway --tail 20", "vllm": "infctl logs {name} --tail 20"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One page that was asked for."""

    name: str
    """The service."""
    kind: Kind
    url: str
    answer: Mapping[str, Any]
    """As `fetch.rounds` has it."""
    key_name: str = ""
    """Of the key that was sent."""

    @property
    def body(self) -> str | None:
        """None: there is no page."""
        return str(self.answer["body"]) if self.answer.get("status") == 200 else None


def why_not(asked: Asked) -> Found | None:
    """None: the page is there, and is one of its kind."""
    fix = _LOG.get(asked.kind, "infctl status").format(name=asked.name)
    status = asked.answer.get("status")
    if status is None:
        why = f"{asked.answer.get('why') or 'no answer'}"
        return failure(CHECK, asked.url, f"{asked.name} does not tell its figures", why=shown(why), fix=fix)
    if status in (401, 403):
        key = f"the key comes from {asked.key_name}" if asked.key_name else "no key is known here"
        return failure(
            CHECK,
            asked.url,
            f"{asked.name} refuses to tell its figures ({status})",
            why=f"{key}; this address is not in gateway.metrics_open_to",
            fix="set ADMIN_API_KEY in .env as the running gateway has it, or open /metrics to this address",
        )
    if asked.body is None:
        return failure(CHECK, asked.url, f"{asked.name} answers {status} to /metrics", fix=fix)
    if not any(line.startswith(BEGINS[asked.kind]) for line in asked.body.split("\n")):
        return failure(
            CHECK,
            asked.url,
            f"what answers there is not {asked.name}: no name begins with {BEGINS[asked.kind]}",
            why="alerts and dashboards see nothing of it",
            fix="is another program listening there? infctl status shows whose port it is",
        )
    return None


def judge(pages: tuple[Asked, ...]) -> Iterator[Found]:
    wrong = [found for page in pages if (found := why_not(page)) is not None]
    yield from wrong
    if pages and not wrong:
        yield ok(CHECK, ", ".join(page.name for page in pages), "each tells its figures")


@dataclass(frozen=True, slots=True)
class Expected:
    """Whom Prometheus is to read: `backend` of an engine, else empty."""

    job: str
    backend: str = ""

    def __str__(self) -> str:
        return self.backend or self.job


def targets(url: str, answer: Mapping[str, Any], expected: tuple[Expected, ...]) -> Iterator[Found]:
    """`answer`: to /api/v1/targets?state=active, as `fetch.rounds` has it; `url`: Prometheus's."""
    if answer.get("status") != 200:
        why = answer.get("why") or f"it answered {answer.get('status')}"
        yield failure(
            CHECK,
            url,
            "Prometheus does not say whom it reads",
            why=f"{shown(str(why))}: no alert is computed while it is down",
            fix="infctl logs prometheus --tail 20; docker compose -f docker-compose.monitoring.yml ps",
        )
        return
    try:
        found = list(_targets(json.loads(answer["body"])))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        yield failure(CHECK, url, "what answers there is not Prometheus", fix="is --prometheus its address?")
        return
    wrong = [told for target in found if (told := _target(target)) is not None]
    yield from wrong
    there = {(one.job, one.backend) for one in found} | {(one.job, "") for one in found}
    missing = [one for one in expected if (one.job, one.backend) not in there]
    for one in missing:
        yield failure(
            CHECK,
            url,
            f"Prometheus does not read {one}",
            why="its prometheus.yml is older than the profile, or it was not told of the new one",
            fix="infctl up, then docker compose -f docker-compose.monitoring.yml kill -s HUP prometheus",
        )
    if not wrong and not missing:
        yield ok(CHECK, url, f"Prometheus reads {len(found)} targets, each well")


@dataclass(frozen=True, slots=True)
class Target:
    """One of Prometheus's, as it sees it."""

    job: str
    backend: str
    instance: str
    url: str
    health: str
    """up, down, unknown."""
    error: str


def _targets(document: Mapping[str, Any]) -> Iterator[Target]:
    for row in document["data"]["activeTargets"]:
        labels = row["labels"]
        yield Target(
            job=str(labels.get("job", "")),
            backend=str(labels.get("backend", "")),
            instance=str(labels.get("instance", "")),
            url=str(row.get("scrapeUrl", "")),
            health=str(row.get("health", "unknown")),
            error=str(row.get("lastError", "")),
        )


def _target(target: Target) -> Found | None:
    """None: it is read."""
    name = shown(f"{target.job} {target.backend or target.instance}", 80)
    where = shown(target.url)
    if target.health == "up":
        return None
    if target.health == "unknown":
        return warning(CHECK, where, f"{name} was not read yet", fix="ask again in a minute")
    refused = "401" in target.error or "403" in target.error
    fix = (
        "open gateway.metrics_open_to to Prometheus's address, or give the scrape the admin's key"
        if refused
        else "infctl status shows whether it runs; docs/runbooks/EngineMetricsMissing.md"
    )
    return failure(CHECK, where, f"Prometheus cannot read {name}", why=shown(target.error), fix=fix)
