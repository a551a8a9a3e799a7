"""A Stack as JSON and back, and the digests that say whether two services are the same. Pure.

Two digests a service: `spec_hash` of what needs a new process, `files_hash` of what a reload is enough for.
Readiness, order and limits are in neither: they change nothing in a running process.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from infctl.stack import ConfigFile, Preparation, Readiness, Service, Stack


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
    )


def service_from_json(data: Mapping[str, Any]) -> Service:
    """Keys that are not of a Service (the engine's additions) are passed over; left out ones are default."""
    known = {field.name for field in fields(Service)}
    values = {name: _frozen(value) for name, value in data.items() if name in known}
    values["files"] = tuple(ConfigFile(**file) for file in data["files"])
    values["ready"] = None if data["ready"] is None else Readiness(**data["ready"])
    return Service(**values)


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
