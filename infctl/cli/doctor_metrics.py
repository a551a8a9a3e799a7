"""`infctl doctor metrics`: pages that are live, beside every name that dashboards and rules ask for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from infctl.cli.text import Paint, plural, unpainted
from infctl.errors import InfctlError, UsageError
from infctl.monitoring import exposed
from infctl.monitoring.terms import FIRST_TOKEN_BOUNDS_S, Card, Terms
from infctl.monitoring.used import KINDS, Missing, Source, Use, missing, uses
from infctl.shown import shown

if TYPE_CHECKING:
    from infctl.cli.project import Project

PAGE_S: Final = 5.0
PROMETHEUS_URL: Final = "http://prometheus:9090"
"""From inside the platform's network."""
_JOBS: Final[dict[str, Source]] = {"dcgm": "dcgm", "prometheus": "prometheus"}
"""Read by Prometheus alone; it is asked for their names."""
_USERS: Final = 6
"""Of a name that is missing, in words; JSON has all."""
_KINDS: Final[dict[Source, str]] = {
    "gateway": "gateway",
    "vllm": "engines",
    "dcgm": "DCGM",
    "prometheus": "Prometheus",
}
_WORDS: Final = Terms(
    availability=0.999,
    first_token_s=FIRST_TOKEN_BOUNDS_S[10],
    window_s=30 * 86_400.0,
    certificate_days=21,
    scrape_s=15.0,
    cards=(Card(0, 1, (("model", "backend"),)),),
)
"""Figures of no account: names are the same whatever is promised."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read."""

    pages: dict[Source, dict[str, frozenset[str]]] = field(default_factory=dict)
    """Kind -> whose page -> the names on it."""
    lost: tuple[tuple[str, str], ...] = ()
    """Whose page is not there, and why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Names beside what is told."""

    asked: tuple[Use, ...]
    missing: tuple[Missing, ...]
    seen: Seen

    @property
    def good(self) -> bool:
        return not self.missing and not self.seen.lost

    def asked_of(self, source: Source) -> int:
        return sum(use.source == source for use in self.asked)

    def unread(self) -> tuple[Source, ...]:
        """Kinds of which something is asked and no page was read."""
        lacking = {use.source for use in self.asked if use.source in _KINDS} - set(self.seen.pages)
        return tuple(source for source in _KINDS if source in lacking)


def compared(seen: Seen) -> Verdict:
    asked = uses(_WORDS, gpus_watched=True)
    return Verdict(asked, tuple(missing(asked, seen.pages)), seen)


# What is read


def of_urls(urls: Sequence[str], key: str | None) -> Seen:
    """Pages that a person names; what kind each is, its names tell. Raises UsageError."""
    from infctl.cli import fetch

    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"{url} is no address of a page", hint="--url http://127.0.0.1:8000/metrics")
    head = {"authorization": f"Bearer {key}"} if key else {}
    asks = [{"name": url, "url": url, "headers": head, "timeout_s": PAGE_S} for url in urls]
    return _seen(fetch.rounds({"asks": asks})["rounds"][0])


def of_platform(project: Project) -> Seen:
    """The gateway's, every engine's, and, where a Prometheus runs, the names that it read elsewhere."""
    from infctl.cli.control import admin_api
    from infctl.stack.names import CONTAINER_PORT

    stack = project.stack()
    reach = project.reach(stack)
    with admin_api(project, reach) as api:
        head = {"authorization": f"Bearer {api.key}"} if api.key else {}
    docker = project.docker is not None
    gateway = f"http://127.0.0.1:{CONTAINER_PORT}" if docker else reach.gateway
    asks: list[dict[str, Any]] = [
        {"name": "gateway", "url": f"{gateway}/metrics", "headers": head, "timeout_s": PAGE_S}
    ]
    for service in stack.services:
        if service.role == "engine" and service.ready is not None:
            url = f"{service.ready.url.removesuffix('/health')}/metrics"
            asks.append({"name": service.name, "url": url, "timeout_s": PAGE_S})
    there = {one.service for each in stack.projects for one in each.containers}
    jobs = [job for job in _JOBS if "prometheus" in there and _runs(job, there)]
    asks += [{"name": f"job {job}", "url": _names_url(job), "timeout_s": PAGE_S} for job in jobs]
    try:
        (answers,) = project.ask({"asks": asks})["rounds"]
    except InfctlError as error:
        return Seen(lost=(("gateway", error.message),))
    plain = {name: answer for name, answer in answers.items() if not name.startswith("job ")}
    return _joined(_seen(plain), {job: answers[f"job {job}"] for job in jobs})


def _runs(job: str, services: set[str]) -> bool:
    return ("dcgm-exporter" if job == "dcgm" else job) in services


def _names_url(job: str) -> str:
    match = quote(f'{{job="{job}"}}')
    return f"{PROMETHEUS_URL}/api/v1/label/__name__/values?match[]={match}"


def _seen(answers: Mapping[str, Mapping[str, Any]]) -> Seen:
    pages: dict[Source, dict[str, frozenset[str]]] = {}
    lost: list[tuple[str, str]] = []
    for name, answer in answers.items():
        if answer.get("status") != 200:
            lost.append((name, _why(answer)))
            continue
        names = exposed.read(str(answer["body"])).names()
        known = {source for begins, source in KINDS if any(told.startswith(begins) for told in names)}
        if not known:
            lost.append((name, "nothing on it is of a gateway, of vLLM, of DCGM or of Prometheus"))
        for kind in known:
            pages.setdefault(kind, {})[name] = names
    return Seen(pages, tuple(lost))


def _joined(seen: Seen, jobs: Mapping[str, Mapping[str, Any]]) -> Seen:
    """With the names that Prometheus knows of its jobs."""
    lost = list(seen.lost)
    for job, answer in jobs.items():
        try:
            names = frozenset(map(str, json.loads(answer["body"])["data"]))
        except (KeyError, TypeError, ValueError):
            lost.append((f"Prometheus's job {job}", _why(answer)))
            continue
        if names - {"up"} and any(not name.startswith("scrape_") for name in names - {"up"}):
            seen.pages.setdefault(_JOBS[job], {})[f"Prometheus's job {job}"] = names
        else:
            lost.append((f"Prometheus's job {job}", "it has read nothing of it"))
    return Seen(seen.pages, tuple(lost))


def _why(answer: Mapping[str, Any]) -> str:
    status = answer.get("status")
    if status in (401, 403):
        return f"it refuses the key ({status}): is ADMIN_API_KEY the one that it has?"
    return f"it answers {status}" if status is not None else shown(str(answer.get("why") or "no answer"))


# What is told


def lines(verdict: Verdict, paint: Paint = unpainted) -> Iterator[str]:
    for source, named in _KINDS.items():
        pages = verdict.seen.pages.get(source)
        if pages is None:
            continue
        lacking = [one for one in verdict.missing if one.use.source == source]
        of = f"{verdict.asked_of(source) - len(lacking)} of {plural(verdict.asked_of(source), 'name')}"
        mark = paint("✗ FAIL", "error") if lacking else paint("✓ ok  ", "good")
        yield f"{mark}  {named}: {of} that dashboards and rules ask for ({', '.join(map(shown, pages))})"
        for one in lacking:
            yield f"        {one.use.name} is told by none of them; asked for by:"
            for user in one.use.users[:_USERS]:
                yield f"          {user}"
            if len(one.use.users) > _USERS:
                yield f"          and {len(one.use.users) - _USERS} more"
    for name, why in verdict.seen.lost:
        yield f"{paint('✗ FAIL', 'error')}  {shown(name, 80)}: {why}"
    unread = [_KINDS[source] for source in verdict.unread()]
    if unread:
        yield f"{paint('- skip', 'dim')}  not looked at, as no page of it was read: {', '.join(unread)}"
    yield ""
    if verdict.good:
        yield "every name is there"
    else:
        parts = [
            *([f"{plural(len(verdict.missing), 'name')} missing"] if verdict.missing else []),
            *([f"{plural(len(verdict.seen.lost), 'page')} not read"] if verdict.seen.lost else []),
        ]
        yield ", ".join(parts)
    if verdict.missing:
        yield (
            "rules and dashboards are made for another version of vLLM, of the gateway or of the exporter:"
            " see infctl version and infctl images, then render them with the infctl of that version"
        )


def as_data(verdict: Verdict) -> dict[str, Any]:
    """With the keys of shapes.DOCTOR_METRICS."""
    return {
        "good": verdict.good,
        "asked": len(verdict.asked),
        "missing": [
            {
                "name": one.use.name,
                "told_by": one.use.source,
                "asked_for_by": list(one.use.users),
                "pages": list(one.pages),
            }
            for one in verdict.missing
        ],
        "read": [
            {"page": page, "told_by": source, "names": len(names)}
            for source, pages in verdict.seen.pages.items()
            for page, names in pages.items()
        ],
        "not_read": [{"page": name, "why": why} for name, why in verdict.seen.lost],
        "not_looked_at": list(verdict.unread()),
    }


def look(files: list[Path] | None, urls: Sequence[str]) -> Verdict:
    from infctl.cli.project import open_project

    if not urls:
        return compared(of_platform(open_project(files)))
    import os

    return compared(of_urls(urls, os.environ.get("ADMIN_API_KEY")))
