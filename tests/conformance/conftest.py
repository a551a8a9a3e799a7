"""Real vLLM on the CPU, one server at a time, on a port of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

START_S = 240.0


@dataclass(frozen=True)
class Server:
    """A vLLM server and what can be asked of it."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=60) as reply:
            return str(reply.read().decode())

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return json.loads("".join(self.lines(path, body)))

    def lines(self, path: str, body: dict[str, Any]) -> Iterator[str]:
        head = {"content-type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), head)
        with urllib.request.urlopen(request, timeout=120) as reply:
            for line in reply:
                yield line.decode()

    def group(self) -> list[int]:
        """Every living process of the server's group: it forks an engine core, which forks a worker."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
                if int(group) == self.process.pid and state != "Z":
                    found.append(int(stat.parent.name))
        return found


StartServer = Callable[..., contextlib.AbstractContextManager[Server]]


def said(log: Path) -> str:
    """The lines that say why; vLLM ends with a traceback that does not."""
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join([line for line in lines if "Error: " in line][-10:] + lines[-10:])


def until(what: Callable[[], bool], limit_s: float, otherwise: Callable[[], str]) -> None:
    deadline = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.1)


@contextmanager
def serve(folder: Path, log: Path, *flags: str) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    model = ["--model", str(folder), "--served-model-name", "m", "--host", "127.0.0.1", "--port", str(port)]
    argv = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *model, "--dtype", "float32", *flags]
    own = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv, env=os.environ | own, stdout=out, stderr=out, cwd=log.parent, start_new_session=True
        )
    server = Server(f"http://127.0.0.1:{port}", process, log)

    def healthy() -> bool:
        assert process.poll() is None, said(log)
        try:
            server.get("/health")
        except OSError:
            return False
        return True

    try:
        until(healthy, START_S, lambda: said(log))
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


@pytest.fixture(scope="session")
def unpacked() -> Callable[[str], Path]:
    """Where a packaged model lies: the machine's own cache, as `infctl up` would fill it."""

    def place(name: str) -> Path:
        from infctl.packaged import folder

        done = subprocess.run([sys.executable, "-m", "infctl.packaged", name], check=False, timeout=120)
        assert done.returncode == 0
        return folder(name, os.environ)

    return place


@pytest.fixture(scope="module")
def start_vllm(tmp_path_factory: pytest.TempPathFactory) -> StartServer:
    def begin(folder: Path, *flags: str) -> contextlib.AbstractContextManager[Server]:
        return serve(folder, tmp_path_factory.mktemp("vllm") / "vllm.log", *flags)

    return begin
