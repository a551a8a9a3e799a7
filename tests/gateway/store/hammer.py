"""One worker process that uses a store as hard as it can and writes down what it really admitted and used.

    python -m tests.gateway.store.hammer STORE_URL TRUTH_FILE SEED SECONDS LIMITS_JSON

Each line of TRUTH_FILE is written before its effect can be seen elsewhere: `a N` admitted with N tokens at
most, `s N U` such a one settled with U used, `r N` refused. Killed at any moment, the file holds all that can
have been used.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Final

from gateway.limiter import Limiter
from gateway.policy.limits import Limit, tenant_scope
from gateway.refusal import Refusal

CLIENTS: Final = 8


def limits(amounts: dict[str, int]) -> tuple[Limit, ...]:
    scope = tenant_scope("t")
    return tuple(Limit(code, scope, amount, owner="t") for code, amount in amounts.items())  # type: ignore[arg-type]


async def main(url: str, truth: int, seed: int, seconds: float, held: tuple[Limit, ...]) -> None:
    from tests.gateway.store.opening import open_store

    chance = random.Random(seed)
    limiter = Limiter(open_store(url), f"w{seed}.{os.getpid()}.{time.time_ns()}", shared=True, workers=4)
    end = time.monotonic() + seconds
    counts = {"admitted": 0, "refused": 0}

    def stop() -> None:
        nonlocal end
        end = 0.0

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)

    async def client() -> None:
        holder = limiter.holder("t", "m", held)
        loop = asyncio.get_running_loop()
        while time.monotonic() < end:
            tokens = chance.choice((1, 7, 40, 200, 1500))
            os.write(truth, b"a %d\n" % tokens)  # before it is: an upper bound
            try:
                ticket = limiter.admit(holder, tokens) or await limiter.lease(holder, tokens, loop.time() + 1)
            except Refusal:
                os.write(truth, b"r %d\n" % tokens)
                counts["refused"] += 1
                await asyncio.sleep(0.01)
                continue
            counts["admitted"] += 1
            await asyncio.sleep(chance.choice((0, 0, 0.001, 0.01)))
            used = chance.randint(0, tokens)
            os.write(truth, b"s %d %d\n" % (tokens, used))
            limiter.settle(ticket, used, 0)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    told = await limiter.close()
    os.write(truth, b"end %d\n" % told)
    sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    _, url, path, seed, seconds, amounts = sys.argv
    file = os.open(Path(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    asyncio.run(main(url, file, int(seed), float(seconds), limits(json.loads(amounts))))
