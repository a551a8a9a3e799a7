"""What the containers of one platform have in common: whose they are, and what they are denied. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from infctl.errors import Where
from infctl.host import Host
from infctl.plan import Plan
from infctl.profile.schema import Profile
from infctl.stack import Stack
from infctl.stack.containers import PLATFORM_LABEL, ROLE_LABEL, Container, Healthcheck, Mount, Role
from infctl.stack.names import ENV_FILE, Names

NOBODY = (10001, 10001)
"""Runs the containers where the profile's folder is root's."""
ENV_WHY = "read again at each start: after an edit, docker compose restart gateway"


@dataclass(frozen=True, slots=True)
class Shared:
    """All that a container of this platform is made from."""

    stack: Stack
    profile: Profile
    plan: Plan
    names: Names
    host: Host
    digests: Mapping[str, str]
    """Of images, by `repo:tag`."""
    where: Where

    @property
    def user(self) -> str:
        """Non-root, and the one who can read the files that are mounted."""
        return own(user(self.profile, self.host.owner))

    def user_for(self, path: str) -> str:
        """Of a container that owns `path`, or alone may read it: its owner, where that is somebody else."""
        uid, gid = self.host.owners.get(path, (0, 0))
        if self.profile.hardening.user is not None or uid in {0, user(self.profile, self.host.owner)[0]}:
            return self.user
        return own((uid, gid))

    @property
    def user_why(self) -> str:
        if self.profile.hardening.user is not None:
            return "hardening.user of the profile"
        if self.host.owner[0]:
            return "owns this folder, so that it can read what is mounted from it"
        return (
            "this folder is root's, and no container runs as root: it must be able to read .env and the key"
        )

    def image(self, written: str) -> str:
        """With its digest, where infctl.lock knows one."""
        digest = self.digests.get(written)
        return f"{written}@{digest}" if digest and "@" not in written else written

    def container(self, service: str, role: Role, image: str, **more: Any) -> Container:
        """With everything the profile denies all containers; `more` wins."""
        hard, logs = self.profile.hardening, self.profile.logs
        scratch = more.pop("scratch", "")
        kept: dict[str, Any] = {
            "read_only": hard.read_only,
            "cap_drop": hard.cap_drop,
            "security_opt": ("no-new-privileges:true",) if hard.no_new_privileges else (),
            "pids_limit": hard.pids_limit,
            "tmpfs": (("/tmp", f"size={hard.tmpfs_size},mode=1777{scratch}"),),  # noqa: S108 - the container's own
            "log_max_bytes": logs.max_size,
            "log_keep": logs.keep,
            "labels": ((ROLE_LABEL, role), (PLATFORM_LABEL, self.profile.name)),
        }
        return Container(service=service, role=role, image=self.image(image), **{**kept, **more})

    def env_mount(self) -> Mount:
        return Mount("bind", str(self.names.layout.env_file), ENV_FILE)

    def secrets(self, *names: str) -> tuple[Mount, ...]:
        """The folders of those secrets that are files of their own: a new one is a new file."""
        found = {name: self.names.secret_file(name) for name in names}
        return tuple(
            Mount("bind", str(file[0].parent), file[1].rpartition("/")[0])
            for file in found.values()
            if file is not None
        )

    def rendered(self, folder: str, target: str) -> Mount:
        """A folder of rendered files: a file that is replaced in it is seen inside."""
        return Mount("bind", str(self.names.layout.rendered / folder), target)


def user(profile: Profile, owner: tuple[int, int]) -> tuple[int, int]:
    """As whom containers run. `owner`: of the profile's folder."""
    if profile.hardening.user is not None:
        uid, _, gid = profile.hardening.user.partition(":")
        return int(uid), int(gid or uid)
    return owner if owner[0] else NOBODY


def own(ids: tuple[int, int]) -> str:
    return f"{ids[0]}:{ids[1]}"


def seconds(value: float) -> float:
    """Whole ones are what Docker keeps; rounded up."""
    return float(math.ceil(value))


def asks(url: str, *, python: str = "python3", start_period_s: float) -> Healthcheck:
    """GET in Python, which the image has; curl it may not have.

    Of each container it is asked for as long as that runs. urllib takes 50 ms of CPU to be imported, or 80
    with the packages that `site` looks at, and a socket takes 15.
    """
    at = urlsplit(url)
    code = (
        f"import socket; s = socket.create_connection(('{at.hostname}', {at.port}), 3); "
        f"s.sendall(b'GET {at.path} HTTP/1.1\\r\\nHost: {at.netloc}\\r\\nConnection: close\\r\\n\\r\\n'); "
        "said = s.recv(64); assert b' 200 ' in said, said"
    )
    return Healthcheck(("CMD", python, "-ISc", code), start_period_s=start_period_s)
