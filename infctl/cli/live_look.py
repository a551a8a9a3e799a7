"""A look for the live screens: the platform's state, and the pages of metrics of gateway and engines."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from infctl.cli.control import admin_api
from infctl.cli.look import PAGE_S, Looking
from infctl.errors import InfctlError
from infctl.monitoring import exposed
from infctl.shown import shown
from infctl.watch.counts import BEGINS, GATEWAY, Counts, Pages, count
from infctl.watch.past import Past

if TYPE_CHECKING:
    from infctl.cli.facts import PlatformFacts
    from infctl.cli.live_view import View
    from infctl.cli.remains import Remains
    from infctl.history.applied import Reach
    from infctl.stack import Stack


class LiveLook:
    """Remembers the last five minutes. What is down is shown as such; nothing is raised for it."""

    def __init__(self, remains: Remains) -> None:
        self._remains = remains
        self._looking = Looking(remains, engines=False)
        self.past = Past()

    def view(self) -> View:
        from infctl.cli.live_view import view
        from infctl.gpus import busy

        facts = self._looking.look()
        self.scrape(running(facts))
        on_gpus = any(row.role == "engine" and row.device.isdecimal() for row in facts.services)
        docker = self._remains.docker
        here = docker is None or docker.client.is_local
        cards = busy.look(timeout_s=PAGE_S) if on_gpus and here else ()
        return view(facts, self.past, cards)

    def scrape(self, engines: set[str]) -> Past:
        """The pages of the gateway and of these engines, added to what was seen before."""
        at, pages = self.ask(engines)
        return self.take(at, read(pages) if isinstance(pages, Mapping) else {GATEWAY: pages})

    def ask(self, engines: set[str]) -> tuple[float, Mapping[str, Any] | str]:
        """When, and the answers as `fetch.rounds` has them, or why there are none."""
        remains = self._remains
        stack = remains.stack()
        asks = _asks(remains, stack, remains.reach(stack), engines)
        try:
            told = remains.ask({"asks": asks, "keep": list(BEGINS)})
        except InfctlError as error:
            return time.monotonic(), error.message
        return float(told["at"][0]), told["rounds"][0]

    def take(self, at: float, pages: Pages) -> Past:
        self.past = self.past.with_now(count(pages, at))
        return self.past

    @property
    def now(self) -> Counts:
        return self.past.now


def running(facts: PlatformFacts) -> set[str]:
    """The engines that may have a page."""
    return {row.name for row in facts.services if row.role == "engine" and row.state != "stopped"}


def read(answers: Mapping[str, Any]) -> Pages:
    """Of several gateways the pages are one; one of them that is not there is told by its number."""
    pages = {name: _page(name.partition("#")[0], answer) for name, answer in answers.items()}
    gateways = [name for name in pages if name.partition("#")[0] == GATEWAY]
    there = [page for name in gateways if isinstance(page := pages[name], exposed.Page)]
    if len(gateways) < 2 or not there:
        return pages
    gone = {
        f"{GATEWAY}#{n}": page for n, name in enumerate(gateways, 1) if isinstance(page := pages[name], str)
    }
    # One that is reached by two addresses counts once; it began when it began.
    there = list({page.value("infctl_start_time_seconds"): page for page in reversed(there)}.values())
    others = {name: page for name, page in pages.items() if name not in gateways}
    return {**others, **gone, GATEWAY: exposed.joined(there)}


def _asks(remains: Remains, stack: Stack, reach: Reach, engines: set[str]) -> list[dict[str, Any]]:
    from infctl.stack.names import CONTAINER_PORT, GATEWAY_HOST

    with admin_api(remains, reach) as api:
        key = api.key
    docker = remains.docker is not None
    gateway = f"http://127.0.0.1:{CONTAINER_PORT}" if docker else reach.gateway
    head = {"authorization": f"Bearer {key}"} if key else {}
    asks: list[dict[str, Any]] = [
        {
            "name": GATEWAY,
            "url": f"{gateway}/metrics",
            "headers": head,
            "timeout_s": PAGE_S,
            **({"every": GATEWAY_HOST} if docker else {}),
        }
    ]
    for service in stack.services:
        if service.role == "engine" and service.ready is not None and service.name in engines:
            url = f"{service.ready.url.removesuffix('/health')}/metrics"
            asks.append({"name": service.name, "url": url, "timeout_s": PAGE_S})
    return asks


def _page(name: str, answer: Mapping[str, Any]) -> exposed.Page | str:
    """A page, or why there is none."""
    status = answer.get("status")
    if status == 200:
        page = exposed.read(str(answer["body"]))
        return page if page.samples else "its /metrics is a page of somebody else"
    if status in (401, 403) and name == GATEWAY:
        return f"it refuses the key ({status}): ADMIN_API_KEY is not the one that it has"
    return f"it answers {status}" if status is not None else shown(str(answer.get("why") or "no answer"))
