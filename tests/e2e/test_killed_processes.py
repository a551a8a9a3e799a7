"""Each process is killed in turn while requests run: the others go on, the killed one returns."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Self

import httpx
import pytest

from tests.e2e.local import BACK_WITHIN_S, Platform, until

EMBED = {"model": "embed", "input": "hello"}
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0}


class Traffic:
    """One client that asks on and on, from start to end of a `with` block."""

    def __init__(self, platform: Platform, path: str, body: dict[str, object]) -> None:
        self._platform, self._path, self._body = platform, path, body
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.answers: list[tuple[float, int]] = []
        """(when, status); status 0: no answer at all."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        with self._platform.client() as client:
            while not self._over.wait(0.05):
                try:
                    status = client.post(self._path, json=self._body).status_code
                except httpx.TransportError:
                    status = 0
                self.answers.append((time.monotonic(), status))

    @property
    def failures(self) -> list[int]:
        return [status for _, status in self.answers if status != 200]


def child_of(pid: int, word: str) -> int | None:
    """A process below `pid` whose title or command line has `word` in it."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
            title = (entry / "cmdline").read_bytes() + stat.split(")")[0].encode()
        except OSError:
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        if parent == pid and word.encode() in title:
            return int(entry.name)
    return None


def back(platform: Platform, name: str, old_pid: int) -> bool:
    service = platform.services()[name]
    return service["state"] == "ready" and service["pid"] != old_pid


def test_a_killed_vllm_server_returns_and_the_other_model_never_notices(platform: Platform) -> None:
    victim = platform.pids()["chat"]
    assert victim is not None
    others = {n: p for n, p in platform.pids().items() if n != "chat"}
    with Traffic(platform, "/v1/embeddings", EMBED) as embed:
        os.kill(victim, signal.SIGKILL)
        seen = until(lambda: shown_away(platform, "chat"), 30, "status shows that chat is away")
        assert seen
        with platform.client() as client:
            refused = client.post("/v1/chat/completions", json=CHAT)
            assert refused.status_code in (502, 503), refused.text
            assert refused.json()["error"]["message"]
        until(lambda: back(platform, "chat", victim), BACK_WITHIN_S, "chat is back")
    assert embed.answers
    assert embed.failures == []
    assert {n: p for n, p in platform.pids().items() if n != "chat"} == others
    assert platform.services()["chat"]["restarts"] == 1
    with platform.client() as client:
        until(
            lambda: client.post("/v1/chat/completions", json=CHAT).status_code == 200,
            15,
            "chat answers again",
        )


def shown_away(platform: Platform, name: str) -> bool:
    return platform.services()[name]["state"] != "ready"


@pytest.mark.parametrize("part", ["EngineCore", "Worker"])
def test_a_killed_part_of_vllm_brings_its_server_back_in_one_copy(platform: Platform, part: str) -> None:
    server = platform.pids()["embed"]
    assert server is not None
    core = child_of(server, "EngineCore")
    assert core is not None, "vLLM forks an engine core"
    victim = core if part == "EngineCore" else child_of(core, "Worker")
    assert victim is not None, "and the core forks a worker"
    chat = platform.pids()["chat"]
    os.kill(victim, signal.SIGKILL)
    until(lambda: back(platform, "embed", server), BACK_WITHIN_S, "embed is back")
    with platform.client() as client:
        until(lambda: client.post("/v1/embeddings", json=EMBED).status_code == 200, 15, "embed answers again")
    assert platform.pids()["chat"] == chat
    for word in (b"EngineCore", b"Worker"):
        assert len([p for p in platform.processes() if word in command(p)]) == 2, f"one {word!r} a model"


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("name", ["gateway", "nginx"])
def test_a_killed_front_process_returns_and_the_models_stay(platform: Platform, name: str) -> None:
    before = platform.pids()
    victim = before[name]
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    until(lambda: back(platform, name, victim), 30, f"{name} is back")
    after = platform.pids()
    assert {n: p for n, p in after.items() if n != name} == {n: p for n, p in before.items() if n != name}
    with platform.client(edge=True) as client:
        until(lambda: answered(client), 20, "the edge answers again")


def answered(client: httpx.Client) -> bool:
    try:
        return client.post("/v1/embeddings", json=EMBED).status_code == 200
    except httpx.TransportError:
        return False


def test_a_killed_supervisor_returns_and_no_service_notices(platform: Platform) -> None:
    before = platform.pids()
    supervisor = platform.json("status")["supervisor"]["pid"]
    with Traffic(platform, "/v1/embeddings", EMBED) as embed:
        os.kill(supervisor, signal.SIGKILL)
        until(
            lambda: platform.json("status")["supervisor"]["pid"] not in (None, supervisor),
            15,
            "a supervisor is back",
        )
    assert embed.failures == []
    assert platform.pids() == before


def test_a_killed_stand_by_supervisor_and_a_killed_nginx_worker_are_replaced(platform: Platform) -> None:
    before = platform.pids()
    (stand_by,) = supervisors(platform) - {platform.json("status")["supervisor"]["pid"]}
    assert before["nginx"] is not None
    worker = child_of(before["nginx"], "worker")
    assert worker is not None
    with Traffic(platform, "/v1/embeddings", EMBED) as embed:
        os.kill(stand_by, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
        until(
            lambda: len(supervisors(platform) - {stand_by}) == 2,
            15,
            "there are two supervisors again",
        )
    with platform.client(edge=True) as client:
        until(lambda: answered(client), 20, "the edge answers")
    assert embed.failures == []
    assert platform.pids() == before


def supervisors(platform: Platform) -> set[int]:
    return {pid for pid in platform.processes() if b"infctl.engine.supervisor" in command(pid)}
