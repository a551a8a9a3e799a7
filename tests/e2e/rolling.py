"""A whole platform in containers, from a profile, without the command line: for changes while it serves."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from infctl import files
from infctl.cli.project import Project, open_project
from infctl.engine.docker.engine import DockerEngine
from infctl.engine.model import Event
from infctl.stack import Stack
from tests.docker.fixtures import NAMES, taken
from tests.docker.host import DockerHost, remove
from tests.docker.hurried import hurried, own_names
from tests.e2e.load import Target
from tests.e2e.local import ROOT, free_ports

STAND_IN = {"config.json": json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})}


@dataclass
class Rolling:
    """`change` edits the profile; `up` makes it run, as `infctl up` does below its questions."""

    host: DockerHost
    folder: Path
    profile: dict[str, Any]
    port: int
    images: dict[str, str]
    events: list[Event] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.profile["name"])

    def change(self, path: str, value: Any) -> None:
        """`path`: such as models/swap/max_model_len."""
        *above, last = path.split("/")
        place = self.profile
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value

    @property
    def file(self) -> Path:
        return self.folder / "infctl.yaml"

    def opened(self) -> Project:
        self.file.write_text(yaml.safe_dump(self.profile))
        return opened(self.folder)

    def up(self) -> list[Event]:
        """Raises what went wrong."""
        project = self.opened()
        engine = DockerEngine(project.layout)
        told = []
        with engine.lock("a test"):
            for event in engine.apply(written(self.folder)[1], {}):
                told.append(event)
                self.events.append(event)
        return told

    @property
    def mark(self) -> str:
        """What its own names of the gateway's and the edge's containers end with."""
        return f"-{self.name}"

    def killed_after(self, step: str) -> None:
        """What `up` does, by a process that is gone after that step."""
        self.opened()
        argv = [sys.executable, "-m", "tests.e2e.killed", str(self.folder), step, self.mark]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == -signal.SIGKILL, f"it was not killed: {done.stdout}{done.stderr}"

    def ids(self, what: str) -> set[str]:
        """Of the gateway's container, or, for anything else, of the engines' ones."""
        role = "gateway" if what == "gateway" else "engine"
        wanted = [f"com.docker.compose.project={self.name}", f"io.infctl.role={role}"]
        return {one.id for one in self.host.client.containers.list(all=True, filters={"label": wanted})}

    def plan(self) -> list[str]:
        project = self.opened()
        actions = DockerEngine(project.layout).plan(written(self.folder)[1], {})
        return [f"{action.kind} {action.service}: {action.cause}" for action in actions]

    def names(self) -> set[str]:
        """Of its containers that run on, without its mark."""
        wanted = {"label": f"com.docker.compose.project={self.name}"}
        found = self.host.client.containers.list(all=True, filters=wanted)
        kept = (str(one.name) for one in found if not str(one.name).startswith(self.name))
        return {name.replace(self.mark, "", 1) for name in kept}

    def backends(self) -> dict[str, str]:
        """Id -> state, as the gateway tells an operator."""
        return {one["id"]: one["state"] for one in self.admin("GET", "").json()["backends"]}

    def admin(self, method: str, path: str) -> httpx.Response:
        """`path` below /admin/backends."""
        key = self.opened().secret("ADMIN_API_KEY")
        url = f"http://127.0.0.1:{self.profile['gateway']['listen']['port']}/admin/backends{path}"
        answer = httpx.request(method, url, headers={"authorization": f"Bearer {key}"}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer

    def target(self, *, plain: bool = False, **fields: Any) -> Target:
        """The first model, through nginx, with TLS."""
        model = next(iter(self.profile["models"]))
        key = self.opened().secret("GATEWAY_API_KEY") or ""
        if plain:
            return Target("127.0.0.1", self.profile["gateway"]["listen"]["port"], key, model, **fields)
        tls = ssl.create_default_context(cafile=str(self.folder / "nginx" / "tls" / "certificate.pem"))
        return Target("127.0.0.1", self.port, key, model, tls, "localhost", **fields)


def opened(folder: Path) -> Project:
    project, _ = open_project([folder / "infctl.yaml"]).with_generated_secrets()
    project.certificate()
    return project


def written(folder: Path) -> tuple[Project, Stack]:
    """The profile's files, written."""
    project = opened(folder)
    built = project.build()
    files.write(built.files, project.layout.rendered, project.book)
    return project, built.stack


@contextmanager
def platform(
    host: DockerHost, folder: Path, models: dict[str, Any], images: dict[str, str], **more: Any
) -> Iterator[Rolling]:
    """`images`: engines, gateway, edge. All of it is removed at the end.

    Of the machine's names it has those of its models' engines; the gateway's and the edge's have a mark.
    """
    first = free_ports(3)
    profile = {
        "version": 1,
        "name": host.name(),
        "runtime": "docker",
        "gpus": "cpu",
        "models": models,
        "engines": {"image": images["engines"], "offline": True},
        "gateway": {
            "image": images["gateway"],
            "listen": {"port": first},
            "keys": {
                "shared": "${GATEWAY_API_KEY}",
                "admin": "${ADMIN_API_KEY}",
                "backend": "${BACKEND_API_KEY}",
            },
            "timeouts": {"drain": 30},
            # All the load is one address's: it is held to limits, and must not reach them.
            "limits": {"requests_per_second": 100_000.0, "burst": 100_000, "in_flight": 10_000},
            "quotas": {"tokens_per_day": "1000B", "requests_per_day": "1B", "tokens_per_month": "1000B"},
        },
        "edge": {
            "image": images["edge"],
            "bind": "127.0.0.1",
            "https_port": first + 1,
            "http_port": first + 2,
            "server_name": "localhost",
        },
        "monitoring": {"enabled": False},
        "secrets": {
            name: {"generate": True} for name in ("GATEWAY_API_KEY", "ADMIN_API_KEY", "BACKEND_API_KEY")
        },
        **more,
    }
    made = Rolling(host, folder, profile, first + 1, images)
    try:
        with taken(NAMES.with_stem("-".join((NAMES.stem, *models)))), hurried(), own_names(made.mark):
            yield made
    finally:
        remove(
            host.client,
            lambda labels, name: labels.get("com.docker.compose.project") == made.name or made.name in name,
        )


def stand_in(folder: Path, *, replicas: int = 2, **fields: Any) -> dict[str, Any]:
    """A model of that many stand-ins; its files are the least that is read of them."""
    weights = folder / "weights"
    weights.mkdir(exist_ok=True)
    weights.chmod(0o755)
    for name, text in STAND_IN.items():
        (weights / name).write_text(text)
    return {
        "source": {"path": "./weights"},
        "task": "chat",
        "replicas": replicas,
        "max_model_len": 4096,
        "start_timeout": 60,
        **fields,
    }
