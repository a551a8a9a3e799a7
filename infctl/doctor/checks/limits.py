"""Is there enough shared and locked memory for engines that pass tensors to each other and to a GPU?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, ok, skipped, warning
from infctl.engine import procfs
from infctl.figure import GIB, MIB, gib
from infctl.profile.schema import Profile

SHM_FOR_RANKS = GIB
"""Of tensor-parallel ranks of one replica; below it NCCL's buffers may not find room."""
SHM_ALONE = 64 * MIB
"""Docker's own; one rank needs little more than that for its messages."""
SHM = "/dev/shm"  # noqa: S108 - asked, not used
UNLIMITED = 2**63
SYS_RESOURCE = 24
"""The capability's bit: limits may be raised beyond the hard one."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """What the Docker engine's process may hand on."""

    memlock_hard: int
    """Bytes; UNLIMITED."""
    may_raise: bool
    rootless: bool = False


def look(case: Case) -> Iterator[Finding]:
    profile = case.profile
    if profile.runtime == "process":
        yield from judge_machine(_shm_free(), _own_memlock(), _ranks(profile))
        return
    yield from judge_shm(profile)
    wants = any(limit.name == "memlock" for c in case.containers for limit in c.limits)
    if not wants:
        return
    docker = case.docker()
    daemon = _daemon(rootless="rootless" in docker.options) if docker.is_local else None
    if daemon is None:
        yield skipped("the limits of the Docker engine's process are not seen from here")
        return
    yield judge_memlock(daemon)


def judge_shm(profile: Profile) -> Iterator[Finding]:
    """Containers bring their own /dev/shm, as large as the profile says."""
    size, ranks = profile.engines.shm_size, _ranks(profile)
    least = SHM_FOR_RANKS if ranks > 1 else SHM_ALONE
    if 0 < size < least:
        yield warning(
            f"engines.shm_size is {size // MIB} MiB",
            why=f"{ranks} ranks of one replica exchange tensors through it"
            if ranks > 1
            else "vLLM's processes exchange messages through it",
            fix=f"engines.shm_size: {'8GiB' if ranks > 1 else '1GiB'}",
            path="engines/shm_size",
        )
    else:
        yield ok(
            f"{gib(size)} of shared memory an engine" if size else "Docker's own shared memory an engine"
        )


def judge_memlock(daemon: Daemon) -> Finding:
    if daemon.memlock_hard >= UNLIMITED or (daemon.may_raise and not daemon.rootless):
        return ok("the Docker engine may lift the limit of locked memory")
    return failure(
        f"the Docker engine's own limit of locked memory is {daemon.memlock_hard // MIB} MiB, and it may not"
        " lift it",
        why="engines on a GPU ask for memlock: -1, and their start would be refused (error setting rlimit)",
        fix="as root: systemctl edit docker, [Service] LimitMEMLOCK=infinity, then restart Docker",
    )


def judge_machine(shm_free: int | None, memlock: int, ranks: int) -> Iterator[Finding]:
    """Processes share the machine's /dev/shm."""
    least = SHM_FOR_RANKS if ranks > 1 else SHM_ALONE
    if shm_free is not None and shm_free < least:
        yield warning(
            f"{SHM} has {shm_free // MIB} MiB free",
            why="the engines' processes exchange messages and tensors through it",
            fix=f"as root: mount -o remount,size={'8G' if ranks > 1 else '1G'} {SHM}",
        )
    elif shm_free is not None:
        yield ok(f"{SHM} has {gib(shm_free)} free")
    if ranks > 1 and memlock < UNLIMITED:
        yield warning(
            f"this user may lock {memlock // MIB} MiB of memory",
            why="pinned memory for copies between GPUs is locked",
            fix="ulimit -l unlimited, or memlock in /etc/security/limits.conf",
        )


def _ranks(profile: Profile) -> int:
    return max(model.tensor_parallel * model.pipeline_parallel for model in profile.models.values())


def _shm_free() -> int | None:
    try:
        found = os.statvfs(SHM)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _own_memlock() -> int:
    import resource  # noqa: PLC0415 - not on Windows

    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    return UNLIMITED if hard == resource.RLIM_INFINITY else hard


def _daemon(*, rootless: bool) -> Daemon | None:
    """None: no process of that name is seen."""
    for pid in procfs.pids():
        if _text(f"/proc/{pid}/comm").strip() == "dockerd":
            limits, status = _text(f"/proc/{pid}/limits"), _text(f"/proc/{pid}/status")
            return daemon_of(limits, status, rootless=rootless)
    return None


def daemon_of(limits: str, status: str, *, rootless: bool) -> Daemon | None:
    """From the texts of /proc/PID/limits and /proc/PID/status."""
    line = next((one for one in limits.splitlines() if one.startswith("Max locked memory")), "")
    bits = next((one.split()[1] for one in status.splitlines() if one.startswith("CapEff:")), "")
    words = line.split()
    if len(words) < 5:
        return None
    hard = UNLIMITED if words[4] == "unlimited" else int(words[4])
    return Daemon(hard, bool(bits and int(bits, 16) >> SYS_RESOURCE & 1), rootless)


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
