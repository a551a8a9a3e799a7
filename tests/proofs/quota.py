"""`make proof-quota`: whatever clients do, no quota is passed, and what is counted is what was used.

Four workers of one gateway on SQLite, then three gateways on a real Redis; 64 clients with random bodies:
plain, streams, aborts at any moment, backends that fail at every stage. One tenant has too few tokens, one
too few requests, one too few places, one plenty. With SQLite the clock is set forward over the end of the
day, back by two hours, and forward again. The store is looked at all the time.

    python -m tests.proofs.quota [--seconds 60] [--clients 64] [--kind sqlite|redis] [--seed N]

Shown: at no look is settled + leased above the limit of its window; at the end, with all gateways stopped,
nothing is leased, settled less unknown equals the usage in the bytes that were read, and each whole answer
used what its client was told. The last line is the figure; the exit code is 1 when it is short.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.policy.exchange import StoreDown
from tests.gateway.process import until
from tests.proofs.fleet import Fleet, Tenant
from tests.proofs.http_client import Connection, WrongError, request
from tests.proofs.processes import backend

CONTEXT: Final = 4096
DAY_S: Final = 86_400
LOOK_S: Final = 0.05
LATEST_S: Final = 15.0
"""For any answer: the calls' own times are far below it."""
_LEFT: Final = (ConnectionError, asyncio.IncompleteReadError, OSError)
FAILS: Final = ("500", "503", "429", "reset", "reset mid", "error mid")


def tenants(seconds: float) -> tuple[Tenant, ...]:
    """Scarce ones run out at about half the time, on two busy cores."""
    return (
        Tenant("plenty", {"tokens_per_day": 10**12, "requests_per_day": 10**9, "tokens_per_month": 10**13}),
        Tenant("tokens", {"tokens_per_day": int(800 * seconds), "tokens_per_month": int(1200 * seconds)}),
        Tenant("requests", {"requests_per_day": int(20 * seconds), "tokens_per_day": 10**12}),
        Tenant("places", {"in_flight": 4, "tokens_per_day": 10**12, "requests_per_day": 10**9}),
    )


@dataclass
class Found:
    kind: str = ""
    statuses: Counter[int] = field(default_factory=Counter)
    left: int = 0
    """Aborted by the client."""
    broken: int = 0
    used: Counter[str] = field(default_factory=Counter)
    """Tokens of whole answers, by tenant, as their clients were told."""
    by_id: dict[str, int] = field(default_factory=dict)
    slowest_s: float = 0.0
    looks: int = 0
    most_in_flight: int = 0
    wrong: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)

    @property
    def requests(self) -> int:
        return sum(self.statuses.values()) + self.left + self.broken


class Client:
    """Asks again and again, each time something else."""

    def __init__(self, fleet: Fleet, found: Found, chance: random.Random, *, gentle: bool) -> None:
        self._fleet, self._found, self._chance, self._gentle = fleet, found, chance, gentle
        self.stop = False
        self._connection: Connection | None = None
        self._port = 0

    async def run(self) -> None:
        while not self.stop:
            tenant = self._chance.choice(self._fleet.tenants)
            begun = time.monotonic()
            try:
                async with asyncio.timeout(LATEST_S):
                    await self._once(tenant)
            except TimeoutError:
                self._found.wrong.append(f"no answer within {LATEST_S:g} s")
                self._drop()
            except (*_LEFT, WrongError, ValueError) as error:
                if isinstance(error, WrongError):
                    self._found.wrong.append(str(error))
                self._found.broken += 1
                self._drop()
                await asyncio.sleep(0.05)
            self._found.slowest_s = max(self._found.slowest_s, time.monotonic() - begun)
        self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _body(self) -> dict[str, Any]:
        chance = self._chance
        most = chance.choice((1, 8, 64, 300))
        do: dict[str, Any] = {"tokens": chance.randint(1, most)}
        body: dict[str, Any] = {
            "model": "chat",
            "messages": [{"role": "user", "content": "word " * chance.choice((1, 20, 200))}],
            "max_tokens": most,
            "stream": chance.random() < 0.5,
            "do": do,
        }
        if body["stream"]:
            do["token_ms"] = chance.choice((0, 0, 1))
        else:
            do["wait_ms"] = chance.choice((0, 0, 5, 20))
        if chance.random() < 0.1:
            do["fail"] = chance.choice(FAILS)
        return body

    async def _once(self, tenant: Tenant) -> None:
        found, chance, body = self._found, self._chance, self._body()
        connection = self._connection
        if connection is None or not connection.usable or chance.random() < 0.1:
            self._drop()
            self._port = chance.choice(self._fleet.gateways).port
            connection = self._connection = await Connection.open(self._port)
        sent = request("/v1/chat/completions", body, key=tenant.key)
        leaves = not self._gentle and chance.random() < 0.1
        if leaves:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(chance.choice((0.0, 0.001, 0.005, 0.02, 0.1))):
                    await connection.ask(sent)
            found.left += 1
            self._drop()
            return
        answer = await connection.ask(sent)
        found.statuses[answer.status] += 1
        if answer.status == 200:
            used = told(answer.body, stream=body["stream"])
            if used is not None:
                found.used[tenant.name] += used
                found.by_id[answer.headers["x-request-id"]] = used
        elif answer.status == 429 and "ratelimit" not in answer.headers and answer.code in {
            "tokens_per_day", "requests_per_day", "tokens_per_month", "in_flight",
        }:  # fmt: skip
            found.wrong.append(f"a refusal without its limit: {answer.headers}")


def told(body: bytes, *, stream: bool) -> int | None:
    """Tokens of a whole answer, as far as it says: a stream of ours is counted by its events."""
    if not stream:
        return int(json.loads(body)["usage"]["total_tokens"])
    if not body.endswith(b"data: [DONE]\n\n"):
        return None
    return 5 + body.count(b"data: {")


async def look(fleet: Fleet, found: Found) -> None:
    """At the store, all the time."""
    while True:
        with contextlib.suppress(StoreDown):  # it is being hurt
            found.wrong += await asyncio.to_thread(lambda: list(fleet.over()))
            found.looks += 1
        await asyncio.sleep(LOOK_S)


async def clocks(fleet: Fleet, seconds: float) -> None:
    """Over the day's end, back by two hours, and on."""
    now = time.time()
    to_midnight = DAY_S - now % DAY_S
    for part, ahead_s in ((0.35, to_midnight + 60), (0.25, to_midnight - 7200), (0.2, to_midnight + 3600)):
        await asyncio.sleep(seconds * part)
        fleet.shift(ahead_s)


async def load(
    fleet: Fleet, found: Found, seconds: float, clients: int, seed: int, *more: Any, gentle: bool = False
) -> None:
    """`more`: what else happens meanwhile, awaited to its end."""
    every = [Client(fleet, found, random.Random(f"{seed} {n}"), gentle=gentle) for n in range(clients)]
    looking = asyncio.create_task(look(fleet, found))
    running = [asyncio.create_task(client.run()) for client in every]
    beside = [asyncio.create_task(each) for each in more]
    await asyncio.sleep(seconds)
    await asyncio.gather(*beside)
    for client in every:
        client.stop = True
    await asyncio.gather(*running)
    looking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looking


def judge(fleet: Fleet, found: Found) -> None:
    """All gateways were stopped in peace: to the token."""
    wrong, said = found.wrong, fleet.said
    wrong += fleet.over()
    wrong += said.wrong[:5]
    for tenant in fleet.tenants:
        tokens = fleet.used(tenant.name, "tokens_per_day")
        if tokens.leased:
            wrong.append(f"{tenant.name}: {tokens.leased} tokens are leased, and nobody is there")
        if tokens.settled - tokens.unknown != said.tokens[tenant.name]:
            wrong.append(
                f"{tenant.name}: settled {tokens.settled} less unknown {tokens.unknown},"
                f" read {said.tokens[tenant.name]}"
            )
        if found.used[tenant.name] > tokens.settled:
            wrong.append(
                f"{tenant.name}: clients were told {found.used[tenant.name]}, {tokens.settled} counted"
            )
    differ = [one for one, used in found.by_id.items() if said.by_id.get(one) != used]
    if differ:
        wrong.append(f"{len(differ)} whole answers used something else than was logged, such as {differ[0]}")
    scarce = fleet.used("tokens", "tokens_per_day"), fleet.used("requests", "requests_per_day")
    if not found.statuses[429] or not all(each.settled for each in scarce):
        wrong.append("no limit was reached: nothing is shown")


def run(folder: Path, kind: str, seconds: float, clients: int, seed: int) -> Found:
    found = Found(kind)
    with backend() as (first, _), backend() as (second, _):
        fleet = Fleet(folder, kind, [first, second], tenants(seconds))
        try:
            more = [clocks(fleet, seconds)] if kind == "sqlite" else []
            asyncio.run(load(fleet, found, seconds, clients, seed, *more))
            codes = fleet.stop()
            if any(codes):
                found.wrong.append(f"exit codes {codes}")
            until(lambda: not any(gateway.process.poll() is None for gateway in fleet.gateways))
            judge(fleet, found)
        finally:
            fleet.end()
    return found


def line(found: Found) -> str:
    told_of = (
        f"{found.kind:<6} {found.requests:>7,} requests",
        f"{found.statuses[200]:,} answered, {found.statuses[429]:,} refused, {found.left:,} left",
        f"{len(found.by_id):,} compared to the token",
        f"{found.looks:,} looks, slowest answer {found.slowest_s:.2f} s",
        *(f"{count} x {what}" for what, count in found.kills.items()),
        "; ".join(found.wrong[:4]) or "never over, all sums right",
    )
    return "; ".join(told_of)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--kind", choices=("sqlite", "redis"))
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    asked = parser.parse_args(argv)
    sys.stdout.write(f"seed {asked.seed}\n")
    every = []
    for kind in (asked.kind,) if asked.kind else ("sqlite", "redis"):
        with tempfile.TemporaryDirectory() as folder:
            every.append(run(Path(folder), kind, asked.seconds, asked.clients, asked.seed))
        sys.stdout.write(line(every[-1]) + "\n")
        sys.stdout.flush()
    wrong = sum(len(each.wrong) for each in every)
    requests, compared = sum(each.requests for each in every), sum(len(each.by_id) for each in every)
    sys.stdout.write(
        f"proof-quota: {wrong} times over or unequal in {requests:,} requests,"
        f" {compared:,} of them compared to the token\n"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
