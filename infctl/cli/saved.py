"""A diff that was saved to be applied later, exactly as it was read: `infctl diff -o FILE`, `infctl up FILE`.

It holds what was wanted and what was found then. Before it is applied all of it is looked at again; where the
world or the files have moved, it is refused with what moved. No secret is in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infctl import __version__
from infctl.errors import EngineError, Problem, UsageError
from infctl.stack import Stack

if TYPE_CHECKING:
    from infctl.cli.change import Look
    from infctl.cli.project import Project
    from infctl.cli.wanted import Wanted
    from infctl.engine.model import Observed

FORMAT = 1
KIND = "infctl diff"
BYTES_MAX = 64 * 1024 * 1024
MOVED_MAX = 20
"""Told of what moved; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Saved:
    name: str
    stack: Stack
    profiles: Mapping[Path, str]
    """Profile and overlays -> SHA-256."""
    scale: Mapping[str, int]
    """What `infctl scale` said of replicas."""
    files: Mapping[str, str]
    """Rendered file as it would be -> SHA-256."""
    found: Mapping[str, str]
    """Rendered file as it lay there -> new, changed, hand_edited, gone and a digest of the difference."""
    observed: Mapping[str, str]
    """Service -> fingerprint of what ran."""
    actions: tuple[tuple[str, str, str], ...]
    """(kind, service, cause)."""
    writer: str = __version__


def of(project: Project, wanted: Wanted, seen: Look) -> Saved:
    """What is saved now, or compared with what was saved. Raises EngineError where a file cannot be read."""
    from infctl.atomic import cannot

    profiles = {}
    for path in project.files:
        try:
            profiles[path.absolute()] = _digest(path.read_bytes())
        except OSError as error:
            raise cannot("read", path, error) from None
    return Saved(
        name=project.name,
        stack=wanted.stack,
        profiles=profiles,
        scale=dict(project.scale),
        files={file.path: _digest(file.text.encode()) for file in wanted.files},
        found={change.path: f"{change.kind} {_digest(change.diff.encode())}" for change in seen.changes},
        observed=dict(_fingerprints(seen.setting.observed)),
        actions=tuple((action.kind, action.service, action.cause) for action in seen.actions),
    )


def refuse_if_moved(then: Saved, now: Saved) -> None:
    """Raises EngineError with everything that is not as it was."""
    moved = list(_moved(then, now))
    if not moved:
        return
    told = [Problem(text) for text in moved[:MOVED_MAX]]
    if len(moved) > MOVED_MAX:
        told.append(Problem(f"and {len(moved) - MOVED_MAX} more"))
    raise EngineError(
        "this diff was saved before something moved, and is not applied",
        problems=told,
        hint="infctl diff shows what would change now; -o saves it anew",
    )


def write(path: Path, saved: Saved) -> None:
    """Readable by its owner alone. Raises EngineError."""
    from infctl.atomic import replace as replace_file

    data = {
        "kind": KIND,
        "version": FORMAT,
        **asdict(saved),
        "profiles": {str(file): digest for file, digest in saved.profiles.items()},
    }
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint="name a file, such as change.json")
    replace_file(path, (json.dumps(data, indent=1) + "\n").encode(), mode=0o600)


def read(path: Path) -> Saved:
    """Raises UsageError for what is not a saved diff, or a newer infctl's."""
    from infctl.engine import codec

    if path.suffix in (".yaml", ".yml"):
        raise UsageError(f"{path} is no saved diff but a profile, by its name", hint=f"infctl up -f {path}")
    try:
        with path.open("rb") as file:
            raw = file.read(BYTES_MAX)
    except FileNotFoundError:
        raise UsageError(
            f"there is no file {path}",
            hint="infctl diff -o FILE saves one; up takes no names of services: it changes what has to be",
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    try:
        data = json.loads(raw)
        if data["kind"] != KIND:
            raise _not_ours(path)
        version, writer = int(data["version"]), str(data["writer"])
        if version > FORMAT:
            raise UsageError(
                f"{path} was saved by infctl {writer} in format {version}; this one reads {FORMAT}",
                hint=f"use infctl {writer} or newer, or save it anew with this one",
            )
        return Saved(
            name=str(data["name"]),
            stack=codec.stack_from_json(data["stack"]),
            profiles={Path(file): str(digest) for file, digest in data["profiles"].items()},
            scale={str(name): int(count) for name, count in data["scale"].items()},
            files=_texts(data["files"]),
            found=_texts(data["found"]),
            observed=_texts(data["observed"]),
            actions=tuple((str(kind), str(name), str(why)) for kind, name, why in data["actions"]),
            writer=writer,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _not_ours(path) from None


# Private


def _not_ours(path: Path) -> UsageError:
    return UsageError(f"{path} is not a diff that infctl saved", hint="infctl diff -o FILE saves one")


def _moved(then: Saved, now: Saved) -> Iterator[str]:
    """In sentences, the likeliest causes first."""
    if then.name != now.name:
        yield f"it was saved of {then.name}, and this is {now.name}"
        return
    was, has = list(then.profiles.items()), list(now.profiles.items())
    if len(was) != len(has):
        yield f"it was made from {len(was)} profile files, and there are {len(has)} now"
    for (file, digest), (other, present) in zip(was, has, strict=False):
        if digest != present:
            yield f"{other} is not as {file} was then" if other != file else f"{file} was changed"
    if then.scale != now.scale:
        yield "infctl scale changed the number of replicas"
    yield from _differences(then.observed, now.observed, "what runs has changed")
    yield from _differences(then.found, now.found, "its rendered file was changed")
    if then.writer != now.writer:
        yield f"it was saved by infctl {then.writer}, and this is {now.writer}"
    now = replace(now, stack=_with_gaps_of(then.stack, now.stack))
    if then.stack != now.stack or then.files != now.files:
        yield from _stacks(then, now)
    elif then.actions != now.actions:
        yield from _actions(then, now)


def _differences(then: Mapping[str, str], now: Mapping[str, str], what: str) -> Iterator[str]:
    yield from (f"{name}: {what}" for name in _unlike(then, now))


def _stacks(then: Saved, now: Saved) -> Iterator[str]:
    """The same profile gives something else: the environment, the machine, or what is known of the models."""
    why = "what is wanted has changed (a variable, this machine, or the models' files)"
    services = [{service.name: service for service in one.stack.services} for one in (then, now)]
    names = _unlike(*services) or _unlike(then.files, now.files)
    yield from (f"{name}: {why}" for name in names)


def _unlike(then: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    return [name for name in dict.fromkeys((*then, *now)) if then.get(name) != now.get(name)]


def _with_gaps_of(then: Stack, now: Stack) -> Stack:
    """A file that was not there yet, keys and a certificate that `up` itself makes, may hold anything now."""
    absent = {file.path for service in then.services for file in service.files if not file.sha256}
    services = (
        replace(
            service,
            files=tuple(replace(f, sha256="") if f.path in absent else f for f in service.files),
        )
        for service in now.services
    )
    return replace(now, services=tuple(services))


def _actions(then: Saved, now: Saved) -> Iterator[str]:
    gone = [action for action in then.actions if action not in now.actions]
    come = [action for action in now.actions if action not in then.actions]
    yield from (f"{name}: no longer to {kind} ({why})" for kind, name, why in gone)
    yield from (f"{name}: now to {kind} ({why})" for kind, name, why in come)


def _fingerprints(observed: Observed) -> Iterator[tuple[str, str]]:
    """Of what a person would call another thing running: not its process id, nor its state of the moment."""
    for service in observed.services:
        runs = "runs" if service.state not in ("stopped", "failed") else "down"
        yield service.name, f"{runs} {service.spec_hash} {service.files_hash}"


def _texts(data: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in data.items()}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
