"""`make proof-crash`: kill -9 at random moments under load, and on: never over, nothing used is forgotten.

Four workers of one gateway on SQLite: one of them is killed, or all with their parent, which is started
again; then three gateways on a real Redis, which itself is killed, stopped for seconds, cut off and emptied.
The clients of proof-quota go on meanwhile.

    python -m tests.proofs.crash [--kills 500] [--clients 32] [--kind sqlite|redis] [--away 60] [--seed N]

Shown: at no look is settled + leased above a limit; the database opens each time and is whole (PRAGMA
integrity_check); what clients were told that they used is counted, or still leased to the dead; no answer
takes longer than its time; each chain of the audit trail verifies, with its torn lines told. The last line is
the figure; the exit code is 1 when it is short.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.audit.anchors import FileAnchors
from gateway.audit.verify import verify
from tests.proofs.fleet import AUDIT_KEY, Fleet
from tests.proofs.processes import backend
from tests.proofs.quota import Found, line, load, tenants

PAUSE_S: Final = 0.6
"""Between two kills, on average."""
PER_KILL_S: Final = 1.3
"""With the time that what was killed takes to come back."""
AWAY_S: Final = 3.0
"""For which Redis is stopped, or cut off."""
EACH: Final = 25
"""Kills between two hurts of Redis."""


async def kills(fleet: Fleet, found: Found, count: int, chance: random.Random, away_s: float) -> None:
    hurts = _hurts(fleet, away_s)
    for number in range(count):
        await asyncio.sleep(chance.random() * 2 * PAUSE_S)
        found.kills[await asyncio.to_thread(fleet.kill_one, chance)] += 1
        for gateway in fleet.gateways:
            await asyncio.to_thread(gateway.wait_ready)
        if hurts and number % EACH == EACH // 2:
            what, hurt = hurts[number // EACH % len(hurts)]
            await asyncio.to_thread(hurt)
            found.kills[what] += 1


def _hurts(fleet: Fleet, away_s: float) -> list[tuple[str, Callable[[], None]]]:
    redis = fleet.redis
    if redis is None:
        return []

    def crash() -> None:
        redis.kill()
        redis.start()

    def stop() -> None:
        redis.signal(signal.SIGSTOP)
        time.sleep(away_s)
        redis.signal(signal.SIGCONT)

    def cut_off() -> None:
        away = redis.socket.with_suffix(".away")
        redis.socket.rename(away)
        redis.drop_clients(away)
        time.sleep(away_s)
        away.rename(redis.socket)

    return [
        ("Redis killed", crash),
        ("Redis stopped", stop),
        ("Redis emptied", redis.forget),
        ("Redis cut off", cut_off),
    ]


def judge(fleet: Fleet, found: Found) -> int:
    """Tokens that are leased to the dead. After all gateways were stopped in peace."""
    found.wrong += fleet.over()
    found.wrong += fleet.said.wrong[:5]
    lost = 0
    for tenant in fleet.tenants:
        tokens = fleet.used(tenant.name, "tokens_per_day")
        lost += tokens.leased
        told = found.used[tenant.name]
        if told > tokens.settled + tokens.leased:
            found.wrong.append(
                f"{tenant.name}: clients were told {told}, known are {tokens.settled} + {tokens.leased}"
            )
    for number, _ in enumerate(fleet.gateways):
        folder, anchors = fleet.folder / f"audit{number}", fleet.folder / f"anchors{number}"
        verdicts = verify(folder, AUDIT_KEY.encode(), FileAnchors(anchors))
        found.wrong += [f"{verdict.chain}: {verdict.broken}" for verdict in verdicts if verdict.broken]
        found.kills["torn audit lines told"] += sum(
            "torn" in note for each in verdicts for note in each.notes
        )
    return lost


def run(
    folder: Path, kind: str, count: int, clients: int, seed: int, away_s: float = AWAY_S
) -> tuple[Found, int]:
    found = Found(kind)
    with backend() as (first, _), backend() as (second, _):
        fleet = Fleet(folder, kind, [first, second], tenants(count * PER_KILL_S), keep=False)
        try:
            hurting = kills(fleet, found, count, random.Random(f"{seed} kills"), away_s)
            asyncio.run(load(fleet, found, 1.0, clients, seed, hurting))
            codes = fleet.stop()
            if any(codes):
                found.wrong.append(f"exit codes {codes}")
            lost = judge(fleet, found)
        finally:
            fleet.end()
    return found, lost


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=500, help="in all")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--away", type=float, default=AWAY_S, help="seconds that Redis is not to be had")
    parser.add_argument("--kind", choices=("sqlite", "redis"))
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    asked = parser.parse_args(argv)
    sys.stdout.write(f"seed {asked.seed}\n")
    kinds = (asked.kind,) if asked.kind else ("sqlite", "redis")
    every, lost = [], 0
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            found, dead = run(
                Path(folder), kind, asked.kills // len(kinds), asked.clients, asked.seed, asked.away
            )
        every.append(found)
        lost += dead
        sys.stdout.write(line(found) + "\n")
        sys.stdout.flush()
    wrong = sum(len(each.wrong) for each in every)
    killed = sum(each.kills["worker"] + each.kills["gateway"] for each in every)
    requests = sum(each.requests for each in every)
    sys.stdout.write(
        f"proof-crash: {killed} kills in {requests:,} requests, {wrong} times over or forgotten;"
        f" {lost:,} tokens stay leased to the dead\n"
    )
    return 1 if wrong or killed < asked.kills // len(kinds) * len(kinds) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
