"""Where a model's facts come from: a folder, the Hugging Face cache, the hub, a package, or built in.

    of(text)              what `infctl size` is given: config.json, a folder, org/name, org/name@revision
    for_profile(profile)  every model of a profile; one that cannot be read does not hide the others

A hub id is looked for in the Hugging Face cache, among the configs fetched before, on the hub, and among the
configs that infctl carries. The network is asked for small files and headers only, and only for a hub id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from infctl import packaged
from infctl.errors import InfctlError, PlanError, Problem, Where
from infctl.models import ModelFacts, cache, hub
from infctl.models.config import facts
from infctl.models.files import (
    WHAT_TO_NAME,
    Files,
    beside,
    local,
    read_folder,
    read_text,
    stored_bytes,
    to_facts,
)
from infctl.models.known import known, known_beside
from infctl.profile.values import shown

if TYPE_CHECKING:  # its classes take a third of a second to build, and `infctl size` needs none of them
    from infctl.profile.schema import Profile
    from infctl.profile.schema.models import Source

TIMEOUT_S = 5.0
"""For a model's small files on the hub, and once more for the headers of its weights."""
MAIN = "main"
"""The branch that the hub gives where no revision is named."""

_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_HUB_ID_MAX = 193


@dataclass(frozen=True, slots=True)
class Found:
    """The models of a profile."""

    facts: dict[str, ModelFacts]
    """By the model's name in the profile; those of `problems` are missing."""
    problems: tuple[Problem, ...] = ()
    """At models/<name>/source, one a model."""


@dataclass(slots=True)
class _Library:
    """All places, for one run. The hub is connected to when first needed."""

    env: Mapping[str, str]
    offline: bool
    timeout_s: float
    carried_first: bool
    """The configs that infctl carries before the hub: no plan waits for a network it does not need."""
    hub: hub.Hub | None = field(default=None)

    def close(self) -> None:
        if self.hub is not None:
            self.hub.close()

    def model(self, hub_id: str, revision: str) -> ModelFacts:
        """Raises PlanError that says what was tried."""
        if (folder := cache.snapshot(hub_id, revision, self.env)) is not None:
            return to_facts(read_folder(folder, "Hugging Face cache"), hub_id)
        if (files := cache.kept(hub_id, revision, self.env)) is not None:
            return to_facts(files, hub_id)
        if self.carried_first and revision == MAIN and (found := carried(hub_id)) is not None:
            return found
        tried = f"not in the Hugging Face cache ({cache.hub_folder(self.env)})"
        if self.offline:
            error = hub.HubError("unreachable", "the hub was not asked (offline)")
        else:
            try:
                return self._fetched(hub_id, revision)
            except hub.HubError as refused:
                error = refused
        if (found := carried(hub_id)) is not None:
            note = f"{error}: planned with the config that infctl carries"
            other = "" if revision == MAIN else f", which is of {MAIN}, not of {revision}"
            return replace(found, warnings=(*found.warnings, note + other))
        raise PlanError(
            f"nothing is known of {hub_id}" + ("" if revision == MAIN else f" at {revision}"),
            problems=[Problem(tried), Problem(str(error), hint=error.hint)],
            hint="save its config.json and name that file or its folder, or let infctl ask the hub",
        )

    def _fetched(self, hub_id: str, revision: str) -> ModelFacts:
        if self.hub is None:
            self.hub = hub.connect(self.env, self.timeout_s)
        files = self.hub.model(hub_id, revision)
        found = to_facts(files, hub_id)  # first: what cannot be planned is not worth keeping
        if not files.warnings and (said := cache.keep(hub_id, revision, self.env, files)):
            return replace(found, warnings=(*found.warnings, said))
        return found


def of(
    text: str,
    *,
    env: Mapping[str, str],
    offline: bool | None = None,
    timeout_s: float = TIMEOUT_S,
    carried_first: bool = False,
) -> ModelFacts:
    """A config.json, a folder with one, or a hub id with an optional @revision.

    `offline` None: as HF_HUB_OFFLINE says. Raises PlanError with what was tried and what to do.
    """
    path = _path(text)
    if text.endswith(".json"):
        return to_facts(_config_file(path), text)
    if _is_folder(path, text):
        return to_facts(read_folder(path, f"folder {text}"), path.resolve().name)
    if text.endswith((".yaml", ".yml")):
        raise PlanError(f"{shown(text)} is a profile, not a model", hint=f"infctl plan -f {text}")
    hub_id, _, revision = text.partition("@")
    if not _HUB_ID.fullmatch(hub_id) or len(hub_id) > _HUB_ID_MAX or ("@" in text and not _sound(revision)):
        raise PlanError(f"{shown(text)} is no model", hint=WHAT_TO_NAME)
    library = _Library(env, hub.offline(env) if offline is None else offline, timeout_s, carried_first)
    try:
        return library.model(hub_id, revision or MAIN)
    finally:
        library.close()


def for_profile(
    profile: Profile,
    *,
    folder: Path,
    env: Mapping[str, str],
    where: Where,
    offline: bool | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Found:
    """Every model's facts. `folder`: what relative paths start from. Equal sources are read once.

    A config that infctl carries is taken before the hub is asked, so that a plan needs no network.
    """
    library = _Library(env, hub.offline(env) if offline is None else offline, timeout_s, carried_first=True)
    read: dict[tuple[str | None, ...], ModelFacts | InfctlError] = {}
    facts_of: dict[str, ModelFacts] = {}
    problems: list[Problem] = []
    try:
        for name, model in profile.models.items():
            source = model.source
            key = (source.hub, source.revision, source.path, source.package)
            if key not in read:
                read[key] = _one(source, library, folder)
            found = read[key]
            if isinstance(found, ModelFacts):
                facts_of[name] = found
            else:
                problems.append(_problem(found, f"models/{name}/source", where))
    finally:
        library.close()
    return Found(facts_of, tuple(problems))


def carried(hub_id: str) -> ModelFacts | None:
    """From a config that is part of infctl; None: not among them."""
    config = known(hub_id)
    if config is None:
        return None
    found = facts(config, name=hub_id, beside=known_beside(hub_id))
    return replace(found, origin="config carried by infctl, weights computed")


def _one(source: Source, library: _Library, folder: Path) -> ModelFacts | InfctlError:
    try:
        if source.path is not None:
            path = (folder / _path(source.path)).absolute()
            return to_facts(read_folder(path, f"folder {source.path}"), source.path)
        if source.package is not None:
            return _packaged(source.package, library)
        return library.model(source.hub or "", source.revision or MAIN)
    except InfctlError as error:
        return error


def _packaged(package: str, library: _Library) -> ModelFacts:
    """As unpacked, else as the same model on the hub. Raises UsageError, PlanError."""
    one = packaged.find(package)
    unpacked = packaged.folder(package, library.env)
    if (unpacked / "config.json").is_file():
        return to_facts(read_folder(unpacked, f"package {package}"), one.model)
    found = carried(one.model)
    return library.model(one.model, MAIN) if found is None else found


def _problem(error: InfctlError, path: str, where: Where) -> Problem:
    """An error as one problem of the profile: the first thing that is wrong, and where in its own file."""
    first = next(iter(error.problems), None)
    message = error.message
    if first is not None and first.message not in message:
        message = f"{message}: {first}" if len(error.problems) == 1 else f"{message}: {_all(error.problems)}"
    hints = [error.hint, *(problem.hint for problem in error.problems)]
    return Problem(message, path, where(path), "; ".join(dict.fromkeys(hint for hint in hints if hint)))


def _all(problems: tuple[Problem, ...]) -> str:
    some = [str(problem) for problem in problems[:3]]
    more = len(problems) - len(some)
    return "; ".join([*some, f"and {more} more"] if more > 0 else some)


def _config_file(path: Path) -> Files:
    """One file. Only beside a real config.json are the model's other files looked for."""
    text = read_text(path)
    if path.name != "config.json":
        return Files(text, str(path), f"{path.name}, weights computed")
    stored, said = stored_bytes(path.parent)
    return Files(text, str(path), f"{path}, {said}", beside(local(path.parent), text), stored)


def _path(text: str) -> Path:
    """`~` filled in. Raises PlanError for what no file can be called."""
    try:
        path = Path(text).expanduser()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # too long; a zero byte; nobody's home
        why = getattr(error, "strerror", None) or str(error)
        raise PlanError(f"{shown(text)} is no model: {why}", hint=WHAT_TO_NAME) from None
    return path


def _is_folder(path: Path, text: str) -> bool:
    """Something written as a path is one, whether or not it is there."""
    return bool(text) and (text.startswith((".", "/", "~")) or "\\" in text or path.is_dir())


def _sound(revision: str) -> bool:
    return bool(_REVISION.fullmatch(revision)) and ".." not in revision
