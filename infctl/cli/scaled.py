"""`.infctl/<name>/scaled.yaml`: how many replicas `infctl scale` asked for, laid over the profile.

It is an overlay like any other: `infctl render -f infctl.yaml -f .infctl/<name>/scaled.yaml -o DIR` takes it
where infctl is left. It is loud wherever it holds, and gone as soon as the profile says the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from infctl.errors import Problem, ProfileError, UsageError
from infctl.stack import Layout

if TYPE_CHECKING:
    from infctl.profile.loading import LoadedProfile

REPLICAS_MAX = 64
BYTES_MAX = 64 * 1024
_HEAD = """\
# Written by `infctl scale`, and laid over the profile. `infctl scale MODEL=N` with the profile's own number,
# or that number in the profile, takes a line away again.
"""


def file_of(layout: Layout) -> Path:
    return layout.home / "scaled.yaml"


def read(layout: Layout) -> dict[str, int]:
    """Model -> replicas. Raises ProfileError for a file that cannot be understood."""
    path = file_of(layout)
    try:
        with path.open("rb") as file:
            raw = file.read(BYTES_MAX)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ProfileError(
            f"{path} cannot be read: {error.strerror}", hint="check the owner of that file"
        ) from None
    import yaml

    try:
        models = yaml.safe_load(raw)["models"]
        return {str(name): _count(model["replicas"]) for name, model in models.items()}
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError):
        raise ProfileError(
            f"{path} is not what infctl scale wrote", hint="remove it: then the profile's replicas hold"
        ) from None


def text(replicas: Mapping[str, int]) -> str:
    """Of the file; empty: there is to be none."""
    if not replicas:
        return ""
    lines = [f"  {name}: {{replicas: {count}}}" for name, count in replicas.items()]
    return _HEAD + "models:\n" + "\n".join(lines) + "\n"


def write(layout: Layout, replicas: Mapping[str, int]) -> None:
    """Raises EngineError."""
    from infctl.atomic import cannot
    from infctl.atomic import replace as replace_file

    path = file_of(layout)
    try:
        if not replicas:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise cannot("written", path, error) from None
    replace_file(path, text(replicas).encode(), mode=0o600)


def to_write(layout: Layout, replicas: Mapping[str, int]) -> Callable[[], Callable[[], None]]:
    """Writes them when it is called, and answers with what puts back what was there."""

    def write_them() -> Callable[[], None]:
        path = file_of(layout)
        before = path.read_bytes() if path.exists() else b""
        if before.decode("utf-8", "replace") != text(replicas):
            write(layout, replicas)
        return lambda: _put_back(path, before)

    return write_them


def _put_back(path: Path, before: bytes) -> None:
    from infctl.atomic import replace as replace_file

    if before:
        replace_file(path, before, mode=0o600)
    else:
        path.unlink(missing_ok=True)


def beyond(written: LoadedProfile, replicas: Mapping[str, int]) -> dict[str, int]:
    """What is left of `replicas` where the profile says the same, or has no such model any more."""
    models = written.profile.models
    return {
        name: count
        for name, count in replicas.items()
        if name in models and models[name].replicas not in (None, count)
    }


def over(written: LoadedProfile, replicas: Mapping[str, int]) -> LoadedProfile:
    """The profile with these numbers. Raises ProfileError for what they contradict, at its place there."""
    from infctl.profile.check import problems_of

    if not replicas:
        return written
    models = {
        name: model.model_copy(update={"replicas": replicas[name]}) if name in replicas else model
        for name, model in written.profile.models.items()
    }
    profile = written.profile.model_copy(update={"models": models})
    found = [written.problem(path, message, hint) for path, message, hint in problems_of(profile)]
    if found:
        raise ProfileError("the profile cannot be scaled so", problems=found)
    return replace(written, profile=profile)


def told(written: LoadedProfile, replicas: Mapping[str, int]) -> Iterator[Problem]:
    """One warning a model that does not run as its profile says."""
    for name, count in replicas.items():
        path = f"models/{name}/replicas"
        said = written.profile.models[name].replicas
        yield Problem(
            f"infctl scale asked for {count}, the profile says {said}",
            path,
            written.where(path),
            f"infctl scale {name}={said} goes back to it; replicas: {count} in the profile makes it last",
        )


def asked(words: list[str], written: LoadedProfile) -> dict[str, int]:
    """`chat=3` ... -> model and replicas. Raises UsageError for what is no such thing."""
    found: dict[str, int] = {}
    for word in words:
        name, equals, number = word.partition("=")
        models = written.profile.models
        if not equals:
            raise UsageError(f"{word!r} does not say how many", hint=f"infctl scale {name or 'chat'}=2")
        if name not in models:
            raise UsageError(f"there is no model {name!r}", hint=f"there are: {', '.join(models)}")
        if name in found:
            raise UsageError(f"{name} is named twice", hint="each model once")
        found[name] = _asked_count(name, number)
        if models[name].replicas is None and found[name] != 1:
            raise _without_number(name, written)
    return found


def _asked_count(name: str, number: str) -> int:
    try:
        count = int(number)
    except ValueError:
        raise UsageError(f"{number!r} is no number of replicas", hint=f"infctl scale {name}=2") from None
    if count < 1:
        raise UsageError(
            f"{name} cannot have {count} replicas",
            hint="1 at least; to stop serving a model, take it out of the profile, then infctl up",
        )
    if count > REPLICAS_MAX:
        raise UsageError(f"{name} cannot have {count} replicas", hint=f"{REPLICAS_MAX} at most")
    return count


def _without_number(name: str, written: LoadedProfile) -> ProfileError:
    path = f"models/{name}"
    problem = Problem(
        f"its service is called {name}, without a number: scaling adds and removes, and never renames",
        path,
        written.where(path),
        f"write replicas: 1 in the profile and infctl up: the service is then {name}0, and can be scaled",
    )
    return ProfileError(f"{name} cannot be scaled", problems=[problem])


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= REPLICAS_MAX:
        raise ValueError(value)
    return value
