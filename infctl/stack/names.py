"""Where services find each other and their files: on this machine, or inside the containers. Pure."""

from __future__ import annotations

import os.path
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from infctl.profile.schema import Profile
from infctl.stack import Layout

CONTAINER_PORT = 8000
"""Of every vLLM and of the gateway, inside its container; and nginx's without TLS."""

GATEWAY = "gateway"
REDIS = "redis"
EDGE = "nginx"
PREPARE = "prepare"
WEIGHTS = "weights"
"""Services of the platform itself."""
GATEWAY_HOST = "inference-gateway"
EDGE_HOST = "inference-nginx"
"""Their containers, and how they call each other."""
REDIS_URL = "REDIS_URL"
REDIS_SOCKET = "/run/infctl/redis/redis.sock"
"""In a volume that only the Redis and the gateways have: no network leads to it."""
EDGE_HEALTH = "/-/edge"
"""nginx answers this itself, whatever the gateway does."""
EDGE_KEPT_S = 6
"""For so long after a reload nginx's old workers still answer on connections that clients keep."""
EDGE_LOOKS_UP_S = 5
"""How often nginx asks Docker for the gateway's address."""

# Folders inside the containers.
ETC_GATEWAY = "/etc/infctl"
ETC_NGINX = "/etc/nginx"
SCRIPTS = "/infctl"
TLS = "/run/infctl/tls"
TLS_KEY = "/run/infctl/tls-key"
ENV_FILE = "/run/infctl/.env"
KEYS = "/run/infctl/keys"
HUB_KEYS = "/run/infctl/hub"
SECRETS = "/run/infctl/secrets"
LOCKS = "/run/infctl/locks"
GATEWAY_STATE = "/var/lib/infctl"
HUB_CACHE = "/cache/hf"
ENGINE_CACHE = "/cache/vllm"
MODELS = "/models"
TEMPLATES = "/templates"


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
        return (GATEWAY_HOST, CONTAINER_PORT) if self.docker else (reachable(listen.host), listen.port)

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
        """As the gateway finds it."""
        return f"{ETC_GATEWAY}/gateway.yaml" if self.docker else str(self.gateway_file)

    @property
    def gateway_file(self) -> Path:
        """The same, as it lies on this machine. Its folder is what a container mounts."""
        return self.layout.rendered / ("gateway/gateway.yaml" if self.docker else "gateway.yaml")

    @property
    def nginx_config(self) -> str:
        """As nginx finds it."""
        return f"{ETC_NGINX}/nginx.conf" if self.docker else str(self.nginx_files[0])

    @property
    def nginx_files(self) -> tuple[Path, ...]:
        """As they lie on this machine: nginx.conf, and what it includes."""
        if not self.docker:
            return (self.layout.rendered / "nginx.conf",)
        folder = self.layout.rendered / "nginx"
        return folder / "nginx.conf", folder / "upstream.conf"

    @property
    def nginx_scratch(self) -> str:
        """For the pid and the temporary files; nothing else is written by nginx."""
        return "/tmp" if self.docker else str(self.layout.state)  # noqa: S108 - the container's own

    @property
    def audit(self) -> tuple[str, str]:
        """The folders of the audit trail and, outside it, of its anchors, as the gateway finds them."""
        if self.docker:
            return f"{GATEWAY_STATE}/audit", f"{GATEWAY_STATE}/anchors"
        return str(self.layout.audit), str(self.layout.anchors)

    @property
    def store(self) -> str:
        """The file of the gateway's counts, as it finds it; where a Redis has them, the journal of them."""
        path = PurePosixPath(self.profile.gateway.store.path)
        if self.profile.store_kind == "redis":
            path = path.with_suffix(f".journal{path.suffix}")
        if self.docker:
            return f"{GATEWAY_STATE}/counts/{path}"
        return os.path.normpath(self.layout.counts / Path(path).expanduser())

    @property
    def store_url(self) -> str:
        """The variable in which the gateway finds its Redis."""
        url = self.profile.gateway.store.url
        return REDIS_URL if url is None else self.variable(url.name)

    @property
    def env_file(self) -> str:
        return ENV_FILE if self.docker else str(self.layout.env_file)

    @property
    def tls(self) -> tuple[str, str]:
        """Certificate and key, as nginx finds them."""
        certificate, key = self.tls_files
        if not self.docker:
            return str(certificate), str(key)
        if self.profile.edge.tls.makes_certificate:
            return f"{ETC_NGINX}/tls/{certificate.name}", f"{ETC_NGINX}/tls/{key.name}"
        folder = TLS if certificate.parent == key.parent else TLS_KEY
        return f"{TLS}/{certificate.name}", f"{folder}/{key.name}"

    @property
    def tls_files(self) -> tuple[Path, Path]:
        """The same, as they lie on this machine."""
        tls = self.profile.edge.tls
        if tls.certificate is None or tls.key is None:
            folder = self.layout.rendered / ("nginx/tls" if self.docker else "tls")
            return folder / "certificate.pem", folder / "key.pem"
        return Path(self.file(tls.certificate)), Path(self.file(tls.key))

    def variable(self, secret: str) -> str:
        """The variable that holds a secret where a service looks for it.

        A process gets it under the secret's own name; a container reads `.env`, where it has another.
        """
        source = self.profile.secrets.get(secret)
        return source.env if self.docker and source is not None and source.env is not None else secret

    def secret_file(self, secret: str) -> tuple[Path, str] | None:
        """A file that holds it: as it lies on this machine, and as containers find it. None: `.env` does."""
        source = self.profile.secrets.get(secret)
        if source is None or source.file is None:
            return None
        path = Path(self.file(source.file))
        return path, f"{SECRETS}/{secret}/{path.name}"

    def template(self, model: str, path: str) -> str:
        """A model's own chat template, as its engine finds it."""
        return f"{TEMPLATES}/{model}.jinja" if self.docker else self.file(path)

    @property
    def hub_cache(self) -> str:
        """The folder of downloaded weights, as it lies on this machine."""
        return self.file(self.profile.engines.cache)

    @property
    def owned(self) -> tuple[str, ...]:
        """Paths of this machine whose owners decide as whom a container runs."""
        return (self.hub_cache, str(self.tls_files[1])) if self.docker else ()

    def file(self, path: str) -> str:
        """A path of the profile, absolute. Nothing is resolved: a link stays a link."""
        return os.path.normpath(self.layout.base / Path(path).expanduser())


def gateway_secrets(profile: Profile) -> tuple[str, ...]:
    """What the gateway's process is given, or reads: names of secrets, each once."""
    gateway = profile.gateway
    keys, audit = gateway.keys, gateway.audit
    tenants = (key for tenant in gateway.tenants.values() for key in tenant.keys)
    url = gateway.store.url if profile.store_kind == "redis" else None
    asked = (keys.shared, keys.admin, keys.backend, audit.hmac_key if audit.enabled else None, url, *tenants)
    return tuple(dict.fromkeys(key.name for key in asked if key is not None))


def reachable(host: str) -> str:
    """The address to call a server at that binds `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
