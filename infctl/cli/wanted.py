"""What is to run, however it came about: from a profile, a saved diff, or the history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from infctl.errors import Problem, ProfileError
from infctl.history.applied import Applied, Planned, SecretPlace
from infctl.history.store import Text
from infctl.stack import Layout, Stack

if TYPE_CHECKING:
    from infctl.history.entry import Entry
    from infctl.history.store import Store
    from infctl.plan import Plan
    from infctl.profile.loading import LoadedProfile
    from infctl.render import RenderedFile

SECRET_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    applied: Applied
    """Without its files, which are these:"""
    files: tuple[Text, ...]
    values: Mapping[str, str] = field(repr=False)
    """Secret's name -> value, of those that have one."""
    env_file: Path

    @property
    def stack(self) -> Stack:
        return self.applied.stack

    def secrets(self) -> dict[str, str]:
        """Name -> value of what the services use. Raises ProfileError for one without a value."""
        names = self._names()
        lacking = [name for name in names if not self.values.get(name)]
        if lacking:
            hint = f"set it in the environment or in {self.env_file}"
            problems = [Problem(f"the secret {name} is not set", hint=hint) for name in lacking]
            raise ProfileError(f"{len(lacking)} secrets are missing", problems=problems)
        return {name: self.values[name] for name in names}

    def usable_secrets(self) -> dict[str, str]:
        """As `secrets`, with a stand-in for what is missing: for looking, not for starting."""
        return {name: self.values.get(name) or "not set yet" for name in self._names()}

    def _names(self) -> tuple[str, ...]:
        used = (name for service in self.stack.services for _, name in service.secret_env)
        return tuple(dict.fromkeys(used))


def of_entry(entry: Entry, history: Store, layout: Layout, env: Mapping[str, str]) -> Wanted:
    """Raises EngineError where a text of then is lost."""
    if entry.applied is None:
        raise AssertionError("an entry that applied nothing is not wanted again")
    found = ((place.name, value_of(place, env)) for place in entry.applied.secrets)
    values = {name: value for name, value in found if value}
    return Wanted(entry.applied, history.texts(entry.applied), values, layout.env_file)


def texts(files: Iterable[RenderedFile]) -> tuple[Text, ...]:
    return tuple(Text(file.path, file.text, file.mode) for file in files)


def secret_places(loaded: LoadedProfile) -> tuple[SecretPlace, ...]:
    """Of every secret the profile uses."""
    from infctl.profile.schema import SecretSource
    from infctl.profile.secrets import secret_uses

    found = {}
    for use in secret_uses(loaded.profile):
        source = loaded.profile.secrets.get(use.name, SecretSource())
        file = str(loaded.resolve(source.file)) if source.file else None
        found[use.name] = SecretPlace(use.name, source.env or use.name, file)
    return tuple(found.values())


def value_of(place: SecretPlace, env: Mapping[str, str]) -> str | None:
    """None: it has none. Raises ProfileError for a file that cannot be read."""
    if place.file is None:
        return env.get(place.variable) or None
    try:
        with Path(place.file).open("rb") as handle:
            return handle.read(SECRET_BYTES_MAX).decode("utf-8").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ProfileError(
            f"the secret {place.name} cannot be read: {place.file}: {said}", hint="a readable text file"
        ) from None


def planned(plan: Plan) -> tuple[Planned, ...]:
    """What the plan says of each engine, to compare the next one with."""
    found = []
    for replica in plan.replicas:
        need = replica.need
        if need is None:
            found.append(Planned(replica.service, None, None))
            continue
        tokens = need.kv_tokens.expected if need.kv is not None else None
        found.append(Planned(replica.service, need.footprint.expected, tokens))
    return tuple(found)
