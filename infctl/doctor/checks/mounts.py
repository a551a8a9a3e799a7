"""Can each service's user read every file that is mounted for it?

The engine itself mounts, so folders above a mounted one do not matter; what lies in it does, and a link in it
that leads out of it leads nowhere inside the container.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, ok, skipped, warning
from infctl.stack.containers import Container, Mount
from infctl.stack.names import Names

ENTRIES_MAX = 5000
"""Looked at in one mounted folder: a cache of weights may hold more, and they are alike."""
SHOWN = 3
"""Files named for one mount."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder or link, as the host's file system has it."""

    path: str
    mode: int
    """As stat says it, with the kind."""
    uid: int
    gid: int
    link: str = ""
    """Where a link points."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads, inside the container."""

    uid: int
    gid: int
    overrides: bool = False
    """Root with the right to pass over modes."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """One mount, and all that was found in it."""

    service: str
    mount: Mount
    reader: Reader | None
    """None: the user of the image, who is not known."""
    entries: tuple[Entry, ...]
    """The mounted path first; empty: it is not there."""
    needed: frozenset[str]
    """Paths the service reads; empty: everything."""
    named: Mapping[str, str] = field(default_factory=dict)
    """Path -> where the profile names it."""
    made: bool = False
    """infctl makes it before it starts anything."""
    mended: frozenset[str] = frozenset()
    """Files that `infctl up` lets the containers' group read; Compose by itself does not."""


def look(case: Case) -> Iterator[Finding]:
    if not case.docker().is_local:
        yield skipped("Docker runs on another machine: see the check remote")
        return
    yield from judge(tuple(mounted(case)))


def judge(found: Sequence[Mounted]) -> Iterator[Finding]:
    good = 0
    for one in found:
        findings = tuple(_one(one))
        yield from findings
        good += not findings and bool(one.entries)
    waiting = sorted({one.mount.source for one in found if not one.entries and one.made})
    if good:
        yield ok(f"{good} mounted files and folders can be read by their services")
    if waiting:
        first = ", ".join(Path(path).name for path in waiting[:SHOWN])
        more = f" and {len(waiting) - SHOWN} more" if len(waiting) > SHOWN else ""
        yield skipped(f"not there yet, infctl up writes them: {first}{more}")


def _one(one: Mounted) -> Iterator[Finding]:
    source = one.mount.source
    if not one.entries:
        if not one.made:
            yield failure(
                f"{source} is not there, and {one.service} mounts it",
                why="a container does not start without what it mounts",
                fix="make it, or correct the path in the profile",
                path=_path(one, source),
            )
        return
    away = [entry for entry in one.entries if entry.link and _leads_out(entry, source)]
    lost = [entry for entry in away if not one.needed or _needs(one.needed, entry.path)]
    if lost:
        yield failure(
            f"{_named(lost)}: a link out of the mounted folder, and inside {one.service} it leads nowhere",
            why=f"{lost[0].path} points to {lost[0].link}; only {source} is mounted",
            fix="name the file the link leads to (readlink -f), or copy it into the folder",
            path=_path(one, lost[0].path),
        )
    if one.reader is None or one.reader.overrides:
        return
    shut = [entry for entry in one.entries if not entry.link and not _opens(entry, one)]
    shut = [entry for entry in shut if not one.needed or _needs(one.needed, entry.path)]
    if not shut:
        return
    who = f"{one.reader.uid}:{one.reader.gid}"
    what = "written" if not one.mount.read_only and _readable(shut[0], one.reader) else "read"
    mends = all(entry.path in one.mended for entry in shut)
    found = warning if mends else failure
    bits = "g+rwx" if what == "written" else "g+rx" if stat.S_ISDIR(shut[0].mode) else "g+r"
    by_hand = f"sudo chgrp {one.reader.gid} {shut[0].path} && sudo chmod {bits} {shut[0].path}"
    yield found(
        f"{_named(shut)} cannot be {what} by {one.service}, which runs as {who}",
        why=f"it belongs to {shut[0].uid}:{shut[0].gid}, mode {stat.S_IMODE(shut[0].mode):04o}",
        fix=f"infctl up does it; before a docker compose up: {by_hand}"
        if mends
        else f"{by_hand}; or hardening.user: the one it belongs to",
        path=_path(one, shut[0].path) or "hardening/user",
    )


def _path(one: Mounted, file: str) -> str:
    """Where the profile names this file, else another one of the mount."""
    return one.named.get(file) or next(iter(one.named.values()), "")


def _leads_out(entry: Entry, source: str) -> bool:
    """An absolute link means the container's own tree, a relative one may climb out of the mount."""
    if entry.path == source:
        return False  # the engine follows it when it mounts
    if entry.link.startswith("/"):
        return True
    target = os.path.normpath(Path(entry.path).parent / entry.link)
    return target != source and not target.startswith(f"{source}/")


def _opens(entry: Entry, one: Mounted) -> bool:
    reader = one.reader
    if reader is None:
        return True
    writes = not one.mount.read_only and entry.path == one.mount.source
    return _readable(entry, reader) and (not writes or _bits(entry, reader) & 2 == 2)


def _readable(entry: Entry, reader: Reader) -> bool:
    wanted = 5 if stat.S_ISDIR(entry.mode) else 4
    return _bits(entry, reader) & wanted == wanted


def _bits(entry: Entry, reader: Reader) -> int:
    """Rwx of the class that this reader falls into; the first that fits decides, as in the kernel."""
    if reader.uid == entry.uid:
        return entry.mode >> 6 & 7
    if reader.gid == entry.gid:
        return entry.mode >> 3 & 7
    return entry.mode & 7


def _needs(needed: Collection[str], path: str) -> bool:
    """The path itself, or a folder on the way to something needed."""
    return any(one == path or one.startswith(f"{path}/") for one in needed)


def _named(entries: Sequence[Entry]) -> str:
    first = ", ".join(entry.path for entry in entries[:SHOWN])
    return first + (f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else "")


# The edge


def mounted(case: Case) -> Iterator[Mounted]:
    """Each mount of each container; two containers with one user and one mount count once."""
    if case.layout is None:
        return
    named = _named_in_profile(case)
    rendered = {str(case.layout.rendered / file.path) for file in case.rendered}
    # Where these are missing, the checks env and certificate say so.
    tls = Names(case.profile, case.layout).tls_files if case.profile.edge.enabled else ()
    told = {str(case.layout.env_file), *map(str, tls)}
    seen: set[tuple[str, str, bool]] = set()
    for container in case.containers:
        for mount in container.mounts:
            key = (container.user, mount.source, mount.read_only)
            if mount.kind != "bind" or key in seen:
                continue
            seen.add(key)
            inside = {path for path in (*rendered, *named) if _within(path, mount.source)}
            found = tuple(entries(Path(mount.source)))
            if not found and inside & told:
                continue
            yield Mounted(
                service=container.service,
                mount=mount,
                reader=reader_of(container),
                entries=found,
                needed=frozenset(inside - {mount.source}),
                named={path: named[path] for path in sorted(inside) if named.get(path)},
                made=bool(inside & rendered) or mount.source in _made(case),
                mended=_mended(case),
            )


def reader_of(container: Container) -> Reader | None:
    """None: a user by name, or the image's own."""
    uid, _, gid = container.user.partition(":")
    if not uid.isdecimal():
        return None
    keeps = "ALL" not in container.cap_drop or "DAC_OVERRIDE" in container.cap_add
    return Reader(int(uid), int(gid) if gid.isdecimal() else 0, overrides=uid == "0" and keeps)


def entries(source: Path) -> Iterator[Entry]:
    """The path and all below it. What this user may not look into ends there."""
    waiting, count = [source], 0
    while waiting and count < ENTRIES_MAX:
        path = waiting.pop()
        count += 1
        try:
            found = path.stat() if path == source else path.lstat()
            link = str(path.readlink()) if stat.S_ISLNK(found.st_mode) else ""
        except OSError:
            continue
        yield Entry(str(path), found.st_mode, found.st_uid, found.st_gid, link)
        if stat.S_ISDIR(found.st_mode):
            try:
                waiting += sorted(path.iterdir(), reverse=True)
            except OSError:
                continue


def _named_in_profile(case: Case) -> Mapping[str, str]:
    """Absolute path -> where the profile names it."""
    profile, layout = case.profile, case.layout
    if layout is None:
        return {}
    names = Names(profile, layout)
    found = {str(layout.env_file): ""}
    if profile.edge.enabled:
        certificate, key = names.tls_files
        named = not profile.edge.tls.makes_certificate
        found |= {
            str(certificate): "edge/tls/certificate" if named else "",
            str(key): "edge/tls/key" if named else "",
        }
    for name, model in profile.models.items():
        if model.chat_template is not None:
            found[names.file(model.chat_template)] = f"models/{name}/chat_template"
        if model.source.path is not None:
            found[names.file(model.source.path)] = f"models/{name}/source"
    return found


def _mended(case: Case) -> frozenset[str]:
    """Private files of infctl's own making, and `.env`: only root gives them to another group."""
    if case.layout is None or not _is_root():
        return frozenset()
    tls = Names(case.profile, case.layout).tls_files if case.profile.edge.tls.makes_certificate else ()
    return frozenset({str(case.layout.env_file), *map(str, tls)})


def _made(case: Case) -> frozenset[str]:
    """Folders that infctl makes before the first start."""
    if case.layout is None:
        return frozenset()
    names = Names(case.profile, case.layout)
    return frozenset({names.file(case.profile.engines.cache)})


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
