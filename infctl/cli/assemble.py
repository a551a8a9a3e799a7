"""Profile -> facts -> plan -> stack -> files, on this machine. Starts nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from infctl.stack import Layout, Stack

if TYPE_CHECKING:
    from infctl.plan import Plan
    from infctl.profile.loading import LoadedProfile
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


def assemble(loaded: LoadedProfile, layout: Layout, env: Mapping[str, str]) -> Built:
    """`env`: `.env` with the process's environment over it. Raises ProfileError, PlanError."""
    from infctl import files, host
    from infctl.gpus import for_profile
    from infctl.plan import place
    from infctl.profile.secrets import generated_secrets, secret_values
    from infctl.render import render
    from infctl.stack.build import build, notes, serves_http3

    profile = loaded.profile
    here = host.look(os.environ)
    plan = place(profile, for_profile(profile.gpus), loaded.where)
    # What infctl makes up itself is there by the time anything starts.
    secrets = {*secret_values(loaded, env), *generated_secrets(profile)}
    stack = build(profile, plan, layout, here, secrets=secrets, where=loaded.where)
    http3 = serves_http3(profile, here)
    rendered = render(stack, profile, layout, http3=http3, where=loaded.where)
    return Built(files.stamped(stack, rendered, layout.rendered), rendered, notes(profile, plan, here), plan)


def certificate(loaded: LoadedProfile, layout: Layout) -> str:
    """Make the edge's self-signed certificate where it is needed, or check the one that is named.

    Answers with what was made, in words; empty: nothing. Raises ProfileError, EngineError.
    """
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
