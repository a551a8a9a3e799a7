"""The gateway's wire and net rooms with no policy: the least that a request can cost.

python bare.py BACKEND_PORT
"""

from __future__ import annotations

import asyncio
import gc
import sys

import uvloop

from gateway.config import HttpLimits, Timeouts, Upstream
from gateway.net.pool import Pool
from gateway.net.server import Exchange, Server


async def main(backend_port: int) -> None:
    pool = Pool("127.0.0.1", backend_port, Upstream(), Timeouts())

    async def handler(exchange: Exchange) -> None:
        body = await exchange.body()
        head = b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        reply = await pool.send(head % (exchange.head.path, len(body)) + body)
        try:
            if reply.length is not None:
                exchange.respond(
                    reply.status, b"content-type: application/json\r\n", await reply.read_all(1 << 20)
                )
                return
            exchange.start(reply.status, b"content-type: text/event-stream\r\n", None)
            while piece := await reply.read():
                exchange.write(piece)
                await exchange.drain()
            exchange.end()
        finally:
            reply.close()

    server = Server(handler, HttpLimits(), Timeouts())
    await server.listen("127.0.0.1", 0)
    print(server.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    uvloop.run(main(int(sys.argv[1])))
