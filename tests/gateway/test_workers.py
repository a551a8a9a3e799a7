"""Several workers of one gateway: real processes, asked like any other gateway."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as read_text

from tests.gateway.process import ADMIN, KEY, ROOT, Gateway, config_for, until
from tests.gateway.stub import Stub

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "capital of France?"}]}
WORKERS = 2
START_S = 60.0
"""Several interpreters on a machine that may be busy."""
NO_TLS = ssl.create_default_context()
"""Made once: httpx would read the system's certificates anew for each client."""


def two(*stubs: Any, **extra: Any) -> dict[str, Any]:
    return config_for(*stubs, workers=WORKERS, **extra)


def connection(gateway: Gateway) -> httpx.Client:
    """A new one: the kernel chooses its worker."""
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.Client(base_url=gateway.url, headers=headers, timeout=20, trust_env=False, verify=NO_TLS)


def up(gateway: Gateway, backends: int = 2) -> Gateway:
    """All workers serve, and each has seen its backends ready."""

    def there() -> bool:
        assert gateway.process.poll() is None, (gateway.text, gateway.errors)
        ready = len(gateway.events("backend_ready"))
        return bool(gateway.events("started")) and ready >= backends * WORKERS

    until(there, START_S)
    return gateway


def pids(gateway: Gateway) -> dict[int, int]:
    """Worker -> pid, of those that serve."""
    with connection(gateway) as client:
        rows = client.get("/health/detailed").json()["workers"]
    return {row["worker"]: row["pid"] for row in rows if row["state"] == "serving"}


def metric(gateway: Gateway, name: str, **labels: str) -> float:
    """The sum of the series that have these labels, as any worker tells it."""
    with connection(gateway) as client:
        text = client.get("/metrics").text
    return sum(
        sample.value
        for family in read_text(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Client(threading.Thread):
    """One kept connection, a question after the other; `failed`: what went wrong, when, at which worker."""

    def __init__(self, gateway: Gateway, stop: threading.Event) -> None:
        super().__init__()
        self.gateway, self.stop = gateway, stop
        self.answered = 0
        self.failed: list[tuple[float, str]] = []
        self.start()

    def run(self) -> None:
        while not self.stop.is_set():
            with connection(self.gateway) as http:
                try:
                    while not self.stop.is_set():
                        reply = http.post("/v1/chat/completions", json=CHAT)
                        assert reply.status_code == 200, reply.text
                        self.answered += 1
                        if reply.headers.get("connection") == "close":
                            return
                except (httpx.HTTPError, AssertionError) as error:
                    self.failed.append((time.monotonic(), repr(error)))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Stub]]:
    """One gateway of two workers, for the tests that leave it as it was."""
    stub = Stub()
    gateway = up(Gateway(tmp_path_factory.mktemp("workers"), two(stub)))
    yield gateway, stub
    assert gateway.stop() == 0
    stub.stop()


def test_what_any_worker_says_is_the_sum_of_all_to_the_request(pair):
    gateway, stub = pair
    before, sent = metric(gateway, "infctl_requests_total"), 60
    seen_before = len(stub.seen)
    ids = []
    for _ in range(sent // 2):
        with connection(gateway) as client:
            answers = [client.post("/v1/chat/completions", json=CHAT) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        ids += [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == sent
    assert len(stub.seen) - seen_before == sent
    for _ in range(6):  # whichever worker answers
        assert metric(gateway, "infctl_requests_total") - before == sent
        assert metric(gateway, "infctl_request_duration_seconds_count", model="chat") >= sent
    rows = gateway.detailed()["backends"]
    assert sum(row["requests"] for row in rows) >= sent
    assert metric(gateway, "infctl_workers") == WORKERS
    assert metric(gateway, "infctl_backend_state", backend="chat0") == 1


def _is_socket(file: Path) -> bool:
    try:
        return str(file.readlink()).startswith("socket:")
    except FileNotFoundError:  # closed meanwhile
        return False


def test_the_kernel_spreads_connections_over_the_workers(pair):
    gateway, _ = pair

    def sockets() -> list[int]:
        return [
            sum(_is_socket(each) for each in Path(f"/proc/{pid}/fd").iterdir())
            for pid in pids(gateway).values()
        ]

    before = sockets()
    clients = [connection(gateway) for _ in range(40)]
    for client in clients:
        assert client.get("/health/live").status_code == 200
    after = sockets()
    for client in clients:
        client.close()
    assert all(now - then >= 5 for now, then in zip(after, before, strict=True)), (before, after)


def test_a_drain_through_any_worker_is_a_drain_at_all_and_done_when_none_has_anything_in_flight(pair):
    gateway, stub = pair
    admin = {"authorization": f"Bearer {ADMIN}"}
    for _ in range(6):  # the first to ask a worker waits for FastAPI
        with connection(gateway) as client:
            client.get("/admin/backends", headers=admin)
    stub.delay_s = 1.5
    calls = 16  # the kernel chooses: one run in 32,000 leaves a worker without any; with 6, one in 32
    with ThreadPoolExecutor(calls) as pool:

        def ask() -> int:
            with connection(gateway) as client:
                return client.post("/v1/chat/completions", json=CHAT).status_code

        asked = [pool.submit(ask) for _ in range(calls)]
        until(lambda: gateway.backend("chat0")["in_flight"] == calls)
        with connection(gateway) as client:
            row = client.post("/admin/backends/chat0/drain", headers=admin).json()
        assert (row["state"], row["in_flight"], row["workers"]) == ("draining", calls, None)
        for _ in range(8):  # at whichever worker
            with connection(gateway) as client:
                refused = client.post("/v1/chat/completions", json=CHAT)
            assert refused.json()["error"]["code"] == "no_healthy_backend"
        assert {each.result() for each in asked} == {200}
    stub.delay_s = 0.0
    until(lambda: gateway.backend("chat0")["state"] == "drained")
    assert gateway.backend("chat0")["in_flight"] == 0
    with connection(gateway) as client:
        row = client.post("/admin/backends/chat0/undrain", headers=admin).json()
    assert row["state"] == "ready"
    for _ in range(8):
        with connection(gateway) as client:
            assert client.post("/v1/chat/completions", json=CHAT).status_code == 200


def test_a_worker_that_hangs_is_told_of_by_what_it_said_last(pair):
    gateway, _ = pair
    total = metric(gateway, "infctl_requests_total")
    served = pids(gateway)
    hanging = served[0]
    awake = connection(gateway)
    try:
        os.kill(hanging, signal.SIGSTOP)
        while True:  # until a connection is one of the other worker's
            try:
                awake.get("/health/live", timeout=0.5)
                break
            except httpx.TimeoutException:
                awake.close()
                awake = connection(gateway)
        text = awake.get("/metrics").text
    finally:
        os.kill(hanging, signal.SIGCONT)
        awake.close()
    assert f"infctl_workers {WORKERS}.0" in text
    lines = [line for line in text.splitlines() if line.startswith("infctl_requests_total{")]
    assert sum(float(line.rpartition(" ")[2]) for line in lines) == total


def test_a_second_gateway_on_the_port_is_refused_whether_it_has_workers_or_not(pair, tmp_path):
    gateway, _ = pair
    for workers in (1, 2):
        file = tmp_path / f"{workers}.yaml"
        file.write_text(json.dumps(gateway.config | {"workers": workers}))
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "--config", str(file)],
            cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", "GATEWAY_API_KEY": KEY},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        line = json.loads(done.stdout)
        assert (done.returncode, line["event"], done.stderr) == (5, "not_started", "")
        assert (
            line["why"]
            == f"cannot listen on 127.0.0.1:{gateway.port}: the address is in use by another program"
        )
    assert gateway.chat().status_code == 200


def test_a_killed_worker_costs_its_own_connections_alone_and_is_back_with_all_that_was_in_force(
    start, make_stub
):
    stub = make_stub()
    stub.delay_s = 0.005
    gateway = up(start(two(stub)))
    gateway.admin("POST", "/admin/backends/embed/drain")
    gateway.file.write_text("models: nothing of use")  # a worker that starts now must not read it
    gateway.signal(signal.SIGHUP)
    until(lambda: gateway.events("reload_refused"))
    stop = threading.Event()
    clients = [Client(gateway, stop) for _ in range(8)]
    until(lambda: sum(client.answered for client in clients) > 100)
    before, total = pids(gateway), metric(gateway, "infctl_requests_total")
    os.kill(before[0], signal.SIGKILL)
    killed_at = time.monotonic()
    until(lambda: [line for line in gateway.events("worker_started") if line["restarted"]], START_S)
    back_s = time.monotonic() - killed_at
    until(lambda: sum(client.answered for client in clients) > 400)
    stop.set()
    for client in clients:
        client.join()
    failed = [each for client in clients for each in client.failed]
    assert all(len(client.failed) <= 1 for client in clients), failed  # who comes again is served
    assert len(failed) < len(clients), failed
    assert all(at - killed_at < 0.5 for at, _ in failed), failed
    assert metric(gateway, "infctl_requests_total") >= total
    assert metric(gateway, "infctl_worker_restarts_total", worker="0") == 1
    assert metric(gateway, "infctl_config_reloads_total", outcome="refused") == 1
    document = gateway.detailed()
    row = next(row for row in document["workers"] if row["worker"] == 0)
    assert (row["state"], row["restarts"]) == ("serving", 1)
    assert row["last_end"] == "was ended by SIGKILL"
    assert row["pid"] != before[0]
    embed = next(each for each in document["backends"] if each["id"] == "embed")
    assert (embed["state"], embed["workers"]) == ("drained", None)
    assert any("the last reload was refused" in warning for warning in document["warnings"])
    assert back_s < START_S  # alone on a machine 0.2 s
    total = metric(gateway, "infctl_requests_total")
    os.kill(before[1], signal.SIGKILL)
    until(lambda: len([line for line in gateway.events("worker_started") if line["restarted"]]) == 2, START_S)
    assert metric(gateway, "infctl_requests_total") == total  # nobody asks: what it had counted stays
    document = gateway.detailed()  # of workers neither of which was there then
    assert any("the last reload was refused" in warning for warning in document["warnings"])
    assert next(each for each in document["backends"] if each["id"] == "embed")["state"] == "drained"
    assert gateway.stop() == 0


def test_a_killed_parent_takes_its_workers_along_and_leaves_the_port(start, make_stub):
    stub = make_stub()
    gateway = up(start(two(stub)))
    workers = list(pids(gateway).values())
    assert sorted(workers) == sorted(children(gateway.process.pid))
    gateway.process.kill()
    assert gateway.process.wait(10) == -signal.SIGKILL
    until(lambda: not any(runs(pid) for pid in workers))
    again = up(start(two(stub, listen={"port": gateway.port})))
    assert again.chat().status_code == 200


def test_a_reload_reaches_all_workers_or_none_and_is_one_reload(start, make_stub):
    stub, other = make_stub(), make_stub()
    gateway = up(start(two(stub)))
    gateway.write(two(other, listen={"port": gateway.port}))
    answer = gateway.admin("POST", "/admin/reload")
    assert answer.json() == {"reloaded": True, "gone": ["chat0", "embed"], "warnings": []}
    until(lambda: gateway.detailed()["status"] == "ok")
    seen = len(stub.seen)
    for _ in range(12):
        with connection(gateway) as client:
            assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
    assert (len(stub.seen), len(other.seen)) == (seen, 12)
    gateway.file.write_text("models: 3")
    answer = gateway.admin("POST", "/admin/reload")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_configuration")
    for _ in range(12):
        with connection(gateway) as client:
            assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
    assert metric(gateway, "infctl_config_reloads_total", outcome="applied") == 1
    assert metric(gateway, "infctl_config_reloads_total", outcome="refused") == 1


def test_a_stop_under_load_loses_nothing_and_ends_all(start, make_stub):
    stub = make_stub()
    stub.delay_s = 0.01
    gateway = up(start(two(stub)))
    workers = list(pids(gateway).values())
    clients = [Client(gateway, threading.Event()) for _ in range(8)]
    until(lambda: sum(client.answered for client in clients) > 100)
    gateway.signal(signal.SIGTERM)
    for client in clients:
        client.join()
    assert [each for client in clients for each in client.failed] == []
    assert gateway.stop() == 0
    assert not any(runs(pid) for pid in workers)
    assert [line["cut"] for line in gateway.events("stopped")] == [0] * WORKERS


def test_a_worker_goes_on_accepting_while_another_still_has_a_stream(start, make_stub):
    """The kernel sends new connections to all of them: none may leave before the last."""
    stub = make_stub()
    stub.delay_s = 0.35
    gateway = up(start(two(stub)))
    with (
        connection(gateway) as client,
        client.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}) as reply,
    ):
        lines = filter(None, reply.iter_lines())
        next(lines)
        gateway.signal(signal.SIGTERM)
        until(lambda: gateway.events("draining"))
        for _ in range(4):  # longer than it takes one that has nothing to do
            assert "choices" in next(lines)
        for _ in range(10):
            with connection(gateway) as other:
                assert other.get("/health/ready").status_code == 503
        assert gateway.events("stopped") == []
        assert list(lines)[-1] == "data: [DONE]"
    assert gateway.stop() == 0


def test_a_worker_that_cannot_start_ends_the_gateway_with_its_exit_code(start, make_stub, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'gateway.worker' in sys.orig_argv: os._exit(7)\n"
    )
    env = dict(os.environ) | {"GATEWAY_API_KEY": KEY, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    gateway = start(two(make_stub()), env)
    assert gateway.process.wait(START_S) == 7
    until(lambda: gateway.events("not_started"))
    assert gateway.events("not_started")[0]["why"] == "a worker ended with exit code 7"
    assert gateway.events("worker_ended") == []


def test_one_worker_is_the_gateway_itself_with_no_parent(shared):
    assert children(shared.process.pid) == []
    assert "workers" not in shared.detailed()


def test_the_parent_loads_nothing_that_serves():
    code = "import sys, gateway.workers.parent; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not {"httptools", "uvloop", "gateway.serve", "gateway.net.server", "fastapi", "infctl"} & loaded
