"""A Stack as JSON and back, and the digests that say whether two services are the same. Pure.

Two digests a service: `spec_hash` of what needs a new process, `files_hash` of what a reload is enough for.
Readiness, order and limits, those of logs too, are in neither: they change nothing in a running process.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from infctl.stack import ConfigFile, LogLimits, Preparation, Readiness, Service, Stack, containers

BASE_VARIABLES = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
    *("LD_LIBRARY_PATH", "CUDA_HOME", "HF_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
"""What a service's otherwise clean environment takes over from whoever runs `infctl up`."""


def stack_to_json(stack: Stack) -> dict[str, Any]:
    """Plain dicts and lists."""
    return asdict(stack)


def stack_from_json(data: Mapping[str, Any]) -> Stack:
    """Raises KeyError or TypeError where `data` is not a stack."""
    return Stack(
        name=data["name"],
        runtime=data["runtime"],
        services=tuple(service_from_json(s) for s in data["services"]),
        prepare=tuple(Preparation(p["name"], tuple(p["argv"]), p["creates"]) for p in data["prepare"]),
        # Books of versions that kept limits of their own have none.
        logs=LogLimits(**data.get("logs", {})),
        projects=tuple(containers.from_json(project) for project in data.get("projects", ())),
    )


def service_from_json(data: Mapping[str, Any]) -> Service:
    """Keys that are not of a Service (the engine's additions) are passed over; left out ones are default."""
    known = {field.name for field in fields(Service)}
    values = {name: _frozen(value) for name, value in data.items() if name in known}
    values["files"] = tuple(ConfigFile(**file) for file in data["files"])
    values["ready"] = None if data["ready"] is None else Readiness(**data["ready"])
    return Service(**values)


def wish(
    stack: Stack, digests: Mapping[str, str], nonces: Mapping[str, int], environment: Mapping[str, str]
) -> dict[str, Any]:
    """desired.json without its generation: the stack, and each service as the supervisor needs it.

    `nonces`: raised for a service that is to start anew although nothing of it changed.
    """
    data = stack_to_json(stack)
    services = [
        {
            **data["services"][index],
            "spec_hash": spec_hash(service, digests),
            "files_hash": files_hash(service),
            "nonce": nonces.get(service.name, 0),
            "digests": {name: digests[name] for _, name in service.secret_env},
        }
        for index, service in enumerate(stack.services)
    ]
    base = {name: environment[name] for name in BASE_VARIABLES if name in environment}
    return {"stack": data, "services": services, "base_env": base, "down": False}


def secret_digest(key: bytes, value: str) -> str:
    """Tells that a value changed, and nothing else about it. `key` is random and this home's own."""
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:16]


def spec_hash(service: Service, digests: Mapping[str, str]) -> str:
    """Of everything that needs a new process, the values of its secrets (by digest) included."""
    return _hash(
        [
            list(service.argv),
            sorted(service.env),
            sorted((variable, name, digests.get(name, "")) for variable, name in service.secret_env),
            sorted((f.path, f.sha256) for f in service.files if not reloads(service, f)),
            service.gpu,
        ]
    )


def files_hash(service: Service) -> str:
    """Of the files a reload is enough for."""
    return _hash(sorted((f.path, f.sha256) for f in service.files if reloads(service, f)))


def reloads(service: Service, file: ConfigFile) -> bool:
    return file.on_change == "reload" and service.reload_signal is not None


def _frozen(value: Any) -> Any:
    """JSON has lists where a Service has tuples."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()[:16]
