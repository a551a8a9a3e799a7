"""The connection to one Docker engine: DOCKER_HOST, else the docker command's context, else the local socket.

Nothing of the SDK is imported before `connect`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infctl.engine.docker import contexts, refusals
from infctl.errors import EngineError

CONNECT_S = 15.0
"""Until the engine has to have said its version."""
ANSWER_S = 120.0
"""Until it has to have answered any other question; waits of our own come on top."""
API_OLDEST = (1, 41)
"""Engine 20.10."""
LOCAL = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class Client:
    """A connection that answered."""

    api: Any
    """docker.APIClient. Every use stands inside `refusals.told`."""
    address: str
    """As DOCKER_HOST would say it."""
    name: str = ""
    """Of the docker context, where one was used."""

    @property
    def is_local(self) -> bool:
        """Paths and processes here are those the engine sees."""
        return self.address.startswith(("unix://", "npipe://"))

    @property
    def version(self) -> tuple[int, ...]:
        """Of the API that is spoken."""
        return tuple(int(part) for part in str(self.api.api_version).split("."))

    def close(self) -> None:
        self.api.close()


def connect(environment: Mapping[str, str]) -> Client:
    """Raises EngineError: no engine, no permission, not running, too old."""
    with refusals.told("Docker cannot be used"):
        address, options, context = _where(environment)
        api = _api(address, options)
    client = Client(api, address, context)
    if client.version < API_OLDEST:
        raise EngineError(
            f"the Docker engine at {address} speaks API {api.api_version}; 1.41 (Docker 20.10) is the oldest",
            hint="update Docker on that machine",
        )
    api.timeout = ANSWER_S
    return client


def _where(environment: Mapping[str, str]) -> tuple[str, dict[str, Any], str]:
    """(address, arguments of APIClient, context)."""
    from docker import utils  # noqa: PLC0415 - 0.1 s

    if environment.get("DOCKER_HOST"):
        options = utils.kwargs_from_env(environment=dict(environment))
        return str(options.get("base_url", environment["DOCKER_HOST"])), options, ""
    name = contexts.current(environment)
    if name == contexts.DEFAULT:
        return LOCAL, {}, ""
    return *contexts.endpoint(name, environment), name


def _api(address: str, options: Mapping[str, Any]) -> Any:
    from docker import APIClient  # noqa: PLC0415

    if not address.startswith(("unix://", "ssh://")):
        return APIClient(**{"base_url": address, **options}, timeout=CONNECT_S)
    from infctl.engine.docker import ssh, transport  # noqa: PLC0415

    if address.startswith("ssh://"):
        ssh.check(address)
    # The version keeps it from asking by its own way; over ssh that needs a package most machines lack.
    api = APIClient(base_url=LOCAL, version="1.41", timeout=CONNECT_S)
    api.mount("http+docker://", transport.Adapter(address, ANSWER_S))
    try:
        api._version = api.version(api_version=False)["ApiVersion"]  # noqa: SLF001 - as it does itself
    except BaseException:
        api.close()
        raise
    return api
