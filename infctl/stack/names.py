"""Where services find each other and their files: on this machine, or inside the containers. Pure."""

from __future__ import annotations

import os.path
from dataclasses import dataclass
from pathlib import Path

from infctl.profile.schema import Profile
from infctl.stack import Layout

CONTAINER_PORT = 8000
"""Of every vLLM and of the gateway, inside its container."""


@dataclass(frozen=True, slots=True)
class Names:
    """Where services find each other and their files: on this machine, or inside the containers."""

    profile: Profile
    layout: Layout

    @property
    def docker(self) -> bool:
        return self.profile.runtime == "docker"

    def engine(self, service: str) -> str:
        """A vLLM's own host name, as its neighbours call it."""
        return f"vllm-{service}" if self.docker else reachable(self.profile.engines.host)

    @property
    def gateway(self) -> tuple[str, int]:
        """Where nginx finds the gateway."""
        listen = self.profile.gateway.listen
        return ("inference-gateway", CONTAINER_PORT) if self.docker else (reachable(listen.host), listen.port)

    @property
    def gateway_listen(self) -> tuple[str, int]:
        """What the gateway itself binds."""
        listen = self.profile.gateway.listen
        return ("0.0.0.0", CONTAINER_PORT) if self.docker else (listen.host, listen.port)  # noqa: S104

    @property
    def https_port(self) -> int:
        return 443 if self.docker else self.profile.edge.https_port

    @property
    def http_port(self) -> int:
        return 80 if self.docker else self.profile.edge.http_port

    @property
    def gateway_config(self) -> str:
        return "/etc/infctl/gateway.yaml" if self.docker else str(self.layout.rendered / "gateway.yaml")

    @property
    def nginx_config(self) -> str:
        return "/etc/nginx/nginx.conf" if self.docker else str(self.layout.rendered / "nginx.conf")

    @property
    def nginx_scratch(self) -> str:
        """For the pid and the temporary files; nothing else is written by nginx."""
        return "/tmp" if self.docker else str(self.layout.state)  # noqa: S108 - the container's own

    @property
    def env_file(self) -> str:
        return "/run/infctl/.env" if self.docker else str(self.layout.env_file)

    @property
    def tls(self) -> tuple[str, str]:
        """Certificate and key."""
        if self.docker:
            return "/etc/nginx/tls/certificate.pem", "/etc/nginx/tls/key.pem"
        return str(self.tls_files[0]), str(self.tls_files[1])

    @property
    def tls_files(self) -> tuple[Path, Path]:
        """The same, as they lie on this machine."""
        tls = self.profile.edge.tls
        if tls.certificate is None or tls.key is None:
            folder = self.layout.rendered / "tls"
            return folder / "certificate.pem", folder / "key.pem"
        return Path(self.file(tls.certificate)), Path(self.file(tls.key))

    def file(self, path: str) -> str:
        """A path of the profile, absolute. Nothing is resolved: a link stays a link."""
        return os.path.normpath(self.layout.base / Path(path).expanduser())


def reachable(host: str) -> str:
    """The address to call a server at that binds `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
