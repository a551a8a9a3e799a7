"""What goes wrong between the platform and its Prometheus is shown as such, breaks nothing, and tells nobody.

A real gateway, a real Prometheus: a target that is down, one that is read with a wrong key, labels that no
sane client sends, a data folder that may not be written, and somebody on Prometheus's port.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway import metrics
from gateway.exposition import LABEL_CHARS, render
from gateway.metrics import Metrics
from infctl.stack.containers import Container
from tests.gateway.process import ADMIN, KEY, Gateway, config_for, free_port, until
from tests.gateway.stub import Stub
from tests.infctl.test_projects import stack

NOBODY = 65_534
LONG = "x" * 10_240
HOSTILE = ('say "hi"', "two\nlines", "back\\slash", 'a="b"} 1\nfaked_total{c="d', "\u2028é", LONG)
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}


@dataclass
class Place:
    gateway: Gateway
    prometheus: httpx.Client

    def target(self, job: str) -> dict[str, Any]:
        found = self.prometheus.get("/api/v1/targets").json()["data"]["activeTargets"]
        return next(one for one in found if one["labels"]["job"] == job)

    def ask(self, query: str) -> list[dict[str, Any]]:
        answer = self.prometheus.get("/api/v1/query", params={"query": query}).json()
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def up(self, job: str) -> float | None:
        found = self.ask(f'up{{job="{job}"}}')
        return float(found[0]["value"][1]) if found else None


def command(folder: Path, data: Path, port: int) -> list[str]:
    """As it is rendered; files and port are ours."""
    return [
        str(shutil.which("prometheus")),
        *(
            argument.replace("/etc/prometheus", str(folder)).replace("=/prometheus", f"={data}")
            for argument in rendered().command
        ),
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]


def rendered() -> Container:
    """Prometheus's container of a platform."""
    made = stack({"chat": {}}, monitoring={"enabled": True})
    return next(one for project in made.projects for one in project.containers if one.service == "prometheus")


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with contextlib.ExitStack() as stack_:
        folder = Path(stack_.enter_context(tempfile.TemporaryDirectory()))
        stub = Stub()
        stack_.callback(stub.stop)
        gateway = Gateway(folder, config_for(stub, metrics_open_to=["10.0.0.0/8"]))
        stack_.callback(gateway.stop)
        gateway.wait_ready(2)
        odd = stack_.enter_context(serving(hostile_text()))
        jobs = {
            "right": (f"127.0.0.1:{gateway.port}", ADMIN),
            "clients": (f"127.0.0.1:{gateway.port}", KEY),
            "wrong": (f"127.0.0.1:{gateway.port}", "no-such-key"),
            "without": (f"127.0.0.1:{gateway.port}", None),
            "down": (f"127.0.0.1:{free_port()}", None),
            "odd": (odd, None),
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(reading(jobs)))
        port = free_port()
        log = stack_.enter_context((folder / "log").open("w"))
        process = subprocess.Popen(command(folder, folder / "data", port), stdout=log, stderr=log)
        stack_.callback(lambda: (process.terminate(), process.wait(20)))
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False)
        stack_.callback(client.close)
        found = Place(gateway, client)

        def read() -> bool:
            with contextlib.suppress(httpx.HTTPError, KeyError, ValueError):
                return all(found.up(job) is not None for job in jobs)
            return False

        until(read, 30)
        yield found


def reading(jobs: dict[str, tuple[str, str | None]]) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms"},
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [address]}]}
            | ({} if key is None else {"authorization": {"credentials": key}})
            for job, (address, key) in jobs.items()
        ],
    }


def hostile_text() -> bytes:
    numbers = Metrics()
    for tenant in HOSTILE:
        numbers.count(metrics.REQUESTS, (numbers.tenant(tenant), "chat", "chat0", "ok", ""))
    return render(numbers.snapshot(), "")[1]


@contextlib.contextmanager
def serving(text: bytes) -> Iterator[str]:
    """One /metrics. Its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_target_that_is_down_is_shown_with_the_cause_and_the_others_are_read(place: Place) -> None:
    assert place.up("down") == 0
    assert "refused" in place.target("down")["lastError"]
    assert place.up("right") == place.up("odd") == 1


@pytest.mark.parametrize("job", ["wrong", "without", "clients"])
def test_a_wrong_metrics_token_is_told_as_401_and_brings_no_figure(place: Place, job: str) -> None:
    assert place.up(job) == 0
    assert "401" in place.target(job)["lastError"]
    assert place.ask(f'{{__name__=~"infctl_.*",job="{job}"}}') == []
    assert place.ask('infctl_build_info{job="right"}') != []


@pytest.mark.parametrize("key", [None, "no-such-key", KEY])
def test_who_may_not_read_the_metrics_gets_an_error_and_nothing_else(place: Place, key: str | None) -> None:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    answer = httpx.get(f"{place.gateway.url}/metrics", headers=headers, trust_env=False)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert "infctl_" not in answer.text
    assert "chat0" not in answer.text


def test_a_scraper_does_not_become_another_by_what_it_says_of_itself(place: Place) -> None:
    """Loopback is a trusted proxy here: an address of the open networks counts where it says so, no other."""
    for forwarded, status in (("10.1.1.1", 200), ("11.1.1.1", 401), ("10.1.1.1, 11.1.1.1", 401), ("x", 401)):
        answer = httpx.get(
            f"{place.gateway.url}/metrics", headers={"x-forwarded-for": forwarded}, trust_env=False
        )
        assert answer.status_code == status, forwarded


def test_label_values_come_back_as_they_were_and_long_ones_shortened(place: Place) -> None:
    found = {
        one["metric"]["tenant"]: one["value"][1] for one in place.ask('infctl_requests_total{job="odd"}')
    }
    assert set(found.values()) == {"1"}
    assert found.keys() - {name for name in found if name.startswith("xxx")} == set(HOSTILE) - {LONG}
    [short] = [name for name in found if name.startswith("xxx")]
    assert len(short) == LABEL_CHARS
    assert place.ask('{__name__="faked_total"}') == []


def test_what_clients_write_becomes_no_label_of_theirs(place: Place) -> None:
    for odd in HOSTILE:
        body = CHAT | {"model": odd}
        assert place.gateway.http.post("/v1/chat/completions", json=body).status_code in {400, 404}
        forwarded = odd.encode("ascii", "replace").decode().replace("\n", " ")
        answer = place.gateway.http.post(
            "/v1/chat/completions",
            json=CHAT,
            headers={"x-forwarded-for": forwarded, "x-request-id": forwarded},
        )
        assert answer.status_code == 200
    query = 'infctl_requests_total{job="right"}'
    until(lambda: sum(float(one["value"][1]) for one in place.ask(query)) >= 2 * len(HOSTILE), 20)
    for one in place.ask(query):
        assert one["metric"]["model"] in {"chat", "other"}
        assert one["metric"]["tenant"] == "127.0.0.1"
    assert place.up("right") == 1


@pytest.mark.parametrize(
    "path",
    [
        "/-/reload",
        "/-/quit",
        "/api/v1/write",
        "/api/v1/admin/tsdb/delete_series?match[]=up",
        "/api/v1/admin/tsdb/clean_tombstones",
        "/api/v1/admin/tsdb/snapshot",
    ],
)
def test_who_reaches_prometheus_may_read_and_change_nothing(place: Place, path: str) -> None:
    assert 400 <= place.prometheus.post(path).status_code < 600
    assert place.up("right") == 1


def test_a_prometheus_that_may_not_write_its_folder_says_so_and_calls_go_on(
    place: Place, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    data = tmp_path / "data"
    data.mkdir(mode=0o555)
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(reading({})))
    with tempfile.TemporaryDirectory() as open_:
        # pytest's own folders are closed to others: one that everybody may enter.
        Path(open_).chmod(0o755)
        shutil.copytree(tmp_path, Path(open_) / "p")
        folder = Path(open_) / "p"
        done = subprocess.run(
            command(folder, folder / "data", free_port()),
            user=NOBODY if os.geteuid() == 0 else None,
            cwd=open_,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode != 0
    assert "permission denied" in done.stderr
    assert str(folder / "data") in done.stderr
    assert place.gateway.chat().status_code == 200
    assert place.up("right") == 1
