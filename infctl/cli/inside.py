"""Asked from inside the gateway's container: what is on its networks and on none of this machine's.

Engines publish nothing, and over ssh the gateway's own port is another machine's. Keys go in by standard
input, never in the command.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from infctl.cli import fetch
from infctl.errors import EngineError

if TYPE_CHECKING:
    from infctl.engine.docker.engine import DockerEngine

GATEWAY = "gateway"
START_S = 10.0
"""For the container's Python to begin, beyond what the pages may take."""


def rounds(engine: DockerEngine, job: Mapping[str, Any]) -> dict[str, Any]:
    """`fetch.rounds`, there. Raises EngineError where the gateway does not run or has no Python."""
    takes = sum(float(ask.get("timeout_s", 5.0)) for ask in job["asks"][:1]) + float(job.get("gap_s", 0.0))
    limit = START_S + 2 * takes * int(job.get("rounds", 1))
    source = Path(fetch.__file__).read_text("utf-8")
    ran = engine.exec(GATEWAY, ("python3", "-c", source), json.dumps(job).encode(), timeout_s=limit)
    try:
        told = json.loads(ran.out)
        return {"at": list(told["at"]), "rounds": list(told["rounds"])}
    except (ValueError, KeyError, TypeError):
        said = ran.text.strip().splitlines()[-3:]
        raise EngineError(
            f"the gateway's container could not be asked (exit code {ran.code})",
            hint="infctl logs gateway --tail 20",
            log=said,
        ) from None


class Transport(httpx.BaseTransport):
    """For an httpx.Client: each request is asked in there. `seen_as`: URL as seen here -> as seen there."""

    def __init__(self, engine: DockerEngine, seen_as: Mapping[str, str]) -> None:
        self._engine = engine
        self._seen_as = dict(seen_as)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        timeout = request.extensions.get("timeout", {})
        ask = {
            "name": "one",
            "url": self._inside(str(request.url)),
            "method": request.method,
            "headers": {
                name: value
                for name, value in request.headers.items()
                if name in ("authorization", "content-type", "accept", "cache-control")
            },
            "body": request.read().decode("utf-8") or None,
            "timeout_s": timeout.get("read") or 30.0,
        }
        try:
            answer = rounds(self._engine, {"asks": [ask]})["rounds"][0]["one"]
        except EngineError as error:
            raise httpx.ConnectError(error.message, request=request) from None
        if "error" in answer:
            kind = {"timeout": httpx.ReadTimeout, "connect": httpx.ConnectError}.get(
                answer["error"], httpx.ReadError
            )
            raise kind(str(answer["why"]), request=request)
        return httpx.Response(int(answer["status"]), content=str(answer["body"]).encode(), request=request)

    def _inside(self, url: str) -> str:
        for here, there in self._seen_as.items():
            if url.startswith(here):
                return there + url.removeprefix(here)
        return url
