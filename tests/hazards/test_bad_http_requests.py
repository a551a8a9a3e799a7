"""Bad HTTP, one fact a test: what a client may not send, and the answer it gets, from the real server."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator

import pytest
import uvloop

from gateway.config import HttpLimits, Timeouts
from gateway.net.server import Exchange, Server

LIMITS = HttpLimits(body_bytes=100_000)
TIMEOUTS = Timeouts(header_s=1.0, body_idle_s=1.0)


class Site:
    """A server in a thread of its own. `calls`: the requests whose body the handler got."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, bytes, bytes]] = []
        self.refused: list[tuple[int, str]] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = Server(
            self._handle, LIMITS, TIMEOUTS, lambda _, r, rid: self.refused.append((r.status, rid))
        )
        await server.listen("127.0.0.1", 0)
        self.port = server.port
        self._ready.set()
        await self._stop.wait()
        await server.close()

    async def _handle(self, exchange: Exchange) -> None:
        if exchange.head.path == b"/early":
            exchange.respond(401, b"", b"no")
            return
        body = await exchange.body()
        self.calls.append((exchange.head.method, exchange.head.path, body))
        names = b",".join(name for name, _ in exchange.head.headers)
        exchange.respond(200, b"content-type: text/plain\r\n", b"%b|%b" % (body, names))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def ask(self, *pieces: bytes, fin: bool = False) -> bytes:
        """Sends, then reads until the server closes, or for 0.3 s of silence after an answer."""
        self.calls.clear()
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                for piece in pieces:
                    sock.sendall(piece)
            except OSError:
                pass  # it may already have refused
            if fin:
                sock.shutdown(socket.SHUT_WR)
            got = b""
            try:
                while data := sock.recv(65536):
                    got += data
                    sock.settimeout(0.3)
            except TimeoutError:
                got += b"<open>"
            return got


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    found = Site()
    yield found
    found.close()


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((b"POST /v1/x HTTP/1.1", b"Host: a", *lines, b"", body))


REFUSED = {
    "content-length and transfer-encoding": (
        400,
        post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    ),
    "transfer-encoding before content-length": (
        400,
        post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"),
    ),
    "two different content-lengths": (400, post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!")),
    "two equal content-lengths": (400, post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello")),
    "a list of content-lengths": (400, post(b"Content-Length: 5, 5", body=b"hello")),
    "content-length +1": (400, post(b"Content-Length: +1", body=b"h")),
    "content-length 1_0": (400, post(b"Content-Length: 1_0", body=b"helloworld")),
    "content-length -1": (400, post(b"Content-Length: -1")),
    "content-length 0x5": (400, post(b"Content-Length: 0x5", body=b"hello")),
    "content-length with a space inside": (400, post(b"Content-Length: 1 0", body=b"hello")),
    "content-length empty": (400, post(b"Content-Length: ", body=b"hello")),
    "content-length of 20 digits": (400, post(b"Content-Length: 99999999999999999999", body=b"h")),
    "content-length of 19 digits": (400, post(b"Content-Length: 9999999999999999999", body=b"h")),
    "transfer-encoding xchunked": ((400, 501), post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n")),
    "transfer-encoding chunked twice in a list": (
        (400, 501),
        post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    ),
    "transfer-encoding header twice": (
        400,
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    ),
    "transfer-encoding with a space before the colon": (
        400,
        post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    ),
    "transfer-encoding identity, chunked": (
        (400, 501),
        post(b"Transfer-Encoding: identity, chunked", body=b"0\r\n\r\n"),
    ),
    "transfer-encoding identity": ((400, 501), post(b"Transfer-Encoding: identity", body=b"hello")),
    "transfer-encoding gzip, chunked": (
        (400, 501),
        post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    ),
    "transfer-encoding chunked with a vertical tab": (
        (400, 501),
        post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    ),
    "transfer-encoding in HTTP/1.0": (
        400,
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "a chunk size 0x1": (400, post(b"Transfer-Encoding: chunked", body=b"0x1\r\na\r\n0\r\n\r\n")),
    "a chunk size 1_0": (
        400,
        post(b"Transfer-Encoding: chunked", body=b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n"),
    ),
    "a chunk size +1": (400, post(b"Transfer-Encoding: chunked", body=b"+1\r\na\r\n0\r\n\r\n")),
    "a chunk size with a space before it": (
        400,
        post(b"Transfer-Encoding: chunked", body=b" 1\r\na\r\n0\r\n\r\n"),
    ),
    "an empty chunk size": (400, post(b"Transfer-Encoding: chunked", body=b"\r\na\r\n0\r\n\r\n")),
    "a chunk without CRLF behind its data": (
        400,
        post(b"Transfer-Encoding: chunked", body=b"1\r\nab\r\n0\r\n\r\n"),
    ),
    "two other bytes where a chunk's CRLF belongs": (
        400,
        post(b"Transfer-Encoding: chunked", body=b"1\r\naXX0\r\n\r\n"),
    ),
    "a lone CR and a byte where a chunk's CRLF belongs": (
        400,
        post(b"Transfer-Encoding: chunked", body=b"1\r\na\rX0\r\n\r\n"),
    ),
    "a chunk size of 17 digits": (
        400,
        post(b"Transfer-Encoding: chunked", body=b"00000000000000001\r\na\r\n0\r\n\r\n"),
    ),
    "a chunk size with a bare LF": (400, post(b"Transfer-Encoding: chunked", body=b"1\na\r\n0\r\n\r\n")),
    "a chunk with a bare LF behind its data": (
        400,
        post(b"Transfer-Encoding: chunked", body=b"1\r\na\n0\r\n\r\n"),
    ),
    "a bare LF at the end of the chunks": (400, post(b"Transfer-Encoding: chunked", body=b"1\r\na\r\n0\n\n")),
    "a chunk extension that never ends": (
        400,
        post(b"Transfer-Encoding: chunked", body=b"1;" + b"a" * 70_000),
    ),
    "a chunk extension with a bare CR": (
        400,
        post(b"Transfer-Encoding: chunked", body=b"1;a\rb\r\na\r\n0\r\n\r\n"),
    ),
    "a trailer that is no header": (
        400,
        post(b"Transfer-Encoding: chunked", body=b"0\r\nGET / HTTP/1.1\r\n\r\n"),
    ),
    "trailers without end": (
        400,
        post(b"Transfer-Encoding: chunked", body=b"0\r\n" + b"a: b\r\n" * 3000 + b"\r\n"),
    ),
    "a body in many tiny chunks": (
        400,
        post(b"Transfer-Encoding: chunked", body=b"1\r\na\r\n" * 5000 + b"0\r\n\r\n"),
    ),
    "an obs-fold": (400, post(b"X-A: b", b" c")),
    "an obs-fold with a tab": (400, post(b"X-A: b", b"\tc")),
    "a fold before the first header": (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    "a bare CR in a value": (400, post(b"X-A: b\rc")),
    "a bare LF between headers": (400, b"GET / HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n"),
    "bare LFs only": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "a head that ends in CR LF LF": (400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    "a NUL in a value": (400, post(b"X-A: b\x00c")),
    "a NUL in a name": (400, post(b"X-\x00A: b")),
    "a control character in a value": (400, post(b"X-A: b\x01c")),
    "no host": (400, b"GET / HTTP/1.1\r\nX-A: b\r\n\r\n"),
    "two hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    "two equal hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    "a host with a path": (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "a host with a user": (400, b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    "two authorization headers": (400, post(b"Authorization: Bearer a", b"Authorization: Bearer b")),
    "two content-types": (400, post(b"Content-Type: a/b", b"Content-Type: c/d")),
    "HTTP/0.9": (400, b"GET /\r\n\r\n"),
    "HTTP/0.9 that waits": (400, b"GET /\r\n"),
    "HTTP/2.0": (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    "the HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/1.2": (505, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    "HTTP/1.10": (505, b"GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    "a lower-case http version": (400, b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    "TLS on the plain port": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "an absolute target for another host": (400, b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "an absolute target with a user": (400, b"GET http://x@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target that is no path": (400, b"GET v1/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "the target *": (400, b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a fragment in the target": (400, b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target with a raw UTF-8 byte": (400, b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target with a NUL": (400, b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "two spaces in the request line": (400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a tab in the request line": (400, b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "words behind the version": (400, b"GET / HTTP/1.1 x\r\nHost: a\r\n\r\n"),
    "a header line of 17 KB": (431, post(b"X-A: " + b"b" * 17_000)),
    "a header of 70 KB": (431, post(b"X-A: " + b"b" * 70_000)),
    "a header of 1 MB": (431, post(b"X-A: " + b"b" * 1_000_000)),
    "70 KB in many headers": (431, post(*(b"X-%d: " % i + b"b" * 990 for i in range(70)))),
    "101 headers and a host": (431, post(*(b"X-%d: b" % i for i in range(101)))),
    "5000 headers": (431, post(*(b"X-%d: b" % i for i in range(5000)))),
    "a target of 17 KB": (414, b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target of 70 KB": (414, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target of 70 KB without end": (414, b"GET /" + b"a" * 70_000),
    "a content-length over the limit": (413, post(b"Content-Length: 100001", body=b"a" * 100_001)),
    "chunks over the limit": (
        413,
        post(b"Transfer-Encoding: chunked", body=b"%x\r\n%b\r\n" % (100_001, b"a" * 100_001) + b"0\r\n\r\n"),
    ),
    "an announced body of a terabyte": (413, post(b"Content-Length: 1000000000000")),
    "an unknown expectation": (417, post(b"Expect: bogus", b"Content-Length: 0")),
    "two expectations": (400, post(b"Expect: 100-continue", b"Expect: x", b"Content-Length: 0")),
    "CONNECT": (405, b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
    "TRACE": (405, b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "an unknown method": (501, b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a method in lower case": (501, b"get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a method that is no token": (400, b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a header without a colon": (400, post(b"X-A")),
    "an empty header name": (400, post(b": b")),
    "a header name with a space": (400, post(b"X A: b")),
    "a header name with a non-ASCII byte": (400, post(b"X-\xe4: b")),
    "a header name with a slash": (400, post(b"X/A: b")),
}


@pytest.mark.parametrize("case", REFUSED, ids=lambda name: name.replace(" ", "-"))
def test_is_refused_with_an_openai_error_and_the_connection_ends(site: Site, case: str) -> None:
    want, data = REFUSED[case]
    got = site.ask(data)
    head, _, body = got.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    assert status in (want if isinstance(want, tuple) else (want,)), got[:300]
    assert site.calls == []
    assert b"\r\nconnection: close" in head
    assert b"\r\nx-request-id: req_" in head
    assert not got.endswith(b"<open>")
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == ("invalid_request_error" if status < 500 else "server_error")
    assert error["message"].endswith(".")


@pytest.mark.parametrize("case", REFUSED, ids=lambda name: name.replace(" ", "-"))
def test_is_refused_as_well_when_it_comes_byte_by_byte(case: str) -> None:
    """The reader alone: 70,000 packets a case would be slow."""
    from gateway.wire.request import END, Refused, RequestHead, RequestReader

    want, data = REFUSED[case]
    if 413 in (want if isinstance(want, tuple) else (want,)):
        return  # the exchange's limit, not the reader's
    reader = RequestReader(LIMITS)
    found: list[object] = []
    step = max(1, len(data) // 3000)
    for at in range(0, len(data), step):
        found += reader.feed(data[at : at + step])
    assert END not in found
    assert isinstance(found[-1], Refused), found
    assert found[-1].status in (want if isinstance(want, tuple) else (want,))
    assert all(isinstance(e, RequestHead | bytes) for e in found[:-1])


def status_of(got: bytes) -> int:
    return int(got.split(b" ", 2)[1])


GOOD = post(b"Content-Length: 2", body=b"hi")
SHORT = [case for case, (_, data) in REFUSED.items() if len(data) <= 1000]


@pytest.mark.parametrize("case", SHORT, ids=lambda name: name.replace(" ", "-"))
def test_is_refused_as_well_over_a_socket_a_byte_at_a_time(site: Site, case: str) -> None:
    want, data = REFUSED[case]
    got = site.ask(*(data[at : at + 1] for at in range(len(data))))
    assert status_of(got) in (want if isinstance(want, tuple) else (want,)), got[:300]
    assert got.count(b"\r\nx-request-id: ") == 1
    assert not got.endswith(b"<open>")
    assert site.calls == []


@pytest.mark.parametrize("case", REFUSED, ids=lambda name: name.replace(" ", "-"))
def test_pipelined_it_is_refused_behind_a_good_one_and_nothing_behind_it_is_served(
    site: Site, case: str
) -> None:
    want, data = REFUSED[case]
    got = site.ask(GOOD + data + GOOD)
    assert got.startswith(b"HTTP/1.1 200 ")
    _, _, second = got.partition(b"host,content-length")  # the first answer's last words
    assert status_of(second) in (want if isinstance(want, tuple) else (want,)), second[:300]
    assert second.count(b"\r\nx-request-id: ") == 1
    assert not got.endswith(b"<open>")
    assert [body for _, _, body in site.calls] == [b"hi"]


def test_a_good_request_is_served_as_well_a_byte_at_a_time(site: Site) -> None:
    chunks = b"1;x=y\r\nh\r\n1\r\ni\r\n0\r\nx-t: 1\r\n\r\n"
    for data in (GOOD, post(b"Transfer-Encoding: chunked", body=chunks)):
        assert ok(site.ask(*(data[at : at + 1] for at in range(len(data))))).startswith(b"hi|")


def test_a_header_of_9_kb_is_served(site: Site) -> None:
    assert ok(site.ask(post(b"X-A: " + b"b" * 9000, b"Content-Length: 2", body=b"hi"))).startswith(b"hi|")


def ok(got: bytes) -> bytes:
    assert got.startswith(b"HTTP/1.1 200 OK\r\n"), got
    return got.partition(b"\r\n\r\n")[2]


def test_a_short_body_and_fin_calls_nobody(site: Site) -> None:
    assert site.ask(post(b"Content-Length: 10", body=b"hello"), fin=True) == b""
    assert site.calls == []


def test_a_short_chunked_body_and_fin_calls_nobody(site: Site) -> None:
    assert site.ask(post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"), fin=True) == b""
    assert site.calls == []


def test_a_refused_client_that_still_sends_can_read_why(site: Site) -> None:
    got = site.ask(post(b"Content-Length: 5000000"), *[b"a" * 100_000] * 50)
    assert got.startswith(b"HTTP/1.1 413 ")
    assert b'"body_too_large"' in got


def test_an_answer_before_the_body_was_read_ends_the_connection(site: Site) -> None:
    got = site.ask(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n" + b"a" * 500_000)
    assert got.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in got
    assert not got.endswith(b"<open>")


def test_slow_headers_get_408(site: Site) -> None:
    got = site.ask(b"GET / HTTP/1.1\r\nHost: a\r\n")
    assert got.startswith(b"HTTP/1.1 408 ")
    assert b'"request_timeout"' in got


def test_a_slow_body_gets_408(site: Site) -> None:
    got = site.ask(post(b"Content-Length: 10", body=b"hello"))
    assert got.startswith(b"HTTP/1.1 408 ")
    assert site.calls == []


def test_a_client_that_says_nothing_is_closed_without_a_word(site: Site) -> None:
    assert site.ask() == b""


def test_drip_fed_headers_cannot_hold_a_connection(site: Site) -> None:
    """The time-out counts from the head's first byte, not from its last."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=5) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        sock.settimeout(0.2)
        got = b""
        for i in range(25):
            try:
                got = sock.recv(1000)
            except TimeoutError:
                sock.sendall(b"X-%d: b\r\n" % i)
            else:
                break
    assert got.startswith(b"HTTP/1.1 408 ")


def test_an_upgrade_is_not_honoured(site: Site) -> None:
    got = site.ask(post(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 2", body=b"hi"))
    assert ok(got).startswith(b"hi|")


def test_a_request_behind_an_upgrade_is_still_a_request(site: Site) -> None:
    one = post(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"Content-Length: 2", body=b"hi")
    assert site.ask(one + one).count(b"HTTP/1.1 200 OK") == 2


def test_header_names_with_underscores_are_left_out(site: Site) -> None:
    got = site.ask(post(b"Content_Length: 99", b"X_Forwarded_For: 1", b"Content-Length: 2", body=b"hi"))
    assert ok(got) == b"hi|host,content-length<open>"


def test_trailers_are_left_out(site: Site) -> None:
    body = b"2\r\nhi\r\n0\r\nAuthorization: Bearer x\r\nContent-Length: 5\r\n\r\n"
    assert ok(site.ask(post(b"Transfer-Encoding: chunked", body=body))) == b"hi|host,transfer-encoding<open>"


def test_chunk_extensions_are_left_out(site: Site) -> None:
    got = site.ask(post(b"Transfer-Encoding: Chunked", body=b'2;a="b"\r\nhi\r\n000 ; c\r\n\r\n'))
    assert ok(got).startswith(b"hi|")


def test_an_absolute_target_for_the_same_host_is_its_path(site: Site) -> None:
    assert ok(site.ask(b"GET http://A/v1/x?y HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert site.calls == [(b"GET", b"/v1/x", b"")]


def test_one_empty_line_before_a_request_is_skipped(site: Site) -> None:
    assert ok(site.ask(b"\r\n" + post(b"Content-Length: 2", body=b"hi")))


def test_empty_lines_without_end_are_refused(site: Site) -> None:
    assert site.ask(b"\r\n" * 50).startswith(b"HTTP/1.1 400 ")


def test_pipelined_requests_are_answered_in_order(site: Site) -> None:
    three = b"".join(post(b"Content-Length: 1", body=b"%d" % i) for i in range(3))
    got = site.ask(three)
    assert [got.index(b"%d|host" % i) for i in range(3)] == sorted(
        got.index(b"%d|host" % i) for i in range(3)
    )
    assert [body for _, _, body in site.calls] == [b"0", b"1", b"2"]


def test_a_bad_request_behind_a_good_one_is_refused_after_its_answer(site: Site) -> None:
    got = site.ask(post(b"Content-Length: 2", body=b"hi") + b"GET /\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK")
    assert b"HTTP/1.1 400 Bad Request" in got
    assert not got.endswith(b"<open>")


def test_the_body_behind_a_get_is_not_the_next_request(site: Site) -> None:
    smuggled = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
    data = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(smuggled), smuggled)
    assert site.ask(data).count(b"HTTP/1.1") == 2  # the answer's own line, and the echoed body
    assert [path for _, path, _ in site.calls] == [b"/"]


def test_a_100_continue_is_sent_only_when_the_body_is_wanted(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=5) as sock:
        sock.sendall(post(b"Expect: 100-continue", b"Content-Length: 2"))
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hi")
        assert ok(sock.recv(1000)).startswith(b"hi|")
    unwanted = site.ask(
        b"POST /early HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    assert unwanted.startswith(b"HTTP/1.1 401 ")
    too_large = site.ask(post(b"Expect: 100-continue", b"Content-Length: 100001"))
    assert too_large.startswith(b"HTTP/1.1 413 ")


def test_http_1_0_is_closed_unless_it_asks_to_stay(site: Site) -> None:
    assert not site.ask(b"GET / HTTP/1.0\r\n\r\n").endswith(b"<open>")
    kept = site.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert b"\r\nconnection: keep-alive" in kept
    assert kept.endswith(b"<open>")


def test_connection_close_is_heard_in_any_of_its_headers(site: Site) -> None:
    got = site.ask(post(b"Connection: x", b"Connection: Close", b"Content-Length: 0"))
    assert not got.endswith(b"<open>")


def test_refusals_are_reported_with_the_id_the_client_got(site: Site) -> None:
    got = site.ask(b"GET /\r\n\r\n")
    assert site.refused[-1][1].encode() in got


def test_a_body_of_exactly_the_limit_is_served(site: Site) -> None:
    assert len(ok(site.ask(post(b"Content-Length: 100000", body=b"a" * 100_000)))) > 100_000


def test_100_headers_are_served(site: Site) -> None:
    assert ok(site.ask(post(*(b"X-%d: b" % i for i in range(98)), b"Content-Length: 0")))
