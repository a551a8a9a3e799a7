"""The way to the backends: one pool each, and what is said to them. Headers pass by allow-lists only."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final

from gateway.asked import Call
from gateway.config import Timeouts, Upstream
from gateway.net.budget import Budget
from gateway.net.pool import Pool, Reply, UpstreamFailed
from gateway.policy.balancer import Backend
from gateway.wire.request import RequestHead

__all__ = ["Client", "Reply", "UpstreamFailed"]

REQUEST_HEADERS: Final = (b"accept", b"traceparent", b"tracestate")
"""Of the client's, passed on as they are. The content type is ours: the body was read as JSON."""
REPLY_HEADERS: Final = frozenset((b"content-type", b"cache-control", b"retry-after", b"content-language"))
"""Of the backend's, passed on as they are."""


class Client:
    def __init__(self, upstream: Upstream, timeouts: Timeouts) -> None:
        self._upstream = upstream
        self._timeouts = timeouts
        self._key = b""
        self._budget = Budget()
        self._pools: dict[tuple[str, int], Pool] = {}
        self._heads: dict[tuple[Backend, bytes], bytes] = {}
        """By backend and path: the lines that are the same in every request."""

    def configure(self, upstream: Upstream, timeouts: Timeouts, key_line: bytes) -> None:
        """`key_line`: the ready authorization header for backends, or nothing."""
        self._upstream, self._timeouts, self._key = upstream, timeouts, key_line
        self._heads.clear()
        for pool in self._pools.values():
            pool.reconfigure(upstream, timeouts)

    def send(
        self,
        backend: Backend,
        call: Call,
        head: RequestHead,
        request_id: str,
        deadline: float,
        more: bytes = b"",
        *,
        fresh: bool = False,
    ) -> Coroutine[Any, Any, Reply]:
        """Await it: sends the call, returns with the reply's head. `Reply.close` must follow.

        `more`: further header lines. `fresh`: on no kept connection. Raises UpstreamFailed.
        """
        passed = more
        for name in REQUEST_HEADERS:
            value = head.get(name)
            if value is not None:
                passed += b"%b: %b\r\n" % (name, value)
        body = call.body
        return self._pool(backend).send(
            b"%bx-request-id: %b\r\n%bcontent-length: %d\r\n\r\n%b"
            % (self._head(backend, call.path), request_id.encode(), passed, len(body), body),
            fresh=fresh,
            deadline=deadline,
        )

    async def get(self, backend: Backend, path: bytes) -> Reply:
        """A GET of our own. Raises UpstreamFailed."""
        host = backend.host.encode()
        request = b"GET %b HTTP/1.1\r\nhost: %b:%d\r\n%b\r\n" % (path, host, backend.port, self._key)
        return await self._pool(backend).send(request)

    async def post(self, backend: Backend, path: bytes, body: bytes) -> Reply:
        """A call of our own. Raises UpstreamFailed."""
        head = self._head(backend, path)
        return await self._pool(backend).send(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))

    def drop_idle(self, backend: Backend) -> None:
        """Kept connections lead to the server that was there when they were made."""
        pool = self._pools.get((backend.host, backend.port))
        while pool is not None and pool.drop_idle():
            pass

    async def forget(self, backend: Backend) -> None:
        """A backend that is gone from the configuration and has nothing in flight."""
        self._heads.clear()
        pool = self._pools.pop((backend.host, backend.port), None)
        if pool is not None:
            await pool.close()

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()
        self._pools.clear()

    def _head(self, backend: Backend, path: bytes) -> bytes:
        head = self._heads.get((backend, path))
        if head is None:
            host = backend.host.encode()
            head = self._heads[backend, path] = (
                b"POST %b HTTP/1.1\r\nhost: %b:%d\r\n%bcontent-type: application/json\r\n"
                % (path, host, backend.port, self._key)
            )
        return head

    def _pool(self, backend: Backend) -> Pool:
        address = backend.host, backend.port
        pool = self._pools.get(address)
        if pool is None:
            pool = self._pools[address] = Pool(*address, self._upstream, self._timeouts, self._budget)
        return pool


def reply_lines(reply: Reply) -> bytes:
    """The reply's headers that a client gets, as ready lines."""
    return b"".join([b"%b: %b\r\n" % pair for pair in reply.headers if pair[0] in REPLY_HEADERS])
