"""The looks of `infctl health --deep` beyond the models' answers: gathers, and has infctl.health judge."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infctl.cli.text import plural
from infctl.errors import GatewayError, InfctlError
from infctl.health import clocks, counts, disks, edge, pages
from infctl.health.found import Found, failure, ok, skipped, warning
from infctl.monitoring import exposed
from infctl.shown import shown

if TYPE_CHECKING:
    from infctl.api import Health
    from infctl.cli.gate import Answer
    from infctl.cli.project import Project
    from infctl.history.applied import Reach
    from infctl.monitoring.exposed import Page
    from infctl.stack import Stack
    from infctl.tls import Described

PAGE_S = 5.0
PROMETHEUS = "prometheus"
PROMETHEUS_URL = "http://prometheus:9090"
"""From inside the platform's network."""
NAMES_MAX = 8
"""Of the edge's names, that are tried."""


def of_answers(answers: list[Answer], via: str) -> Iterator[Found]:
    wrong = [one for one in answers if not one.answered or one.right is False]
    for one in wrong:
        named = f"{one.model} ({one.task})"
        said = shown(one.text)
        if not one.answered:
            fix = f"infctl status shows {one.model}; infctl logs {one.model} --tail 20"
            yield failure("models", via, f"{named} did not answer", why=said, fix=fix)
        else:
            yield failure(
                "models",
                via,
                f"{named} answers, but wrongly",
                why=f"to {one.question!r} it said {said!r}",
                fix="dtype, chat template or weights: infctl doctor, and infctl logs of its engine",
            )
    if answers and not wrong:
        told = f"{plural(len(answers), 'question')} answered rightly"
        yield ok("models", via, f"{told}, the slowest in {max(one.seconds for one in answers):.1f} s")


def of_gateway(said: Health, url: str) -> Iterator[Found]:
    """What is not as it should be although each model is served."""
    served = {str(model["name"]) for model in said.models if model.get("healthy", False)}
    odd = [one for one in said.backends if one.state != "ready" or one.breaker != "closed"]
    for one in odd:
        if one.model not in served:
            continue  # told as the model's
        state = (
            one.state
            if one.state != "ready"
            else f"ready, but its breaker is {one.breaker.replace('_', ' ')}"
        )
        yield warning(
            "gateway",
            url,
            f"{one.id} is {state}",
            why=shown(one.why) or f"the other replicas of {one.model} carry its share",
            fix=f"infctl logs {one.id.removeprefix('vllm-')} --tail 20",
        )
    if not odd and said.status == "ok":
        yield ok(
            "gateway", url, f"{len(said.models)} models on {len(said.backends)} servers, none of them odd"
        )


class Deep:
    """One look; what it asked for is kept until it is judged."""

    def __init__(self, project: Project, stack: Stack, reach: Reach, prometheus: str | None) -> None:
        self._project = project
        self._stack = stack
        self._reach = reach
        self._prometheus = prometheus
        self._page: Page | None = None
        self._clocks: dict[str, clocks.Reading | None] = {}

    def looks(self, now: float) -> Iterator[Found]:
        yield from self._edge(now)
        yield from self._metrics()
        yield from self._store()
        if self._page is not None:
            yield from counts.audit(self._page)
        yield from disks.judge(self._disks())
        yield from clocks.judge(self._clocks)

    # The edge

    def _edge(self, now: float) -> Iterator[Found]:
        from infctl.stack.names import authority, reachable

        project, reach = self._project, self._reach
        profile = project.profile
        if not profile.edge.enabled:
            yield skipped("tls", "edge", "edge.enabled is false")
            return
        if project.transport(reach) is not None:
            yield skipped("tls", "edge", "it is on another machine, and asked from inside")
            return
        here = authority(reachable(profile.edge.bind), profile.edge.https_port)
        place = urlsplit(reach.edge or f"https://{here}")
        host, port = place.hostname or "", place.port or 443
        written = [name for name in profile.edge.server_name if name != "_"]
        if not reach.edge and not written:  # no name is written: those that the certificate is for
            written = [name for one in self._chain()[:1] for name in one[1].names]
        named = [host, *written] if reach.edge else written
        names = list(dict.fromkeys(name for name in named if "*" not in name))[:NAMES_MAX]
        if not names:
            yield skipped("tls", place.geturl(), "neither edge.server_name nor the certificate tells a name")
            return
        seen = [edge.handshake(host, port, name, reach.trust) for name in names]
        certificate = next((one.certificate for one in seen if one.certificate), b"")
        leaf, chain, stale = self._certificates(certificate)
        days = profile.monitoring.alerts.certificate_days
        yield from edge.judge(
            place.geturl(), seen, leaf, chain, now, days, stale=stale, strict=bool(reach.edge)
        )

    def _certificates(self, seen: bytes) -> tuple[Described | None, tuple[Described, ...], bool]:
        """(what was shown, the file's chain, the two are not the same)."""
        from infctl import tls

        leaf, found = tls.of_der(seen) if seen else None, self._chain()
        return leaf, tuple(one for _, one in found), bool(seen and found) and found[0][0] != seen

    def _chain(self) -> tuple[tuple[bytes, Described], ...]:
        """Of the file that nginx is to show; empty where it cannot be read here."""
        from infctl import tls
        from infctl.stack.names import Names

        try:
            return tls.chain(Names(self._project.profile, self._project.layout).tls_files[0])
        except InfctlError:
            return ()

    # Pages

    def _metrics(self) -> Iterator[Found]:
        docker = self._project.docker is not None
        key_name, key = _admin_key(self._project, self._reach)
        asked: list[tuple[str, pages.Kind, str, str]] = []
        gateway = _gateway_url(self._reach, docker=docker)
        asked.append(("gateway", "gateway", f"{gateway}/metrics", key_name))
        asked += [
            (one.name, "vllm", f"{one.ready.url.removesuffix('/health')}/metrics", "")
            for one in self._stack.services
            if one.role == "engine" and one.ready is not None
        ]
        head = {"authorization": f"Bearer {key}"} if key else {}
        asks: list[dict[str, Any]] = [
            {"name": name, "url": url, "headers": head if kind == "gateway" else {}, "timeout_s": PAGE_S}
            for name, kind, url, _ in asked
        ]
        here = [self._targets_ask(self._prometheus)] if self._prometheus else []
        there = [] if here or not self._has(PROMETHEUS) else [self._targets_ask(PROMETHEUS_URL)]
        before = time.time()
        try:
            (answers,) = self._project.ask({"asks": [*asks, *there]})["rounds"]
            answers |= _here(here)
        except InfctlError as error:
            yield failure("metrics", "gateway", "no page can be asked for", why=error.message, fix=error.hint)
            return
        after = time.time()
        found = tuple(pages.Asked(name, kind, url, answers[name], used) for name, kind, url, used in asked)
        yield from pages.judge(found)
        self._page = None if (body := found[0].body) is None else exposed.read(body, ("infctl_",))
        self._read_clocks(found, before, after, docker=docker)
        for ask in (*here, *there):
            url = str(ask["url"]).partition("/api/")[0]
            yield from pages.targets(url, answers[PROMETHEUS], tuple(self._expected()))

    def _targets_ask(self, url: str) -> dict[str, Any]:
        path = "/api/v1/targets?state=active"
        return {"name": PROMETHEUS, "url": f"{url.rstrip('/')}{path}", "timeout_s": PAGE_S}

    def _has(self, service: str) -> bool:
        return any(one.service == service for project in self._stack.projects for one in project.containers)

    def _expected(self) -> Iterator[pages.Expected]:
        yield pages.Expected("gateway")
        for service in self._stack.services:
            if service.role == "engine":
                yield pages.Expected("vllm", f"vllm-{service.name}")
        if self._has("dcgm-exporter"):
            yield pages.Expected("dcgm")

    def _read_clocks(
        self, found: tuple[pages.Asked, ...], before: float, after: float, *, docker: bool
    ) -> None:
        for page in found:
            wall = page.answer.get("wall")
            if wall is None:
                continue
            date = str(page.answer.get("date", ""))
            self._clocks[page.name] = clocks.of_date(page.name, date, float(wall[0]), float(wall[1]))
            if docker:  # asked there, by the clock of the machine that runs the containers
                self._clocks["Docker host"] = clocks.Reading(
                    "Docker host", float(wall[0]), before, after, tick_s=0.0
                )

    # What it keeps

    def _store(self) -> Iterator[Found]:
        from infctl.api import KeyRefusedError
        from infctl.cli.control import admin_api

        as_of: float | str | None
        before = time.time()
        try:
            with admin_api(self._project, self._reach) as api:
                as_of = float(api.admin("GET", "/admin/quotas", query={"limit": 1})["as_of"])
        except KeyRefusedError:
            as_of = None
        except GatewayError as error:
            as_of = error.message
        except (KeyError, TypeError, ValueError) as error:
            as_of = f"an answer of another shape ({error!r})"
        if isinstance(as_of, float):
            self._clocks["store"] = clocks.Reading("store", as_of, before, time.time(), tick_s=0.0)
        yield from counts.store(self._page, as_of, "gateway")

    def _disks(self) -> Iterator[disks.Disk]:
        if self._page is not None:
            yield from disks.of_gateway(self._page)
        home = self._project.layout.home
        nearest = next(folder for folder in (home, *home.parents) if folder.exists())
        yield _disk(nearest)


def _disk(folder: Path) -> disks.Disk:
    used = shutil.disk_usage(folder)
    return disks.Disk(f"logs: {folder}", used.total, used.free)


def _here(asks: list[dict[str, Any]]) -> dict[str, Any]:
    """Addresses that a person named are this machine's to reach."""
    from infctl.cli import fetch

    return fetch.rounds({"asks": asks})["rounds"][0] if asks else {}


def _gateway_url(reach: Reach, *, docker: bool) -> str:
    from infctl.stack.names import CONTAINER_PORT

    return f"http://127.0.0.1:{CONTAINER_PORT}" if docker else reach.gateway


def _admin_key(project: Project, reach: Reach) -> tuple[str, str | None]:
    """(its name, its value): of /metrics, where it is not open to this address."""
    from infctl.cli.control import admin_api

    with admin_api(project, reach) as api:
        return api.key_name, api.key
