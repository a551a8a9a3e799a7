"""Is `.env` there, readable by its owner alone, and does it hold what the containers will read from it?"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infctl.doctor.case import Case
from infctl.doctor.checks.mounts import reader_of
from infctl.doctor.finding import Finding, failure, ok, skipped, warning
from infctl.profile.secrets import generated_secrets, secret_uses

FILE_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Seen:
    """`.env` as it lies there. Values are looked at, never repeated."""

    file: Path
    exists: bool = True
    mode: int = 0o600
    gid: int = -1
    why_unreadable: str = ""
    values: Mapping[str, str] | None = None
    not_understood: tuple[int, ...] = ()
    """Numbers of lines that set nothing."""


def look(case: Case) -> Iterator[Finding]:
    if case.layout is None:
        return
    profile = case.profile
    kept = {use.name for use in secret_uses(profile)}
    variables = {profile.secrets[name].env or name if name in profile.secrets else name for name in kept}
    from_files = {name for name in kept if name in profile.secrets and profile.secrets[name].file}
    yield from judge(
        seen(case.layout.env_file),
        used=variables - from_files,
        generated=set(generated_secrets(profile)),
        shell=case.shell,
        in_containers=profile.runtime == "docker",
        readers=frozenset(reader.gid for reader in map(reader_of, case.containers) if reader is not None),
    )


def judge(
    found: Seen,
    *,
    used: Collection[str],
    generated: Collection[str],
    shell: Mapping[str, str],
    in_containers: bool,
    readers: Collection[int] = (),
) -> Iterator[Finding]:
    """`used`: variables of secrets. `shell`: the environment of whoever runs infctl. `readers`: groups of the
    containers, which may read the file.
    """
    if not found.exists:
        yield _missing(found, used, generated, shell, in_containers=in_containers)
        return
    if found.why_unreadable:
        yield failure(
            f"{found.file} cannot be read: {found.why_unreadable}",
            why="the keys of the platform are in it",
            fix=f"sudo chown $USER {found.file}; it holds NAME=value lines in UTF-8",
        )
        return
    values = found.values or {}
    group = found.mode & (stat.S_IWGRP if found.gid in readers else stat.S_IRWXG)
    if group or found.mode & stat.S_IRWXO:
        yield warning(
            f"{found.file} can be read by others on this machine (mode {found.mode:04o})",
            why="whoever reads it may call the models and the control plane",
            fix=f"chmod {'640' if found.gid in readers else '600'} {found.file}",
        )
    if found.not_understood:
        lines = ", ".join(str(number) for number in found.not_understood[:5])
        yield warning(
            f"{found.file}: line {lines} sets nothing",
            why="only NAME=value counts",
            fix="correct the line, or put a # before it",
        )
    yield from _other_values(found.file, values, used, shell, in_containers=in_containers)
    yield ok(f"{found.file} sets {len([name for name in values if name in used])} of {len(used)} secrets")


def _missing(
    found: Seen,
    used: Collection[str],
    generated: Collection[str],
    shell: Mapping[str, str],
    *,
    in_containers: bool,
) -> Finding:
    if not used or set(used) <= set(generated):
        return ok(f"there is no {found.file} yet: infctl up writes what it makes up itself")
    if not in_containers and all(shell.get(name) for name in used):
        return skipped("there is no .env, and every secret is set in the environment")
    return failure(
        f"there is no {found.file}",
        why="the containers read their keys from it" if in_containers else "keys are looked for in it",
        fix=f"cp .env.example .env, chmod 600 .env, and set {', '.join(sorted(used)[:4])}",
    )


def _other_values(
    file: Path,
    values: Mapping[str, str],
    used: Collection[str],
    shell: Mapping[str, str],
    *,
    in_containers: bool,
) -> Iterator[Finding]:
    """What the shell says and the file does not: infctl believes the shell, containers read the file."""
    for name in sorted(used):
        said = shell.get(name)
        if not said or said == values.get(name):
            continue
        if in_containers:
            there = "has another value" if values.get(name) else "is not set"
            yield warning(
                f"{name} is set in this shell and {there} in {file}",
                why="infctl takes the shell's, containers read the file's",
                fix=f"unset {name}, or write the same value into the file",
            )
        elif values.get(name):
            yield warning(
                f"{name} is set in this shell and has another value in {file}",
                why="the environment goes before the file: another shell would start with other keys",
                fix=f"unset {name}, or write the same value into the file",
            )


def seen(file: Path) -> Seen:
    """The edge."""
    from gateway.config import read_env  # noqa: PLC0415 - msgspec, where nothing else needs it

    try:
        there = file.stat()
        with file.open("rb") as stream:
            text = stream.read(FILE_BYTES_MAX).decode("utf-8")
    except FileNotFoundError:
        return Seen(file, exists=False)
    except (OSError, UnicodeDecodeError) as error:
        said = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is no UTF-8"
        return Seen(file, why_unreadable=said)
    odd = tuple(
        number
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#") and not read_env(line)
    )
    mode = stat.S_IMODE(there.st_mode)
    return Seen(file, mode=mode, gid=there.st_gid, values=read_env(text), not_understood=odd)
