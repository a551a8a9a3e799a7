"""The processes of a proof, and what they hold: memory, file descriptors, tasks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.gateway.process import ADMIN, BACKEND, KEY, ROOT, free_port, until

KEYS = {"GATEWAY_API_KEY": KEY, "ADMIN_API_KEY": ADMIN, "BACKEND_API_KEY": BACKEND}
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""As infctl and the gateway's image start it."""
STAND_IN = ROOT / "tests" / "docker" / "stand_in"
KEPT_LINES = 200


@dataclass(frozen=True)
class Held:
    """What a process holds now."""

    rss_mb: float
    pss_mb: float
    fds: int

    def __str__(self) -> str:
        return f"RSS {self.rss_mb:.1f} MB, PSS {self.pss_mb:.1f} MB, {self.fds} descriptors"


def held(pid: int) -> Held:
    rows = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        rows[name] = int(rest.split()[0]) / 1024
    return Held(rows["Rss"], rows["Pss"], len(list(Path(f"/proc/{pid}/fd").iterdir())))


def ask(port: int, method: str, path: str, key: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.request(
        method, f"http://127.0.0.1:{port}{path}", headers=headers, timeout=120, trust_env=False
    )


@contextmanager
def backend() -> Iterator[tuple[int, int]]:
    """Its port and its process id."""
    argv = [sys.executable, "-m", "tests.proofs.backend"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.terminate()
            process.wait(10)


class Engine:
    """A backend that stops and dies as vLLM does: the stand-in, as a process on a port of its own."""

    def __init__(self, name: str = "served", *, token_s: float = 0.005, drain_s: int = 20) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._argv = [
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", name, "--host", "127.0.0.1", "--port", str(self.port)),
            *("--shutdown-timeout", str(drain_s)),
        ]
        self._env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(STAND_IN),
            "VLLM_API_KEY": BACKEND,
            "STAND_IN_TOKEN_S": str(token_s),
        }
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._argv, cwd=STAND_IN, env=self._env, stdout=subprocess.DEVNULL)

    def wait_ready(self) -> None:
        def there() -> bool:
            assert self.process.poll() is None, "the backend has ended"
            try:
                return httpx.get(f"{self.url}/health", trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        until(there, 30)

    def kill(self) -> None:
        """As the kernel ends who has taken too much memory."""
        self.process.kill()

    def stop(self) -> int:
        """As docker stop does. Its exit code."""
        self.process.terminate()
        return self.process.wait(60)

    def process_ends(self) -> None:
        """At the end of a proof, however it ended."""
        self.process.kill()
        self.process.wait(10)


class Watched:
    """One gateway under proof. Its log is read and judged line by line, and not kept."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.port = config.setdefault("listen", {}).setdefault("port", free_port())
        self.file = folder / "gateway.yaml"
        self.tasks_file = folder / "tasks"
        self.write(config)
        env = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        self._stderr = folder / "stderr"
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.proofs.watched", "--config", str(self.file)],
                cwd=ROOT,
                env=env | KEYS | MALLOC | {"GATEWAY_TASKS": str(self.tasks_file)},
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        self._said = ""
        self.events: dict[str, int] = {}
        """How often each event was logged."""
        self.wrong: list[str] = []
        """Lines that no healthy gateway writes: errors, and what is no JSON. The first ones."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def write(self, config: dict[str, Any]) -> None:
        beside = self.file.with_suffix(".new")
        beside.write_text(yaml.safe_dump(config))
        beside.replace(self.file)

    def wait_ready(self, backends: int) -> None:
        def there() -> bool:
            assert self.process.poll() is None, self.stderr()
            return self.events.get("backend_ready", 0) >= backends

        until(there, 30)

    def held(self) -> Held:
        return held(self.pid)

    def tasks(self) -> list[str]:
        """The coroutines of all its tasks."""
        self.tasks_file.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        until(self.tasks_file.exists, 30)
        return self.tasks_file.read_text().split()

    def stderr(self) -> str:
        if self._stderr.exists():  # its folder may be gone once it has stopped
            self._said = self._stderr.read_text(errors="replace")
        return self._said

    def stop(self) -> int:
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self._reader.join(10)
        self.stderr()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            try:
                line = json.loads(raw)
                level, event = line["level"], line["event"]
            except (ValueError, KeyError):
                level, event = "error", "no JSON"
            self.events[event] = self.events.get(event, 0) + 1
            if level == "error" and event != "reload_refused" and len(self.wrong) < KEPT_LINES:
                self.wrong.append(raw.decode(errors="replace"))
