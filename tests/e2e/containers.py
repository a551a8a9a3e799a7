"""A platform of containers in a folder of its own: a stand-in for vLLM, the real gateway, a real nginx."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.docker import hurried
from tests.docker.fixtures import NAMES, taken
from tests.docker.host import DockerHost, DockerProject, clean_env, until
from tests.e2e.local import free_ports

MODEL = "eetalk"
"""Its containers' names are the machine's: none of a person's platform, and of one file of tests each."""
UP_S = 240.0
SERVICES = (f"{MODEL}0", f"{MODEL}1", "gateway", "nginx")


@dataclass
class Platform:
    project: DockerProject
    port: int
    """Where the gateway is published; the edge's follow."""
    before: dict[str, Any]
    """The profile as it was made."""

    @property
    def folder(self) -> Path:
        return self.project.folder

    @property
    def env(self) -> dict[str, str]:
        return {**clean_env(), "COLUMNS": "200", hurried.NAMES: f"-{self.project.name}"}

    @property
    def home(self) -> Path:
        return self.folder / ".infctl" / self.project.name

    def run(
        self, *args: str, env: Mapping[str, str] | None = None, timeout_s: float = UP_S
    ) -> subprocess.CompletedProcess[str]:
        """`infctl ARGS` as a person runs it, without a terminal."""
        return subprocess.run(
            [*hurried.COMMAND, *args],
            cwd=self.folder,
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def spawn(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*hurried.COMMAND, *args],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def ok(self, *args: str, **more: Any) -> str:
        """Standard output of one that has to succeed."""
        done = self.run(*args, **more)
        assert done.returncode == 0, f"infctl {' '.join(args)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *args: str, **more: Any) -> Any:
        return json.loads(self.ok(*args, "--json", **more))

    def ids(self) -> dict[str, str]:
        """Service -> id of its container, of those that are to stay."""
        return {
            str(one.labels["com.docker.compose.service"]): str(one.id)
            for one in self.project.containers()
            if one.labels["com.docker.compose.service"] in (*SERVICES, f"{MODEL}2")
        }

    def started(self, service: str) -> str:
        container = self.project.container(service)
        return str(container.attrs["State"]["StartedAt"])

    def write(self, profile: dict[str, Any]) -> None:
        (self.folder / "infctl.yaml").write_text(yaml.safe_dump(profile, sort_keys=False))

    def profile(self) -> dict[str, Any]:
        return dict(yaml.safe_load((self.folder / "infctl.yaml").read_text()))

    def change(self, **model: Any) -> None:
        profile = self.profile()
        profile["models"][MODEL] |= model
        self.write(profile)

    def actions(self, *args: str) -> dict[str, str]:
        """Service -> kind, of `infctl diff`."""
        return {one["service"]: one["kind"] for one in self.json("diff", *args)["actions"]}

    def well(self) -> None:
        """Every model answers, and nothing is left to do."""
        self.ok("health", "--deep")
        assert self.actions() == {}

    def ready(self) -> None:
        """As the engine and the gateway's own probes see it."""
        until(
            lambda: all(row["state"] == "ready" for row in self.json("status")["services"]),
            60,
            "all services ready",
            1.0,
        )


@contextmanager
def platform(
    host: DockerHost, folder: Path, images: Mapping[str, str], model: str = MODEL
) -> Iterator[Platform]:
    """`images`: engine, gateway, nginx. All that it made is gone after it.

    Of the machine's names it has those of `model`'s engines; the gateway's and the edge's have its own mark.
    """
    with taken(NAMES.with_stem(f"{NAMES.stem}-{model}")), host.project(folder) as project:
        port = free_ports(3)
        (folder / "weights").mkdir()
        profile = {
            "name": project.name,
            "runtime": "docker",
            "gpus": "cpu",
            "engines": {"image": images["engine"], "pull": "never"},
            "models": {
                model: {
                    "source": {"path": "weights"},
                    "task": "chat",
                    "replicas": 2,
                    "max_model_len": 1024,
                    "kv_cache_memory": "64MiB",
                    "start_timeout": "60s",
                    "stop_timeout": "3s",
                }
            },
            "gateway": {
                "image": images["gateway"],
                "listen": {"port": port},
                "keys": {"shared": "${GATEWAY_API_KEY}"},
                "timeouts": {"drain": "3s"},
            },
            "edge": {
                "image": images["nginx"],
                "bind": "127.0.0.1",
                "https_port": port + 1,
                "http_port": port + 2,
            },
            "monitoring": {"enabled": False},
            "secrets": {"GATEWAY_API_KEY": {"generate": True}, "BACKEND_API_KEY": {"generate": True}},
        }
        made = Platform(project, port, profile)
        made.write(profile)
        yield made
