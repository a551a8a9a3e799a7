"""nginx.conf of a container, served by a real nginx: the way in without TLS, and a swapped upstream."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infctl import tls
from infctl.host import find_nginx
from infctl.profile.builtin import builtin_profiles
from infctl.profile.schema import Profile
from infctl.render import nginx
from infctl.stack import Layout
from tests.infctl.render.conftest import render_profile

DEADLINE_S = 20.0
PROFILE = Profile.model_validate({"name": "p", "models": {"chat": {"source": "a/b", "task": "chat"}}})


class Gateway(http.server.BaseHTTPRequestHandler):
    """Says which one it is, and what reached it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"port": self.server.server_address[1], "headers": headers}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@contextlib.contextmanager
def gateway() -> Iterator[int]:
    """Its port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Edge:
    folder: Path
    https: int
    plain: int
    process: subprocess.Popen[bytes]

    def ask(self, *, plain: bool, **headers: str) -> tuple[http.client.HTTPMessage, dict[str, object]]:
        trusted = ssl.create_default_context(cafile=str(self.folder / "tls/certificate.pem"))
        with contextlib.closing(
            http.client.HTTPConnection("localhost", self.plain, timeout=10)
            if plain
            else http.client.HTTPSConnection("localhost", self.https, timeout=10, context=trusted)
        ) as connection:
            connection.request("GET", "/v1/models", headers=headers)
            answer = connection.getresponse()
            assert answer.status == 200
            return answer.headers, json.loads(answer.read())

    def go_to(self, port: int) -> None:
        """As a rollout does it: a new upstream.conf, then a reload."""
        new = self.folder / "new"
        new.write_text(nginx.upstream(PROFILE, (("127.0.0.1", port, False),)))
        new.replace(self.folder / "upstream.conf")
        self.process.send_signal(signal.SIGHUP)


@contextlib.contextmanager
def running(folder: Path, port: int) -> Iterator[Edge]:
    https, plain, redirect = free_ports(3)
    for file in nginx.render(PROFILE, Layout(folder, folder, beside=True), http3=False, where=lambda _: None):
        text = file.text
        for inside, here in (
            ("0.0.0.0:443", f"127.0.0.1:{https}"), ("0.0.0.0:8000", f"127.0.0.1:{plain}"),
            ("0.0.0.0:80", f"127.0.0.1:{redirect}"), ("/etc/nginx/", f"{folder}/"),
            ("/tmp/nginx", f"{folder}/nginx"),
        ):  # fmt: skip
            text = text.replace(inside, here)
        (folder / Path(file.path).name).write_text(text)
    tls.self_signed(folder / "tls", ("localhost",), now=datetime.now(UTC))
    (folder / "upstream.conf").write_text(nginx.upstream(PROFILE, (("127.0.0.1", port, False),)))
    binary = find_nginx()
    argv = (
        binary,
        "-e",
        "stderr",
        "-p",
        str(folder),
        "-c",
        str(folder / "nginx.conf"),
        "-g",
        "daemon off; user root;",
    )
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until_it_listens(process, https, folder / "log")
        yield Edge(folder, https, plain, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_S)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def test_both_ways_in_tell_the_gateway_the_same(tmp_path: Path) -> None:
    """A client cannot say who it is; only with TLS is the browser told to keep to it."""
    with gateway() as port, running(tmp_path, port) as edge:
        for plain, scheme in ((True, "http"), (False, "https")):
            headers, seen = edge.ask(
                plain=plain, **{"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6"}
            )
            reached = seen["headers"]
            assert isinstance(reached, dict)
            assert reached["x-forwarded-for"] == "127.0.0.1"
            assert reached["x-forwarded-proto"] == scheme
            assert "forwarded" not in reached
            assert headers["X-Frame-Options"] == "DENY"
            assert (headers["Strict-Transport-Security"] is None) == plain


def test_a_swapped_upstream_is_taken_at_a_reload(tmp_path: Path) -> None:
    with gateway() as one, gateway() as two, running(tmp_path, one) as edge:
        assert edge.ask(plain=True)[1]["port"] == one
        edge.go_to(two)
        deadline = time.monotonic() + DEADLINE_S
        while edge.ask(plain=True)[1]["port"] != two:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize("case", [name for name in builtin_profiles() if name != "local"])
def test_nginx_takes_the_files_of_every_profile(case: str, tmp_path: Path) -> None:
    """`nginx -t` of a current nginx, with `resolve` and the included file; certificates aside."""
    found = render_profile(builtin_profiles()[case])
    tls.self_signed(tmp_path / "tls", ("localhost",), now=datetime.now(UTC))
    text = found.text("nginx.conf").replace("/tmp/nginx", f"{tmp_path}/nginx")
    lines = []
    for line in text.splitlines():
        name = line.split()[0] if line.split() else ""
        files = {"ssl_certificate": "certificate.pem", "ssl_certificate_key": "key.pem"}
        lines.append(f"{name} {tmp_path}/tls/{files[name]};" if name in files else line)
    (tmp_path / "nginx.conf").write_text("\n".join(lines))
    (tmp_path / "upstream.conf").write_text(found.text("upstream.conf"))
    done = subprocess.run(
        [find_nginx(), "-t", "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_an_upstream_may_name_addresses_and_names_together() -> None:
    text = nginx.upstream(PROFILE, (("172.18.0.9", 8000, False), ("inference-gateway", 8000, True)))
    assert text.splitlines()[:4] == [
        "upstream gateway {",
        "    zone gateway 128k;",
        "    server 172.18.0.9:8000 max_fails=0;",
        "    server inference-gateway:8000 resolve max_fails=0;",
    ]
