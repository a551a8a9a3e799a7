"""Before the containers start: keys of .env as files that only their reader can read, volumes for their user.

    python -m app.prepare --env FILE --owner UID:GID [--key VARIABLE=FILE] [--need VARIABLE]
                          [--secret VARIABLE=FILE] [--default VARIABLE=VALUE] [--own FOLDER] ...

Run as root by the Compose service `prepare`, once and without a network, so that nothing else has to be root
and no key is in any container's environment. Again and again with the same result. A variable without a value
is no file, and one that is left from before goes. Exit codes: 0; 2 usage; 3 a value is missing; 5 something
cannot be read or written.
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.config import read_env

MISSING, REFUSED = 3, 5
KEY_MODE = 0o400
KEY_BYTES_MAX = 64 * 1024

Owner = tuple[int, int]


class MissingError(Exception):
    """A value that there has to be."""


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    try:
        values = read(options.env, dict(options.secret), dict(options.default))
        check(values, options.need, options.env)
        for variable, file in options.key:
            keep(variable, values.get(variable, ""), Path(file), options.owner)
        for folder in options.own:
            give(folder, options.owner)
    except MissingError as missing:
        sys.stderr.write(f"error: {missing}\n")
        return MISSING
    except OSError as error:
        sys.stderr.write(f"error: {error.filename}: {error.strerror}\n")
        return REFUSED
    return 0


def read(env: Path, files: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """Every variable's value: of its own file, of .env, or the default. Raises MissingError, OSError."""
    try:
        found = read_env(env.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingError(f"{env} is not there: cp .env.example .env, and fill it in") from None
    except UnicodeDecodeError:
        raise MissingError(f"{env} is not UTF-8: write it again as plain text") from None
    values = {**defaults, **{name: value for name, value in found.items() if value}}
    for variable, file in files.items():
        with Path(file).open("rb") as opened:
            values[variable] = opened.read(KEY_BYTES_MAX).decode("utf-8", "replace").strip()
    return values


def check(values: Mapping[str, str], needed: Sequence[str], env: Path) -> None:
    """Raises MissingError."""
    for variable in needed:
        if not values.get(variable):
            how = "put one there, such as what `openssl rand -hex 32` prints"
            raise MissingError(f"{variable} has no value in {env.name}: {how}")


def keep(variable: str, value: str, file: Path, owner: Owner) -> None:
    """The value as a file. Raises OSError."""
    if not value:
        file.unlink(missing_ok=True)
        say(f"{variable} is not set: no {file}")
        return
    data = value.encode()
    if _same(file, data, owner):
        say(f"{file}: unchanged")
        return
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, KEY_MODE)
    try:
        with os.fdopen(opened, "wb") as out:
            out.write(data)
            os.fchmod(out.fileno(), KEY_MODE)  # whatever the umask; before it is another's
            os.fchown(out.fileno(), *owner)
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    say(f"{file}: written from {variable}")


def give(folder: Path, owner: Owner) -> None:
    """The folder and all below it. No link is followed. Raises OSError."""
    changed = 0
    for _, folders, files, handle in os.fwalk(folder, follow_symlinks=False):
        for name in (".", *folders, *files):
            now = os.stat(name, dir_fd=handle, follow_symlinks=False)
            if (now.st_uid, now.st_gid) != owner:
                os.chown(name, *owner, dir_fd=handle, follow_symlinks=False)
                changed += 1
    say(f"{folder}: belongs to {owner[0]}:{owner[1]}" + (f" now ({changed} changed)" if changed else ""))


def say(what: str) -> None:
    sys.stdout.write(f"{what}\n")


def _same(file: Path, data: bytes, owner: Owner) -> bool:
    try:
        now = file.lstat()
        return (
            stat.S_ISREG(now.st_mode)
            and (now.st_uid, now.st_gid) == owner
            and stat.S_IMODE(now.st_mode) == KEY_MODE
            and file.read_bytes() == data
        )
    except FileNotFoundError:
        return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app.prepare", description="Keys as files, volumes for their user."
    )
    parser.add_argument("--env", required=True, type=Path, help="the .env file")
    parser.add_argument("--owner", required=True, type=_owner, help="UID:GID that gets the files and folders")
    for name, help_text in (
        ("key", "VARIABLE=FILE: its value is written there"),
        ("secret", "VARIABLE=FILE: its value is read from there, not from .env"),
        ("default", "VARIABLE=VALUE: where it has none"),
    ):
        parser.add_argument(f"--{name}", action="append", default=[], type=_pair, help=help_text)
    parser.add_argument("--need", action="append", default=[], help="VARIABLE that must have a value")
    parser.add_argument("--own", action="append", default=[], type=Path, help="a folder to hand over")
    return parser


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not name or not sign or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not VARIABLE=...")
    return name, value


def _owner(text: str) -> Owner:
    uid, _, gid = text.partition(":")
    if not (uid.isdecimal() and gid.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not UID:GID, such as 10001:10001")
    return int(uid), int(gid)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
