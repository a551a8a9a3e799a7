"""FastAPI on the data plane's port."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from gateway.net import asgi
from gateway.net.server import Exchange

app = FastAPI()
GET = b"GET /%b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


@app.post("/admin/ä/{name}")
async def admin(name: str, request: Request, q: str = "") -> dict[str, object]:
    assert request.client
    return {"name": name, "q": q, "body": (await request.body()).decode(), "peer": request.client.host,
            "key": request.headers.get("x-key"), "extra": request.scope["state"]["extra"]}  # fmt: skip


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def pieces():
        yield b"one"
        yield b"two"

    return StreamingResponse(pieces())


@app.get("/fail")
async def fail() -> None:
    raise ValueError


async def handler(exchange: Exchange) -> None:
    body = await exchange.body()
    await asgi.call(app, exchange, body, {"state": {"extra": 7}})


async def answer(net, port: int, data: bytes) -> bytes:
    async with net.client(port) as (reader, writer):
        writer.write(data)
        return await reader.read()


def test_an_app_answers_a_request(net) -> None:
    async def main() -> None:
        async with net.server(handler) as server:
            got = await answer(
                net,
                server.port,
                b"POST /admin/%C3%A4/a%20b?q=1%202 HTTP/1.1\r\nhost: a\r\nX-Key: k\r\nconnection: close\r\n"
                b"content-length: 2\r\n\r\nhi",
            )
            head, _, body = got.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK")
            assert head.count(b"content-length:") == 1
            assert body == b'{"name":"a b","q":"1 2","body":"hi","peer":"127.0.0.1","key":"k","extra":7}'

    net.run(main)


def test_an_app_may_stream(net) -> None:
    async def main() -> None:
        async with net.server(handler) as server:
            got = await answer(net, server.port, GET % b"stream")
            assert got.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")

    net.run(main)


def test_an_app_that_fails_is_reported(net) -> None:
    errors: list[Exception] = []

    async def main() -> None:
        async with net.server(handler, on_error=lambda _, error: errors.append(error)) as server:
            got = await answer(net, server.port, GET % b"fail")
            assert got.startswith(b"HTTP/1.1 500 ")
            assert isinstance(errors[0], ValueError)

    net.run(main)


def test_an_app_is_cancelled_when_the_client_leaves(net) -> None:
    seen: list[str] = []

    async def waits(scope, receive, send) -> None:
        await receive()
        seen.append("begun")
        try:
            await receive()
        except asyncio.CancelledError:
            seen.append("gone")
            raise

    async def handle(exchange: Exchange) -> None:
        await asgi.call(waits, exchange, b"", {})

    async def main() -> None:
        async with net.server(handle) as server:
            async with net.client(server.port) as (_, writer):
                writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                await net.until(lambda: seen == ["begun"])
            await net.until(lambda: seen == ["begun", "gone"])

    net.run(main)
