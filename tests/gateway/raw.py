"""A backend that answers with any bytes, valid or not: a real server on loopback, in threads."""

from __future__ import annotations

import contextlib
import json
import socket
import threading

ANSWER = json.dumps(
    {
        "id": "1",
        "object": "chat.completion",
        "model": "served",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
EVENT = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def sized(body: bytes, head: bytes = JSON) -> bytes:
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)


class Raw:
    """`answer` is what the next calls get; `hold`: the connection stays open behind it, silent.

    Else it is closed at once, also where nothing announced that.
    """

    keeps_probes = True
    """A call may come on the connection of a probe."""

    def __init__(self) -> None:
        self.answer = sized(ANSWER)
        self.hold = False
        self.calls = 0
        self._open: set[socket.socket] = set()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        if self._socket.fileno() < 0:
            return
        self._socket.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(5)
        self._socket.close()
        for each in tuple(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while self._one(connection):
                    pass
            except OSError:
                pass
            finally:
                self._open.discard(connection)

    def _one(self, connection: socket.socket) -> bool:
        """False: close."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return False
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        if head.startswith(b"GET /health "):
            closes = b"" if self.keeps_probes else b"connection: close\r\n"
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n%b\r\n" % closes)
            return self.keeps_probes
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")
        )
        while len(body) < length:
            body += connection.recv(65536)
        self.calls += 1
        return self._reply(connection)

    def _reply(self, connection: socket.socket) -> bool:
        """To one call. False: close."""
        connection.sendall(self.answer)
        if self.hold:
            connection.recv(1)
        return False
