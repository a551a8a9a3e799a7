"""`make proof-aborted`: a thousand streams, each left after a random number of chunks: what was read counts.

    python -m tests.proofs.aborted [--streams 1000] [--seed N]

One gateway of one worker on SQLite. Of each stream: its story says that exactly the last usage was counted
which the gateway had read, never less than its client had seen; and the sum of all is what the store has
settled. The last line is the figure; the exit code is 1 when it is short.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.store.sqlite import SQLite
from tests.gateway.process import ADMIN, Gateway, config_for, until
from tests.gateway.stub import Stub
from tests.proofs.http_client import Connection, request
from tests.proofs.processes import backend

CHUNKS: Final = 60
AT_ONCE: Final = 8
COUNTER: Final = "tokens_per_day|tenant:127.0.0.1"


@dataclass
class Found:
    streams: int = 0
    ended: int = 0
    """Of them: to their end before it was noticed."""
    counted: int = 0
    settled: int = 0
    ahead: int = 0
    """Tokens that the gateway had read and its client had not seen."""
    wrong: list[str] = field(default_factory=list)


async def leave(port: int, chance: random.Random) -> tuple[str, int]:
    """The request's id, and how many chunks its client has seen."""
    after = chance.randint(1, CHUNKS - 2)
    body = {
        "model": "chat",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": CHUNKS,
        "stream": True,
        "do": {"tokens": CHUNKS, "token_ms": chance.choice((1, 2, 5))},
    }
    connection = await Connection.open(port)
    try:
        connection.write(request("/v1/chat/completions", body))
        status, headers = await connection.head()
        assert status == 200, status
        seen = 0
        async for piece in connection.pieces(status, headers):
            seen += piece.count(b"data: {")
            if seen >= after:
                break
        return headers["x-request-id"], seen
    finally:
        connection.close()


def check(found: Found, story: dict[str, Any], seen: int) -> None:
    call, tokens = story["request"], story["tokens"]
    read = call["completion_tokens"]
    # One whose last chunks came together has ended before anybody could notice that its client left.
    ended = call["outcome"] == "ok" and read == CHUNKS
    if not (call["outcome"] == "client_gone" or ended) or tokens["unknown"] or read is None:
        found.wrong.append(f"{call['request_id']}: {call['outcome']}, {tokens}")
        return
    found.ended += ended
    if not seen <= read <= CHUNKS or tokens["counted"] != call["prompt_tokens"] + read:
        found.wrong.append(f"{call['request_id']}: seen {seen}, read {read}, counted {tokens['counted']}")
    found.counted += tokens["counted"]
    found.ahead += read - seen


async def run_all(gateway: Gateway, found: Found, streams: int, seed: int) -> None:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with turn:
            request_id, seen = await leave(gateway.port, random.Random(f"{seed} {number}"))

            def story() -> dict[str, Any] | None:
                answer = gateway.http.get(
                    f"/admin/requests/{request_id}", headers={"authorization": f"Bearer {ADMIN}"}
                )
                return answer.json() if answer.status_code == 200 else None

            check(found, await asyncio.to_thread(until, story, 20), seen)
            found.streams += 1

    await asyncio.gather(*(one(number) for number in range(streams)))


def run(folder: Path, streams: int, seed: int) -> Found:
    found, embed = Found(), Stub()
    with backend() as (port, _):
        config = config_for(embed) | {
            "store": {"path": str(folder / "counts.db")},
            "limits": {"requests_per_second": "none", "tokens_per_day": 10**9},
        }
        config["models"][0]["backends"] = [{"id": "chat0", "url": f"http://127.0.0.1:{port}"}]
        gateway = Gateway(folder, config).wait_ready(2)
        try:
            asyncio.run(run_all(gateway, found, streams, seed))
        finally:
            code = gateway.stop()
            embed.stop()
    store = SQLite(folder / "counts.db")
    counts = {one.counter: one for one in store.overview()}
    store.close()
    found.settled = counts[COUNTER].settled
    if code or (found.settled, counts[COUNTER].unknown, counts[COUNTER].leased) != (found.counted, 0, 0):
        found.wrong.append(f"exit code {code}; {counts[COUNTER]}, counted {found.counted}")
    return found


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    asked = parser.parse_args(argv)
    sys.stdout.write(f"seed {asked.seed}\n")
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), asked.streams, asked.seed)
    for each in found.wrong[:10]:
        sys.stdout.write(f"{each}\n")
    sys.stdout.write(
        f"proof-aborted: {found.streams:,} streams left ({found.ended} at their end),"
        f" {len(found.wrong)} wrong; {found.settled:,} tokens settled, {found.counted:,} read,"
        f" {found.ahead:,} of them on the way to clients that had left\n"
    )
    return 1 if found.wrong or found.streams < asked.streams else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
