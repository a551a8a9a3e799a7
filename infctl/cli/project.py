"""From `-f` to everything the commands work with: profile, folders, secrets, stack, files, engine, gateway.

Remains    what is known without a profile that loads: the folders, and what was applied last
Project    a profile that loads
Built      what the profile asks for, on this machine
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infctl.cli import console, env_file
from infctl.cli.options import profile_files
from infctl.errors import Problem, ProfileError, UsageError
from infctl.stack import Layout, Stack

if TYPE_CHECKING:
    from infctl.api import Api
    from infctl.cli.assemble import Built
    from infctl.engine.model import Action
    from infctl.engine.process import ProcessEngine
    from infctl.files import Change
    from infctl.profile.loading import LoadedProfile
    from infctl.profile.schema import Profile

_STATE_FOLDER = ".infctl"


@dataclass(frozen=True)
class Remains:
    """A platform's folders. Enough to stop it, restart it and read its logs."""

    name: str
    layout: Layout

    def engine(self) -> ProcessEngine:
        from infctl.engine.process import ProcessEngine

        return ProcessEngine(self.layout)

    def applied(self) -> Stack | None:
        """The stack last applied and not taken down since."""
        return self.engine().running()

    def neighbours(self) -> tuple[str, ...]:
        """Other platforms that run from this folder, such as this one before its profile was renamed."""
        from infctl.engine import books, locks

        found = self.layout.home.parent.glob(f"*/state/{books.SUPERVISOR_LOCK}")
        names = sorted(lock.parent.parent.name for lock in found if locks.is_held(lock))
        return tuple(name for name in names if name != self.name)

    def strangers(self, names: Iterable[str]) -> UsageError | None:
        """What to say of the first name that is no service here."""
        known = self.service_names()
        name = next((name for name in names if name not in known), None)
        if name is None:
            return None
        if not known:
            return UsageError(
                f"there is no service {name!r}: nothing has run here yet",
                hint="infctl up starts the services",
            )
        return UsageError(f"there is no service {name!r}", hint=f"there are: {', '.join(known)}")

    def service_names(self) -> tuple[str, ...]:
        """Applied services in order, then whatever else left a log."""
        from infctl.engine.logs import service_logs

        stack = self.applied()
        running = [service.name for service in stack.services] if stack else []
        return tuple(dict.fromkeys((*running, *service_logs(self.layout.logs, ()))))


@dataclass(frozen=True)
class Project(Remains):
    """A profile that loads, and where its platform lives."""

    loaded: LoadedProfile
    env: Mapping[str, str]
    """`.env` with the process's own environment over it."""

    @property
    def profile(self) -> Profile:
        return self.loaded.profile

    @property
    def files(self) -> tuple[Path, ...]:
        return self.loaded.sources

    def warnings(self) -> tuple[str, ...]:
        """What is odd, then what this version does not enforce: loud, never silent."""
        from infctl.profile.enforcement import unenforced

        problems = (*self.loaded.warnings, *unenforced(self.loaded))
        return tuple(f"{p}" + (f" ({p.hint})" if p.hint else "") for p in problems)

    def models_data(self) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "tasks": list(model.task),
                "replicas": model.replicas or 1,
                "aliases": list(model.alias),
            }
            for name, model in self.profile.models.items()
        ]

    # Secrets

    def missing_secrets(self) -> tuple[Problem, ...]:
        from infctl.profile.secrets import missing_secrets

        return missing_secrets(self.loaded, self.env)

    def with_generated_secrets(self) -> tuple[Project, tuple[str, ...]]:
        """Make up what the profile says is generated and nobody set; answers with the names."""
        from infctl.profile.secrets import generated_secrets

        sources = self.profile.secrets
        wanted = {name: sources[name].env or name for name in generated_secrets(self.profile)}
        lacking = [variable for variable in wanted.values() if not self.env.get(variable)]
        added = env_file.add_keys(self.layout.env_file, lacking)
        if not added:
            return self, ()
        return _open(self.files), added

    def secrets(self, stack: Stack) -> dict[str, str]:
        """Name -> value of what the stack's services use. Raises ProfileError for one without a value."""
        from infctl.profile.secrets import secret_values

        values = secret_values(self.loaded, self.env)
        names = dict.fromkeys(name for service in stack.services for _, name in service.secret_env)
        lacking = [name for name in names if not values.get(name)]
        if lacking:
            hint = f"set it in the environment or in {self.layout.env_file}"
            problems = [Problem(f"the secret {name} is not set", hint=hint) for name in lacking]
            raise ProfileError(f"{len(lacking)} secrets are missing", problems=problems)
        return {name: values[name] for name in names}

    def _usable_secrets(self, stack: Stack) -> dict[str, str]:
        """As `secrets`, with a stand-in for what is missing: for looking, not for starting."""
        from infctl.profile.secrets import secret_values

        values = secret_values(self.loaded, self.env)
        names = dict.fromkeys(name for service in stack.services for _, name in service.secret_env)
        return {name: values.get(name) or "not set yet" for name in names}

    # What it asks for

    def build(self) -> Built:
        """Raises ProfileError or PlanError for what this machine cannot give."""
        from infctl.cli.assemble import assemble

        return assemble(self.loaded, self.layout, self.env, self.applied())

    def certificate(self) -> str:
        """Make or check the edge's certificate; answers with what was made."""
        from infctl.cli.assemble import certificate

        return certificate(self.loaded, self.layout)

    def check_certificate(self) -> None:
        """Raises ProfileError where the named certificate cannot be used; makes none."""
        if self.profile.edge.enabled and not self.profile.edge.tls.makes_certificate:
            self.certificate()

    def stack(self) -> Stack:
        """What runs, or, where nothing does, what would."""
        return self.applied() or self._at_a_glance()

    def _at_a_glance(self) -> Stack:
        """What would run, to show its names; nothing is sized for it."""
        from infctl.cli.assemble import assemble

        return assemble(self.loaded, self.layout, self.env, sized=False).stack

    def actions(self, built: Built) -> tuple[Action, ...]:
        """What `up` would do. A secret that is not set yet counts as changed, not as an error."""
        return self.engine().plan(built.stack, self._usable_secrets(built.stack))

    def changes(self, built: Built) -> tuple[Change, ...]:
        """The rendered files that would change."""
        from infctl.files import changes

        found = changes(built.files, self.layout.rendered, self._book)
        return tuple(change for change in found if change.kind != "same")

    def write(self, built: Built, *, overwrite_edits: bool = False) -> Callable[[], None]:
        """Write the rendered files; answers with what puts back what was there."""
        from infctl.files import write

        before = _contents(self.layout.rendered, self._book)
        write(built.files, self.layout.rendered, self._book, overwrite_edits=overwrite_edits)
        return lambda: _restore(self.layout.rendered, self._book, before)

    @property
    def _book(self) -> Path:
        return self.layout.state / "rendered.json"

    # Where it is reached

    def gateway_url(self, stack: Stack) -> str:
        """As this machine reaches it: where it listens, or in a container where its port is published."""
        from infctl.stack.names import authority, reachable

        service = next(service for service in stack.services if service.role == "gateway")
        published = self.profile.gateway.listen
        host, port = next(iter(service.listen), (published.host, published.port))
        return f"http://{authority(reachable(host), port)}"

    def api(self, stack: Stack, *, through_edge: bool = False) -> Api:
        """A client of the gateway with the clients' key; through nginx where the profile has one."""
        from infctl.api import Api

        keys = self.profile.gateway.keys
        name = keys.shared.name if keys.shared is not None else ""
        key = self._secret(name) if name else None
        front = self._edge() if through_edge else None
        url, ca_file = front or (self.gateway_url(stack), None)
        return Api(url, key, key_name=name or "GATEWAY_API_KEY", ca_file=ca_file)

    def curl_parts(self, stack: Stack) -> dict[str, Any]:
        """Keyword arguments of `curls.lines`."""
        url, ca_file = self._edge() or (self.gateway_url(stack), None)
        keys = self.profile.gateway.keys
        name = keys.shared.name if keys.shared is not None else "GATEWAY_API_KEY"
        in_file = name in env_file.read(self.layout.env_file)
        return {
            "url": url,
            "ca_file": ca_file,
            "env_file": self.layout.env_file if in_file else None,
            "key_name": name,
        }

    def _edge(self) -> tuple[str, Path | None] | None:
        """(URL, certificate to trust) of nginx as this machine reaches it; None where there is none."""
        from infctl.stack.names import Names

        edge = self.profile.edge
        named = next((name for name in edge.server_name if name != "_" and "*" not in name), None)
        if not edge.enabled or (named is None and not edge.tls.makes_certificate):
            return None
        if edge.tls.makes_certificate:
            return f"https://localhost:{edge.https_port}", Names(self.profile, self.layout).tls_files[0]
        return f"https://{named}:{edge.https_port}", None

    def _secret(self, name: str) -> str | None:
        from infctl.profile.secrets import secret_values

        return secret_values(self.loaded, self.env).get(name)

    def supervisor_pids(self) -> tuple[int, ...]:
        """The one that watches first, then the one that would take over."""
        from infctl.engine import books, procfs

        home = os.path.realpath(self.layout.home)
        book, _ = books.read(str(self.layout.state / books.OBSERVED))
        active = book["supervisor"]["pid"] if book is not None else None
        found = [pid for pid, name in procfs.marked(home).items() if name == procfs.SUPERVISOR]
        return tuple(sorted(found, key=lambda pid: (pid != active, pid)))


def open_project(files: list[Path] | None) -> Project:
    """Raises ProfileError with everything that is wrong, UsageError where there is no profile."""
    return _open(profile_files(files))


def open_remains(files: list[Path] | None) -> Remains:
    """A project; or, where the profile is broken, the one platform that lives beside it."""
    paths = profile_files(files)
    try:
        return _open(paths)
    except ProfileError:
        base = paths[0].absolute().parent
        homes = [home for home in sorted((base / _STATE_FOLDER).glob("*")) if home.is_dir()]
        if len(homes) != 1:
            raise
        console.warn(
            f"the profile has mistakes (infctl validate); going on with {homes[0].name} as it was applied"
        )
        return Remains(homes[0].name, Layout(base, homes[0]))


def _open(paths: tuple[Path, ...]) -> Project:
    from infctl.profile.environment import read_environment
    from infctl.profile.loading import load

    base = paths[0].absolute().parent
    env = read_environment(base, os.environ)
    loaded = load(paths, env)
    name = loaded.profile.name
    layout = Layout(base, base / _STATE_FOLDER / name, beside=loaded.profile.runtime == "docker")
    return Project(name, layout, loaded, env)


def _contents(folder: Path, book: Path) -> dict[Path, tuple[bytes, int]]:
    """Path -> (bytes, mode) of everything rendered, and of the book about it."""
    found = [path for path in (*folder.rglob("*"), book) if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mode & 0o777) for path in found}


def _restore(folder: Path, book: Path, before: Mapping[Path, tuple[bytes, int]]) -> None:
    from infctl.atomic import replace

    for path, (data, mode) in before.items():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace(path, data, mode=mode)
    for path in (*folder.rglob("*"), book):
        if path.is_file() and path not in before:
            path.unlink()
