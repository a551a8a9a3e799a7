"""Never over, at length: four workers on SQLite and on a real Redis, killed a hundred times on each.

    python -m tests.gateway.store.proof_leases [KILLS]

First half a minute without kills, where the sums must be equal to the token; then with KILLS of them, and
on Redis three crashes and three losses of all it knew on top. The last line is the figure; the exit code is 1
when it is short.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gateway.store.sqlite import SQLite
from tests.gateway.store.redis_server import Server
from tests.gateway.store.siege import Outcome, siege

CALM_S: Final = 30.0
PER_KILL_S: Final = 0.8
ENOUGH: Final = {"tokens_per_day": 10**12, "requests_per_day": 10**9, "in_flight": 24}


def scarce(seconds: float) -> dict[str, int]:
    """Reached at about half the time: kills while there is plenty, and while the end is fought for."""
    return {"tokens_per_day": int(300_000 * seconds), "requests_per_day": int(20_000 * seconds)}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def one(
    name: str, url: str, folder: Path, kills: int, hurts: Sequence[Callable[[], None]] = ()
) -> tuple[Outcome, list[str]]:
    seconds = max(10.0, kills * PER_KILL_S) if kills else CALM_S
    amounts = scarce(seconds) if kills else ENOUGH
    found = siege(url, folder, seconds=seconds, kills=kills, amounts=amounts, hurts=hurts)
    wrong = list(found.over)
    if not kills and not hurts and (found.settled, found.leased) != (found.used, 0):
        wrong.append(f"settled {found.settled} + leased {found.leased}, used {found.used}")
    if found.used > found.settled + found.leased:
        wrong.append(f"used {found.used}, of which the store knows {found.settled + found.leased}")
    words = (
        f"{name:<28} {found.admitted:>8,} admitted  {found.kills:>4} kills  {found.looks:>6,} looks",
        f"used {found.used:,}  settled {found.settled:,}  leased {found.leased:,}",
        f"of {amounts['tokens_per_day']:,}",
        "; ".join(wrong) or "never over",
    )
    say("  ".join(words))
    return found, wrong


def main(kills: int) -> int:
    outcomes, wrong = [], []
    for count in (0, kills):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            found, bad = one(f"SQLite, {count} kills", f"sqlite:{folder / 'counts.db'}", folder, count)
            outcomes.append(found)
            wrong += bad
            store = SQLite(folder / "counts.db")
            wrong += [said for said in [store.check()] if said != "ok"]
            store.close()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            server = Server(folder)
            server.start()

            def crash(server: Server = server) -> None:
                server.kill()
                server.start()

            hurts = (crash, server.forget) * 3 if count else ()
            try:
                url = f"{server.url}#{folder / 'journal'}"
                found, bad = one(f"Redis, {count} kills, {len(hurts)} hurts", url, folder, count, hurts)
            finally:
                server.kill()
            outcomes.append(found)
            wrong += bad
    admitted, killed = sum(each.admitted for each in outcomes), sum(each.kills for each in outcomes)
    say(f"proof-leases: {len(wrong)} times over or unequal in {admitted:,} requests and {killed} kills")
    return 1 if wrong or killed < 2 * kills else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
