"""From `-f` to everything the commands work with: profile, folders, secrets, stack, files, engine, gateway.

Remains    what is known without a profile that loads: the folders, and what was applied last
Project    a profile that loads
Built      what the profile asks for, on this machine
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infctl.cli import console, env_file, reach, scaled
from infctl.cli.options import profile_files
from infctl.cli.remains import Remains
from infctl.errors import Problem, ProfileError, UsageError
from infctl.history.applied import Applied, Reach
from infctl.stack import Layout, Stack

if TYPE_CHECKING:
    from infctl.cli.assemble import Built
    from infctl.cli.wanted import Wanted
    from infctl.profile.loading import LoadedProfile
    from infctl.profile.schema import Profile

_STATE_FOLDER = ".infctl"


@dataclass(frozen=True)
class Project(Remains):
    """A profile that loads, and where its platform lives."""

    loaded: LoadedProfile = field(kw_only=True)
    """With what `infctl scale` said laid over it."""
    written: LoadedProfile = field(kw_only=True)
    """As its files say it."""
    scale: Mapping[str, int] = field(kw_only=True, default_factory=dict)
    """Model -> replicas, where that is not what the files say."""

    @property
    def profile(self) -> Profile:
        return self.loaded.profile

    @property
    def files(self) -> tuple[Path, ...]:
        return self.loaded.sources

    def warnings(self) -> tuple[str, ...]:
        """What is odd, then what this version does not enforce: loud, never silent."""
        from infctl.profile.enforcement import unenforced

        problems = (
            *self.loaded.warnings,
            *scaled.told(self.written, self.scale),
            *unenforced(self.loaded),
        )
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

    def scaled_to(self, replicas: Mapping[str, int]) -> Project:
        """The same with other numbers of replicas. Raises UsageError, ProfileError."""
        wanted = scaled.beyond(self.written, {**self.scale, **replicas})
        return replace(self, loaded=scaled.over(self.written, wanted), scale=wanted)

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
        return _open(self.files).scaled_to(self.scale), added

    def secret(self, name: str) -> str | None:
        from infctl.profile.secrets import secret_values

        return secret_values(self.loaded, self.env).get(name)

    # What it asks for

    def build(self, *, pinned: bool = True) -> Built:
        """Images as infctl.lock says, if `pinned`. Raises ProfileError, PlanError."""
        from infctl.cli.assemble import assemble

        return assemble(self.loaded, self.layout, self.env, self.applied(), pinned=pinned)

    def want(self, built: Built) -> Wanted:
        """`built`, with all that is needed to apply it, and later to apply it again."""
        from infctl.cli import wanted
        from infctl.profile.secrets import secret_values

        applied = Applied(
            stack=built.stack,
            reach=reach.reach_of(self.profile, self.layout, built.stack),
            secrets=wanted.secret_places(self.loaded),
            planned=wanted.planned(built.plan),
        )
        values = secret_values(self.loaded, self.env)
        return wanted.Wanted(applied, wanted.texts(built.files), values, self.layout.env_file)

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

    # Where it is reached

    def reach(self, stack: Stack) -> Reach:
        """Of what runs as it was applied: the profile may say otherwise by now."""
        last = self.last_entry()
        if last is not None and last.applied is not None and last.applied.stack == stack:
            return last.applied.reach
        return reach.reach_of(self.profile, self.layout, stack)


def open_project(files: list[Path] | None) -> Project:
    """Raises ProfileError with everything that is wrong, UsageError where there is no profile."""
    return _open(profile_files(files))


def open_remains(files: list[Path] | None) -> Remains:
    """A project; or, where the profile is broken or gone, the one platform that lives beside it."""
    try:
        paths = profile_files(files)
    except UsageError:
        found = _alone(Path.cwd())
        if found is None:
            raise
        console.warn(f"there is no profile here; going on with {found.name} as it was applied")
        return found
    try:
        return _open(paths)
    except ProfileError:
        found = _alone(paths[0].absolute().parent)
        if found is None:
            raise
        console.warn(
            f"the profile has mistakes (infctl validate); going on with {found.name} as it was applied"
        )
        return found


def _alone(base: Path) -> Remains | None:
    """The only platform of a folder."""
    homes = [home for home in sorted((base / _STATE_FOLDER).glob("*")) if home.is_dir()]
    if len(homes) != 1:
        return None
    from infctl.profile.environment import read_environment

    env = read_environment(base, os.environ)
    bare = Remains(homes[0].name, Layout(base, homes[0]), env)
    last = next((entry for entry in bare.history.newest_first() if entry.applied is not None), None)
    beside = last is not None and last.applied is not None and last.applied.stack.runtime == "docker"
    return Remains(bare.name, replace(bare.layout, beside=beside), env)


def _open(paths: tuple[Path, ...]) -> Project:
    from infctl.profile.environment import read_environment
    from infctl.profile.loading import load

    base = paths[0].absolute().parent
    env = read_environment(base, os.environ)
    loaded = load(paths, env)
    name = loaded.profile.name
    layout = Layout(base, base / _STATE_FOLDER / name, beside=loaded.profile.runtime == "docker")
    scale = scaled.beyond(loaded, scaled.read(layout))
    return Project(
        name, layout, env, loaded=scaled.over(loaded, scale) if scale else loaded, written=loaded, scale=scale
    )
