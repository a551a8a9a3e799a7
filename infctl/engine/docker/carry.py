"""Does what `reconcile` decided, in order, and tells what happens.

    repairs -> networks, volumes -> what is not wanted goes -> one-shots and services, as `schedule` says
    -> reloads -> networks that are not wanted

Raises EngineError where one fails; what was done until then stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from infctl.engine.docker import networks, payload, reload, rollout, schedule, telling
from infctl.engine.docker.hands import Hands, polls
from infctl.engine.docker.leftovers import Repair
from infctl.engine.docker.observed import Seen
from infctl.engine.docker.reconcile import Plan, Step
from infctl.engine.docker.swap import Swap
from infctl.engine.docker.watch import TRIES, Failed, Watch
from infctl.engine.model import Event
from infctl.errors import EngineError
from infctl.stack import Stack
from infctl.stack.containers import Container, Project

ONE_SHOT_S = 600.0
FETCH_S = 86_400.0
"""For the weights of all models."""
START_MIN_S = 60.0
CHECK_MARGIN_S = 30.0
GONE_GRACE_S = 30.0
"""For a container that nobody describes any more, to stop."""

Noted = Callable[[Project, Container, str, bool], None]
"""(project, container, id, only reloaded): it has read its files now."""


@dataclass(slots=True)
class Carrier:
    hands: Hands
    stack: Stack
    plan: Plan
    noted: Noted

    def run(self) -> Iterator[Event]:
        for repair in self.plan.repairs:
            yield from self._repair(repair)
        self._foundations()
        for step in self._steps("container", "remove"):
            yield from self._remove(step)
        yield from self._services()
        for step in self._steps("container", "reload"):
            yield from self._reload(step)
        for step in self._steps("network", "remove"):
            if step.found is not None:
                networks.remove(self.hands.client, step.found.id)

    def _foundations(self) -> None:
        client = self.hands.client
        for step in self._steps("network", "create", "replace"):
            if step.project is None or step.network is None:
                continue
            if step.found is None:
                networks.create(client, step.project, step.network)
            else:
                networks.replace(client, self.hands, step.project, step.network, step.found)
        for step in self._steps("volume", "create"):
            if step.project is not None and step.volume is not None:
                networks.create_volume(client, step.project, step.volume)

    def _steps(self, what: str, *kinds: str) -> tuple[Step, ...]:
        return tuple(s for s in self.plan.steps if s.kind == what and s.action.kind in kinds)

    def _repair(self, repair: Repair) -> Iterator[Event]:
        one = repair.container
        if repair.verb == "remove":
            self.hands.stop(one.id, GONE_GRACE_S)
            self.hands.remove(one.id, force=True)
        else:
            self.hands.rename(one.id, repair.name)
        yield Event("", "note", f"{one.name}: {repair.why}")

    def _remove(self, step: Step) -> Iterator[Event]:
        seen = step.seen
        if seen is None:
            return
        yield from rollout.retire(self.hands, self.stack, seen)
        yield Event(seen.service, "stopped")

    # -- services ----------------------------------------------------------------------------------

    def _services(self) -> Iterator[Event]:
        """Ends when every wanted container is ready, or has done its work."""
        watches = self._already_loading()
        board = schedule.board(
            self.plan.steps, self._settled(), [self._key(project, c) for _, project, c in watches]
        )
        for now in polls():
            while (step := board.due()) is not None:
                if schedule.is_rollout(step):
                    yield from self._roll(board, step)
                else:
                    watches.append(self._start(board, step, now))
                    yield Event(step.action.service, "started")
            if not watches:
                break
            for item in tuple(watches):
                watch, project, container = item
                event = self._look(watch, container, now)
                if event is not None:
                    yield event
                if event is not None and event.kind == "ready":
                    watches.remove(item)
                    board.done(self._key(project, container))
                    self.noted(project, container, watch.container_id, False)
        if board.pending:
            raise EngineError(board.stuck(), hint="`infctl status` shows what runs")

    def _already_loading(self) -> list[tuple[Watch, Project, Container]]:
        """Started by an earlier run, or by Compose, and not ready yet."""
        found = []
        now = next(polls())
        for project, container, seen in self._untouched():
            if seen.status == "running" and (container.one_shot or not seen.is_ready):
                found.append((self._watch(container, seen.id, now), project, container))
        return found

    def _settled(self) -> list[schedule.Key]:
        return [
            self._key(project, container)
            for project, container, seen in self._untouched()
            if (seen.is_done if container.one_shot else seen.is_ready)
        ]

    def _untouched(self) -> Iterator[tuple[Project, Container, Seen]]:
        """Wanted containers that are there and have nothing to be done, or are only reloaded."""
        touched = {s.seen.id for s in self.plan.steps if s.seen is not None and s.action.kind != "reload"}
        there = {(one.project, one.service, one.number): one for one in self.plan.settled.containers}
        for project in self.stack.projects:
            for container in project.containers:
                for number in range(1, container.count + 1):
                    seen = there.get((project.name, container.service, number))
                    if seen is not None and seen.id not in touched:
                        yield project, container, seen

    def _start(self, board: schedule.Board, step: Step, now: float) -> tuple[Watch, Project, Container]:
        container, project = step.container, step.project
        if container is None or project is None:
            raise AssertionError("only containers are started")
        board.began(step)
        again = step.seen if step.action.kind == "start" else None
        if again is not None:
            container_id = again.id
            if again.status == "restarting":
                self.hands.stop(container_id, 0)
        else:
            if step.seen is not None:
                self.hands.remove(step.seen.id, force=True)
            container_id = self.hands.create(project, container, number=step.number)
        self.hands.start(container_id)
        watch = self._watch(container, container_id, now)
        watch.restarts = None if again else 0
        watch.patient = again is not None and again.status == "paused"
        return watch, project, container

    def _watch(self, container: Container, container_id: str, now: float) -> Watch:
        return Watch(
            container_id,
            container.service,
            now,
            now + start_s(self.stack, container),
            to_its_end=container.one_shot,
            tries=TRIES,
        )

    def _look(self, watch: Watch, container: Container, now: float) -> Event | None:
        try:
            return self.hands.look(watch, now)
        except Failed as failed:
            raise telling.failure(self.hands, failed, container.service) from None

    def _roll(self, board: schedule.Board, step: Step) -> Iterator[Event]:
        container, project, seen = step.container, step.project, step.seen
        if container is None or project is None or seen is None:
            raise AssertionError("only a container that is there is replaced")
        board.began(step)
        limit = start_s(self.stack, container)
        swap = Swap(self.stack, project, container, seen.id, step.number, limit)
        yield from rollout.replace(self.hands, swap)
        made = self.hands.find(swap.name)
        board.done(self._key(project, container))
        if made is not None:
            self.noted(project, container, made, False)

    def _key(self, project: Project, container: Container) -> schedule.Key:
        return project.name, container.service

    # -- in place ----------------------------------------------------------------------------------

    def _reload(self, step: Step) -> Iterator[Event]:
        container, project, seen = step.container, step.project, step.seen
        if container is None or project is None or seen is None:
            return
        self._reconnect(project, container, step.number, seen)
        if step.news.reload:
            reload.reload(self.hands, container, seen.id)
            self.noted(project, container, seen.id, True)
        yield Event(container.service, "reloaded", step.action.cause)

    def _reconnect(self, project: Project, container: Container, number: int, seen: Seen) -> None:
        """As it is wanted; what is right is not touched."""
        wanted = payload.endpoints(project, container, number=number)
        there = dict(seen.fields.networks)
        for name in there.keys() - wanted.keys():
            self.hands.disconnect(seen.id, name)
        for name, endpoint in wanted.items():
            aliases = endpoint["Aliases"]
            if name in there and set(aliases) <= set(there[name]):
                continue
            if name in there:
                self.hands.disconnect(seen.id, name)
            self.hands.connect(seen.id, name, aliases)


def start_s(stack: Stack, container: Container) -> float:
    """From its start until it has to be ready, or, of a one-shot, done."""
    if container.role == "weights":
        return FETCH_S
    if container.one_shot:
        return ONE_SHOT_S
    service = next((one for one in stack.services if one.name == container.service), None)
    limits = [START_MIN_S]
    if service is not None and service.ready is not None:
        limits.append(service.ready.timeout_s)
    check = container.healthcheck
    if check is not None:
        failing = check.retries * (check.interval_s + check.timeout_s)
        limits.append(check.start_period_s + failing + CHECK_MARGIN_S)
    return max(limits)
