"""The docker command's contexts, read as it keeps them: which one is meant, and where its engine is.

    $DOCKER_CONFIG or ~/.docker
      config.json                                currentContext
      contexts/meta/<sha256 of the name>/meta.json   Endpoints.docker.Host
      contexts/tls/<the same>/docker/            ca.pem, cert.pem, key.pem

The SDK reads them too, but only where there is a config.json.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from infctl.errors import EngineError

DEFAULT = "default"
_TLS_FILES = ("ca.pem", "cert.pem", "key.pem")


def current(environment: Mapping[str, str]) -> str:
    """The context that DOCKER_HOST, which comes first, leaves to be chosen."""
    named = environment.get("DOCKER_CONTEXT") or _json(_folder(environment), "config.json").get(
        "currentContext"
    )
    return str(named or DEFAULT)


def endpoint(name: str, environment: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """(address, further arguments of APIClient). Raises EngineError where there is no such context."""
    key = hashlib.sha256(name.encode()).hexdigest()
    contexts = os.path.join(_folder(environment), "contexts")
    found = (_json(contexts, "meta", key, "meta.json").get("Endpoints") or {}).get("docker") or {}
    if not found.get("Host"):
        raise EngineError(
            f"there is no docker context {name!r}",
            hint="`docker context ls` lists them; DOCKER_CONTEXT or `docker context use` chooses one",
        )
    tls = os.path.join(contexts, "tls", key, "docker")
    files = [os.path.join(tls, file) for file in _TLS_FILES]
    if not all(os.path.isfile(file) for file in files):
        return str(found["Host"]), {}
    from docker.tls import TLSConfig  # noqa: PLC0415 - 0.1 s

    authority, certificate, private = files
    verify = not found.get("SkipTLSVerify", False)
    config = TLSConfig(client_cert=(certificate, private), ca_cert=authority, verify=verify)
    return str(found["Host"]), {"tls": config}


def _folder(environment: Mapping[str, str]) -> str:
    home = environment.get("HOME") or os.path.expanduser("~")
    return environment.get("DOCKER_CONFIG") or os.path.join(home, ".docker")


def _json(*path: str) -> dict[str, Any]:
    """Nothing where there is none, or it is no JSON."""
    try:
        with open(os.path.join(*path), encoding="utf-8") as file:
            data = json.load(file)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
