"""Practice 5, rotate keys: how long has `.env` been as it is?"""

from __future__ import annotations

from collections.abc import Iterator

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, ok, skipped, warning

OLD_DAYS = 90


def look(case: Case) -> Iterator[Finding]:
    if case.layout is None:
        return
    file = case.layout.env_file
    try:
        changed = file.stat().st_mtime
    except OSError:
        yield skipped(f"there is no {file}: keys come from the environment, and their age is not known")
        return
    yield judge(str(file), changed, case.now)


def judge(file: str, changed: float, now: float) -> Finding:
    """Seconds since the epoch. A file that was changed lately may hold old keys all the same."""
    days = int((now - changed) / 86_400)
    if days >= OLD_DAYS:
        return warning(
            f"{file} was last changed {days} days ago: all keys in it are at least that old",
            why="a key that got out unnoticed stays good until it is replaced",
            fix="write new keys into .env, then infctl up; clients get the new one first where tenants have"
            " several keys",
        )
    return ok(f"{file} was changed {days} days ago", "whether each key in it was, the file does not say")
