"""Several workers of one gateway: real processes, asked like any other gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as read_text

from tests.gateway.process import KEY, Gateway, config_for, until
from tests.gateway.stub import Stub

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "capital of France?"}]}
WORKERS = 2


def two(*stubs: Any, **extra: Any) -> dict[str, Any]:
    return config_for(*stubs, workers=WORKERS, **extra)


def connection(gateway: Gateway) -> httpx.Client:
    """A new one: the kernel chooses its worker."""
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.Client(base_url=gateway.url, headers=headers, timeout=20, trust_env=False)


def up(gateway: Gateway, backends: int = 2) -> Gateway:
    """All workers serve, and each has seen its backends ready."""
    gateway.wait_ready(backends * WORKERS)
    until(lambda: gateway.events("started"))
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


def there(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


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


def test_the_kernel_spreads_connections_over_the_workers(pair):
    gateway, _ = pair

    def sockets() -> list[int]:
        return [
            sum(str(each.readlink()).startswith("socket:") for each in Path(f"/proc/{pid}/fd").iterdir())
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
