"""A whole platform in containers, from a profile, without the command line: for changes while it serves."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infctl import files
from infctl.cli.project import Project, open_project
from infctl.engine.docker.engine import DockerEngine
from infctl.engine.model import Event
from infctl.stack import Stack
from tests.docker.host import DockerHost, remove
from tests.e2e.load import Target
from tests.e2e.local import free_ports

STAND_IN = {"config.json": json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})}


@dataclass
class Rolling:
    """`change` edits the profile; `up` makes it run, as `infctl up` does below its questions."""

    host: DockerHost
    folder: Path
    profile: dict[str, Any]
    port: int
    events: list[Event] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.profile["name"])

    def change(self, path: str, value: Any) -> None:
        """`path`: such as models/chat/max_model_len."""
        *above, last = path.split("/")
        place = self.profile
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value

    def opened(self) -> Project:
        (self.folder / "infctl.yaml").write_text(yaml.safe_dump(self.profile))
        project, _ = open_project([self.folder / "infctl.yaml"]).with_generated_secrets()
        project.certificate()
        return project

    def build(self) -> tuple[Stack, DockerEngine]:
        """The files are written."""
        project = self.opened()
        built = project.build()
        files.write(built.files, project.layout.rendered, project.book)
        return built.stack, DockerEngine(project.layout)

    def up(self) -> list[Event]:
        stack, engine = self.build()
        with engine.lock("a test"):
            told = list(engine.apply(stack, {}))
        self.events += told
        return told

    def ids(self, what: str) -> set[str]:
        """Of the gateway's container, or, for anything else, of the engines' ones."""
        role = "gateway" if what == "gateway" else "engine"
        wanted = [f"com.docker.compose.project={self.name}", f"io.infctl.role={role}"]
        return {one.id for one in self.host.client.containers.list(all=True, filters={"label": wanted})}

    def plan(self) -> list[str]:
        stack, engine = self.build()
        return [f"{action.kind} {action.service}: {action.cause}" for action in engine.plan(stack, {})]

    def target(self, model: str = "chat", *, plain: bool = False, **fields: Any) -> Target:
        """Through nginx, with TLS."""
        key = self.opened().secret("GATEWAY_API_KEY") or ""
        if plain:
            return Target("127.0.0.1", self.profile["gateway"]["listen"]["port"], key, model, **fields)
        tls = ssl.create_default_context(cafile=str(self.folder / "nginx" / "tls" / "certificate.pem"))
        return Target("127.0.0.1", self.port, key, model, tls, "localhost", **fields)


@contextmanager
def platform(
    host: DockerHost, folder: Path, models: dict[str, Any], images: dict[str, str], **more: Any
) -> Iterator[Rolling]:
    """`images`: engines, gateway, edge. All of it is removed at the end; the fixed names must be locked."""
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
    made = Rolling(host, folder, profile, first + 1)
    try:
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
