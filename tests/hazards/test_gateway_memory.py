"""What large bodies took goes back when they are done with, and what is kept takes no more than it says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from infctl.gpus import Gpu
from infctl.host import Host
from infctl.plan import place
from infctl.profile.builtin import builtin_profiles
from infctl.profile.loading import load
from infctl.stack import Layout
from infctl.stack.build import build
from tests.gateway.process import ADMIN, BACKEND, KEY, Gateway, config_for, until
from tests.gateway.stub import Stub

KEPT_MB_MAX = 25
CLIENTS = 32
BODY = {
    "model": "chat",
    "messages": [{"role": "user", "content": "x" * 1_000_000}],
    "max_tokens": 3,
}


def gateway_env(folder: Path) -> dict[str, str]:
    """The environment infctl gives the gateway of the local profile."""
    profile = load([builtin_profiles()["local"]], {}).profile
    cards: tuple[Gpu, ...] = ()
    stack = build(profile, place(profile, cards), Layout(folder, folder / "home"), Host(env={}))
    return dict(stack.service("gateway").env)


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError(pid)


def test_memory_of_large_bodies_goes_back_to_the_system(tmp_path: Path) -> None:
    stub = Stub()
    keys = {"GATEWAY_API_KEY": KEY, "ADMIN_API_KEY": ADMIN, "BACKEND_API_KEY": BACKEND}
    gateway = Gateway(tmp_path, config_for(stub), gateway_env(tmp_path) | keys)
    try:
        gateway.wait_ready(1)
        before = rss_mb(gateway.process.pid)
        for _ in range(2):
            with ThreadPoolExecutor(CLIENTS) as pool:
                assert set(pool.map(lambda _: ask(gateway), range(CLIENTS))) == {200}
        until(lambda: rss_mb(gateway.process.pid) < before + KEPT_MB_MAX)
    finally:
        gateway.stop()
        stub.stop()


def ask(gateway: Gateway) -> int:
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.post(
        f"{gateway.url}/v1/chat/completions", headers=headers, json=BODY, timeout=60
    ).status_code


def test_a_call_that_is_remembered_takes_a_few_kilobytes(tmp_path: Path) -> None:
    """A line as orjson writes it has room for 8 KB."""
    calls, each_kb_max = 1_500, 4
    stub = Stub()
    gateway = Gateway(tmp_path, config_for(stub, log={"requests": True, "stories": calls}))
    try:
        gateway.wait_ready(1)
        headers = {"authorization": f"Bearer {KEY}"}
        body = BODY | {"messages": [{"role": "user", "content": "x"}]}
        with httpx.Client(base_url=gateway.url, headers=headers, trust_env=False) as client:
            for _ in range(50):  # what the first calls load
                assert client.post("/v1/chat/completions", json=body).status_code == 200
            before = rss_mb(gateway.process.pid)
            for _ in range(calls):
                client.post("/v1/chat/completions", json=body)
        assert (rss_mb(gateway.process.pid) - before) * 1024 / calls < each_kb_max
    finally:
        gateway.stop()
        stub.stop()
