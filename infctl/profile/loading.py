"""Profile files -> LoadedProfile, or ProfileError with everything that is wrong, each thing with its place.

    text -> tree -> normal -> over (overlays) -> data (variables filled in) -> Profile -> check -> environment

A value that is wrong is set aside and the rest looked at again, so that ten mistakes of ten kinds give ten
problems, not the first kind's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infctl.errors import Location, Problem, ProfileError
from infctl.profile import data as written
from infctl.profile.check import problems_of, warnings_of
from infctl.profile.environment import apply_environment, read_environment
from infctl.profile.mistakes import words
from infctl.profile.overlay import normal, over
from infctl.profile.schema import Profile
from infctl.profile.tree import Mapping as Tree
from infctl.profile.tree import Unreadable, position, read

FILE_BYTES_MAX = 1024 * 1024
ROUNDS_MAX = 4


@dataclass(frozen=True, slots=True)
class LoadedProfile:
    """A profile that holds together, and where each of its values was written."""

    profile: Profile
    sources: tuple[Path, ...]
    warnings: tuple[Problem, ...] = ()
    overridden: Mapping[str, str] = field(default_factory=dict)
    """Path -> the environment variable that set it (MAX_RPS_PER_IP and its siblings)."""
    places: Mapping[str, Location] = field(default_factory=dict)
    """Path -> where its value stands, for all that was written."""
    variables: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Each variable that the files name, secrets aside -> (a path, what stands in for it)."""
    as_written: Profile | None = None
    """Before MAX_RPS_PER_IP and its siblings had their say; None: they had none."""

    @property
    def base(self) -> Path:
        """The first profile's folder: relative paths, `.env` and `.infctl` are looked for here. Absolute."""
        return self.sources[0].absolute().parent

    @property
    def env_file(self) -> Path:
        """Where secrets and the reference platform's variables are set; it may not exist."""
        return self.base / ".env"

    def where(self, path: str) -> Location | None:
        """The place of a value, `models/chat/replicas`; of what was left out, the nearest thing around it."""
        while path:
            if path in self.places:
                return self.places[path]
            path = path.rpartition("/")[0]
        return self.places.get("")

    def writes(self, path: str) -> bool:
        """Whether a file says so, as opposed to a default or an environment variable."""
        return path in self.places

    def problem(self, path: str, message: str, hint: str = "") -> Problem:
        """A located problem, for the rooms that come later."""
        return Problem(message, path, self.where(path), hint)

    def resolve(self, path: str) -> Path:
        """A path of the profile -> absolute, `~` and the first profile's folder filled in."""
        return (self.base / Path(path).expanduser()).resolve()


def load(paths: Sequence[Path], env: Mapping[str, str]) -> LoadedProfile:
    """`env`: what `read_environment` gave. Raises ProfileError with all problems, in file order."""
    if not paths:
        raise ProfileError("no profile named", hint="-f FILE, or INFCTL_PROFILE, or ./infctl.yaml")
    problems: list[Problem] = []
    tree: Tree | None = None
    unreadable = False
    for path in paths:
        try:
            one, found = read(_text(path), str(path))
            one, more = normal(one)
        except Unreadable as error:
            problems.append(error.problem)
            unreadable = True
        else:
            problems += [*found, *more]
            tree = one if tree is None else over(tree, one)
    if tree is None or unreadable:
        raise _refused(problems, paths)

    env_file = str(paths[0].parent / ".env")
    data = written.fill_in(tree, env, env_file)
    problems += data.problems
    profile, aside = _validated(data, problems)
    if profile is not None:
        problems += [
            Problem(message, path, data.where(path), hint)
            for path, message, hint in problems_of(profile)
            if not any(_related(path, other) for other in aside)
        ]
    if profile is None or problems:
        raise _refused(problems, paths)

    as_written = profile
    profile, overridden, mistakes = apply_environment(profile, env)
    if mistakes:
        raise _refused(list(mistakes), paths)
    warnings = tuple(
        Problem(message, path, data.where(path), hint) for path, message, hint in warnings_of(profile)
    )
    return LoadedProfile(profile, tuple(paths), warnings, overridden, data.places, data.variables, as_written)


def _text(path: Path) -> str:
    start = Location(str(path), 1, 1)
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise Unreadable(
            Problem(
                "no such file",
                where=start,
                hint="infctl profiles lists those at hand, infctl init writes one",
            )
        ) from None
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Unreadable(
            Problem(f"cannot be read: {said}", where=start, hint="a readable YAML file")
        ) from None
    if len(raw) > FILE_BYTES_MAX:
        raise Unreadable(Problem("larger than 1 MiB", where=start, hint="a profile is a few KiB")) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = raw[: error.start].decode("utf-8-sig")
        where = position(good, len(good), str(path))
        problem = Problem(
            f"the byte 0x{raw[error.start]:02X} is not UTF-8", where=where, hint="save the file as UTF-8"
        )
        raise Unreadable(problem) from None


def _validated(data: written.Data, problems: list[Problem]) -> tuple[Profile | None, set[str]]:
    """The profile without what is wrong in it, which goes to `problems`; and the paths set aside."""
    aside = set(data.dropped)
    seen: set[str] = set()
    for _ in range(ROUNDS_MAX):
        try:
            return Profile.model_validate(data.value), aside
        except ValidationError as error:
            # All places first: taking one value out would move the places of those below it.
            found = [(one, data.place(one["loc"])) for one in error.errors(include_url=False)]
            inside = {place.path[:end] for _, place in found for end in range(len(place.path))}
            wrong: list[tuple[str, ...]] = []
            for finding, place in found:
                if finding["type"] == "string_type" and data.as_text(place.path):
                    continue
                path = "/".join(place.path)
                counted_as_gone = finding["type"] == "too_short" and place.path in inside
                if path not in seen and path not in data.dropped and not counted_as_gone:
                    message, hint = words(finding, place.schema, key=place.is_key)
                    problems.append(Problem(message, path, data.location(place, finding["type"]), hint))
                seen.add(path)
                aside.add(path)
                wrong.append(place.path)
            enough = [data.set_aside(path) for path in wrong]
            if not all(enough):
                return None, aside
    return None, aside


def _related(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")


def _refused(problems: list[Problem], paths: Sequence[Path]) -> ProfileError:
    order = {str(path): number for number, path in enumerate(paths)}
    last = Location("", 2**31, 0)

    def key(problem: Problem) -> tuple[Any, ...]:
        where = problem.where or last
        return order.get(where.file, len(order)), where.line, where.column, problem.path, problem.message

    unique = sorted(set(problems), key=key)
    many = f"{len(unique)} mistakes" if len(unique) > 1 else "1 mistake"
    return ProfileError(f"{', '.join(order)}: {many}", problems=unique)


__all__ = ["LoadedProfile", "load", "read_environment"]
