"""Are counts kept on a disk of this machine? SQLite shares memory between processes; a network lends none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, ok, warning
from infctl.stack.names import Names

MOUNTS = Path("/proc/self/mounts")
REMOTE = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs",
    "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "smb3", "smbfs", "vboxsf",
    "virtiofs",
})  # fmt: skip
"""Types of file systems whose files are another machine's."""


def look(case: Case) -> Iterator[Finding]:
    if case.layout is None:
        return
    docker = case.engine()
    if case.profile.runtime == "docker":
        if docker is None or not docker.is_local or not docker.root:
            return
        folder = Path(docker.root)
    else:
        folder = Path(Names(case.profile, case.layout).store).parent
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return  # not Linux: nothing is served here
    yield judge(str(folder), file_system(mounts, folder))


def judge(folder: str, kind: str) -> Finding:
    """`kind`: of the file system, as the kernel calls it; empty: not known."""
    if kind in REMOTE:
        return warning(
            f"{folder} is on a file system of another machine ({kind})",
            why="what tenants used is counted there, and SQLite can lose counts on such a disk",
            fix="a folder on a disk of this machine; or gateway.store: {kind: redis, url: ...}",
            path="gateway/store",
        )
    return ok(f"{folder}: counts are kept on a disk of this machine")


def file_system(mounts: str, path: Path) -> str:
    """Its type, by /proc/self/mounts; empty where that says nothing of the path."""
    best: tuple[int, str] = (-1, "")
    for line in mounts.splitlines():
        words = line.split(" ")
        if len(words) < 3:
            continue
        point = PurePosixPath(words[1].replace("\\040", " "))
        # Of two mounts at one place the later one is seen.
        if path.is_relative_to(point) and len(point.parts) >= best[0]:
            best = len(point.parts), words[2]
    return best[1]
