"""Profile -> facts -> plan -> stack -> files, on this machine. Starts nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from infctl.stack import Layout, Stack

if TYPE_CHECKING:
    from infctl.errors import Problem
    from infctl.gpus import Gpu
    from infctl.plan import Plan
    from infctl.profile.loading import LoadedProfile
    from infctl.profile.schema import Profile
    from infctl.render import RenderedFile


@dataclass(frozen=True)
class Built:
    """What the profile asks for, on this machine."""

    stack: Stack
    """Stamped with the digests of the files its services read."""
    files: tuple[RenderedFile, ...]
    notes: tuple[str, ...]
    """What an operator should know of it."""
    plan: Plan
    warnings: tuple[str, ...] = ()
    """What may go wrong with its memory, or is not known of it."""


def assemble(
    loaded: LoadedProfile,
    layout: Layout,
    env: Mapping[str, str],
    running: Stack | None = None,
    *,
    sized: bool = True,
    pinned: bool = True,
) -> Built:
    """`env`: `.env` with the process's environment over it. `running`: what runs now, which stays where it is
    as good as what would be planned without it. `sized` False: by count where that is enough,
    for looking only. `pinned` False: images by their tags, whatever infctl.lock says of them.

    Raises ProfileError, PlanError.
    """
    from infctl import files, host, image_lock
    from infctl.gpus import for_profile
    from infctl.profile.documented import documented
    from infctl.profile.secrets import generated_secrets, secret_values
    from infctl.render import render
    from infctl.stack.build import build, notes, serves_http3
    from infctl.stack.names import Names

    profile = loaded.profile
    own = _beyond_env_file(profile, layout)
    here = host.look(own, folder=loaded.base, files=Names(profile, layout).owned)
    cards = for_profile(profile.gpus, loaded.where)
    counted = None if sized else _by_count(loaded, cards)
    plan, warnings = (counted, ()) if counted is not None else _plan(loaded, cards, env, running)
    # What infctl makes up itself is there by the time anything starts.
    secrets = {*secret_values(loaded, env), *generated_secrets(profile)}
    digests = image_lock.read(loaded.base) if pinned and profile.runtime == "docker" else {}
    stack = build(profile, plan, layout, here, secrets=secrets, digests=digests, where=loaded.where)
    http3 = serves_http3(profile, here)
    said = documented(loaded)
    rendered = render(stack, profile, plan, layout, http3=http3, variables=said, where=loaded.where)
    told = tuple(f"{problem}" + (f" ({problem.hint})" if problem.hint else "") for problem in warnings)
    told += _out_of_reach(loaded, layout)
    stamped = files.stamped(stack, rendered, layout.rendered)
    return Built(stamped, rendered, notes(profile, plan, here), plan, told)


def _beyond_env_file(profile: Profile, layout: Layout) -> dict[str, str]:
    """The environment, without what the gateway reads in `.env` just the same: who has sourced that file into
    the shell, as the lines to copy say, changes nothing by it.
    """
    from infctl.cli import env_file
    from infctl.profile.environment import VARIABLES
    from infctl.stack.names import gateway_secrets

    there = env_file.read(layout.env_file)
    read_there = {*gateway_secrets(profile), *VARIABLES}
    return {
        name: value
        for name, value in os.environ.items()
        if not (name in read_there and value and there.get(name) == value)
    }


def _out_of_reach(loaded: LoadedProfile, layout: Layout) -> tuple[str, ...]:
    """What this process has in its environment and containers will not: they read `.env` alone."""
    from infctl.cli import env_file
    from infctl.profile.environment import VARIABLES
    from infctl.profile.schema import SecretSource
    from infctl.profile.secrets import secret_uses

    if loaded.profile.runtime != "docker":
        return ()
    there = env_file.read(layout.env_file)
    sources = loaded.profile.secrets
    names = dict.fromkeys(
        source.env or use.name
        for use in secret_uses(loaded.profile)
        if (source := sources.get(use.name, SecretSource())).file is None
    )
    unheard = [name for name in names if os.environ.get(name) and os.environ[name] != there.get(name)]
    # A limit that .env leaves open is rendered into gateway.yaml.
    unheard += [
        name
        for name in VARIABLES
        if os.environ.get(name) and os.environ[name] != there.get(name, os.environ[name])
    ]
    return tuple(
        f"{name} of the environment does not reach containers: they read {layout.env_file}, so put it there"
        for name in unheard
    )


def _by_count(loaded: LoadedProfile, cards: tuple[Gpu, ...]) -> Plan | None:
    """Quick; None: only bytes say whether it fits."""
    from infctl.errors import PlanError
    from infctl.plan import place

    try:
        return place(loaded.profile, cards, loaded.where)
    except PlanError:
        return None


def _plan(
    loaded: LoadedProfile, cards: tuple[Gpu, ...], env: Mapping[str, str], running: Stack | None
) -> tuple[Plan, tuple[Problem, ...]]:
    """From the models' configs alone.

    What engines measured here makes `infctl plan` more exact, but would make a platform look changed after
    its first start.
    """
    from infctl.models.source import for_profile
    from infctl.plan import plan
    from infctl.vllm import settings_in

    on_cpu = loaded.profile.gpus.kind == "cpu"
    found = for_profile(
        loaded.profile,
        folder=loaded.base,
        env=env,
        where=loaded.where,
        offline=True if on_cpu else None,  # on a CPU nothing is decided from it: no reason to wait for a hub
    )
    engines = running.services if running is not None else ()
    flags = {service.name: settings_in(service.argv) for service in engines if service.role == "engine"}
    made = plan(loaded.profile, cards, found.facts, where=loaded.where, running=flags)
    if on_cpu:
        return made, made.warnings
    said = {problem.path for problem in found.problems}
    return made, (*found.problems, *(problem for problem in made.warnings if problem.path not in said))


def certificate(loaded: LoadedProfile, layout: Layout) -> str:
    """Make the edge's self-signed certificate where it is needed, or check the one that is named.

    Of containers, all that they mount is made ready (see `mounts`).

    Answers with what was made, in words; empty: nothing. Raises ProfileError, EngineError.
    """
    from infctl.cli import mounts

    made = _certificate(loaded, layout)
    mounts.make_ready(loaded.profile, layout)
    return made


def _certificate(loaded: LoadedProfile, layout: Layout) -> str:
    from infctl import tls
    from infctl.stack.names import Names

    edge = loaded.profile.edge
    if not edge.enabled:
        return ""
    now = datetime.now(UTC)
    files = Names(loaded.profile, layout).tls_files
    if edge.tls.makes_certificate:
        return tls.self_signed(files[0].parent, tls.names_of(edge.server_name), now=now).note
    where = (loaded.where("edge/tls/certificate"), loaded.where("edge/tls/key"))
    tls.check(files[0], files[1], now=now, where=where)
    return ""
