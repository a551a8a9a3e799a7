"""A hub on loopback, as far as huggingface_hub asks one for a model: a listing, and files by range."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40


@dataclass
class FakeHub:
    """`files` of one model; what it does instead of answering, and what it was asked."""

    name: str = "org/name"
    files: dict[str, bytes] = field(default_factory=dict)
    refs: tuple[str, ...] = ("main", COMMIT)
    refuse: tuple[int, str] | None = None
    """(status, X-Error-Code) for every question."""
    token: str = ""
    """Asked for, if there is one."""
    cut: int = 0
    """So many answers of files end in their middle, without a word."""
    busy: int = 0
    """So many questions are answered with 503."""
    hold: threading.Event | None = None
    """Files stop in their middle until it is set."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(method, path)."""
    url: str = ""

    @property
    def fetched(self) -> list[str]:
        """Names of files whose content was asked for."""
        return [
            path.rpartition(f"/{COMMIT}/")[2]
            for method, path in self.asked
            if method == "GET" and "/resolve/" in path
        ]

    @contextmanager
    def serving(self) -> Iterator[FakeHub]:
        hub = self

        class Handler(_Handler):
            fake = hub

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            if self.hold is not None:
                self.hold.set()
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    fake: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        fake, path = self.fake, unquote(urlsplit(self.path).path)
        fake.asked.append((self.command, path))
        if fake.busy > 0:
            fake.busy -= 1
            self._refuse(503, "")
        elif fake.refuse is not None:
            self._refuse(*fake.refuse)
        elif fake.token and self.headers.get("authorization") != f"Bearer {fake.token}":
            self._refuse(401, "")
        elif match := re.fullmatch(rf"/api/models/{fake.name}/(revision|tree)/(.*)", path):
            self._listing(match[1], match[2])
        elif (match := re.fullmatch(rf"/{fake.name}/resolve/([^/]*)/(.*)", path)) and match[2] in fake.files:
            self._file(fake.files[match[2]], body=body)
        else:
            self._refuse(404, "RepoNotFound" if path.startswith("/api") else "EntryNotFound")

    def _listing(self, kind: str, revision: str) -> None:
        fake = self.fake
        if revision not in fake.refs:
            self._refuse(404, "RevisionNotFound")
            return
        if kind == "tree":
            found = [
                {"type": "file", "path": name, "size": len(data), "oid": oid(data)}
                for name, data in fake.files.items()
            ]
            self._json(200, found)
            return
        siblings = [
            {"rfilename": name, "size": len(data), "blobId": oid(data)} for name, data in fake.files.items()
        ]
        self._json(200, {"id": fake.name, "sha": COMMIT, "siblings": siblings})

    def _file(self, data: bytes, *, body: bool) -> None:
        fake = self.fake
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        begin = int(span[1]) if span else 0
        end = int(span[2]) + 1 if span and span[2] else len(data)
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
        self.send_header("ETag", f'"{oid(data)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(end - begin))
        self.end_headers()
        if not body:
            return
        middle = (begin + end) // 2
        self.wfile.write(data[begin:middle])
        self.wfile.flush()
        if fake.cut > 0 and end - begin > 1000:
            fake.cut -= 1
            self.close_connection = True
            self.connection.close()
            return
        if fake.hold is not None and end - begin > 1000:
            fake.hold.wait(60)
        self.wfile.write(data[middle:end])

    def _refuse(self, status: int, code: str) -> None:
        self._json(status, {"error": code or "no"}, {"X-Error-Code": code} if code else {})

    def _json(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
