"""Which secrets a profile needs, which are missing, which infctl makes up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infctl.errors import Problem, ProfileError
from infctl.profile.loading import LoadedProfile
from infctl.profile.schema import Profile, SecretRef, SecretSource
from infctl.profile.schema.base import Section

FILE_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class SecretUse:
    """One field that needs one secret."""

    name: str
    path: str
    message: str
    required: bool
    """Without it the platform does not start."""


def secret_uses(profile: Profile) -> tuple[SecretUse, ...]:
    """All of them, in profile order; a part that is switched off uses none."""
    return tuple(_uses(profile, profile, ""))


def required_secrets(profile: Profile) -> tuple[SecretUse, ...]:
    return tuple(use for use in secret_uses(profile) if use.required)


def generated_secrets(profile: Profile) -> tuple[str, ...]:
    """Variables that are made up at random, and written to .env, where they are missing."""
    return tuple(name for name, source in profile.secrets.items() if source.generate)


def missing_secrets(loaded: LoadedProfile, env: Mapping[str, str]) -> tuple[Problem, ...]:
    """One problem a secret that is needed and not there. Those infctl makes up itself are not missing."""
    generated = set(generated_secrets(loaded.profile))
    values = secret_values(loaded, env)
    problems: dict[str, Problem] = {}
    for use in required_secrets(loaded.profile):
        if use.name in values or use.name in generated or use.name in problems:
            continue
        source = loaded.profile.secrets.get(use.name, SecretSource())
        variable = source.env or use.name
        place = f"the file {source.file}" if source.file else f"{loaded.env_file}: {variable}=..."
        why = f": {use.message}" if use.message else ""
        state = "is empty" if source.file or variable in env else "is not set"
        problems[use.name] = Problem(
            f"{variable} {state}{why}", use.path, loaded.where(use.path), f"put it into {place}"
        )
    return tuple(problems.values())


def secret_values(loaded: LoadedProfile, env: Mapping[str, str]) -> dict[str, str]:
    """Secret's name -> value, for those that have one. Raises ProfileError for a file that cannot be read."""
    values: dict[str, str] = {}
    for use in secret_uses(loaded.profile):
        source = loaded.profile.secrets.get(use.name, SecretSource())
        value = (
            _from_file(loaded, use.name, source.file) if source.file else env.get(source.env or use.name, "")
        )
        if value:
            values[use.name] = value
    return values


def _from_file(loaded: LoadedProfile, name: str, file: str) -> str:
    path = loaded.resolve(file)
    try:
        with path.open("rb") as handle:
            return handle.read(FILE_BYTES_MAX).decode("utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "not UTF-8"
        problem = loaded.problem(
            f"secrets/{name}/file", f"{path} cannot be read: {said}", "a readable text file"
        )
        raise ProfileError(f"the secret {name} cannot be read", problems=[problem]) from None


def _uses(profile: Profile, node: Any, path: str, *, written: bool = True) -> Iterator[SecretUse]:
    if isinstance(node, SecretRef):
        source = profile.secrets.get(node.name, SecretSource())
        # A default names a variable that may be set; what a person writes must be set.
        required = (written or bool(node.message)) and not source.optional
        yield SecretUse(node.name, path, node.message, required)
    elif isinstance(node, Section):
        if getattr(node, "enabled", True) is False:
            return
        for field in type(node).model_fields:
            below = f"{path}/{field}" if path else field
            yield from _uses(profile, getattr(node, field), below, written=field in node.model_fields_set)
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _uses(profile, value, f"{path}/{key}")
    elif isinstance(node, tuple):
        for index, value in enumerate(node):
            yield from _uses(profile, value, f"{path}/{index}")
