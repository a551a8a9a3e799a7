"""Whatever the Docker SDK raises, in words: the one edge where its errors end.

    with told("vllm-chat0 cannot be started"):
        api.start(...)

Rows are tried in order; the engine's own words go along as the error's log.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from infctl.errors import EngineError

SAID_MAX_CHARACTERS = 600
"""Of the engine's own words."""


class Gone(EngineError):  # noqa: N818 - it is what happened: there is nothing of that name
    """What was asked about is not there (any more)."""


class NameTaken(EngineError):  # noqa: N818
    """A container of that name exists already."""


class ImageMissing(EngineError):  # noqa: N818
    """The image is not on the Docker host."""


class _Row(NamedTuple):
    pattern: str
    why: str
    do: str
    kind: type[EngineError] = EngineError


_ROWS = (
    _Row(
        r"container name \"?/?(?P<name>[^\" ]+)\"? is already in use by container \"?(?P<id>[0-9a-f]{12})?",
        "there is a container named {name} already ({id})",
        "if it is another platform's, stop that one first; `docker inspect {name}` tells whose it is",
        NameTaken,
    ),
    _Row(
        r"(?i)no such container: ?(?P<id>\S*)",
        "the container is gone; somebody removed it meanwhile",
        "run the command again",
        Gone,
    ),
    _Row(
        r"(?i)no such image: ?(?P<image>\S*)",
        "the image {image} is not on the Docker host",
        "`infctl pull` fetches the images of the profile",
        ImageMissing,
    ),
    _Row(
        r"(?i)pull access denied for (?P<image>[^ ,]+)|(?:manifest for )?(?P<image2>\S+) not found: "
        r"manifest unknown|manifest unknown|repository \S+ not found",
        "the registry has no such image, or it wants a login",
        "correct the image's name and tag in the profile; for a private registry: `docker login`",
        ImageMissing,
    ),
    _Row(
        r"(?i)(?:no such host|dial tcp|tls: |x509|i/o timeout|connection refused|deadline exceeded).*"
        r"(?:/v2/|registry)|(?:/v2/).*(?:no such host|timeout|refused|x509|tls|EOF|deadline exceeded)",
        "the registry does not answer the Docker host",
        "check the Docker host's network, its proxy and mirrors; or bring images by `docker load`",
    ),
    _Row(
        r"(?i)toomanyrequests|rate limit",
        "the registry refuses more pulls for now",
        "`docker login` raises the limit, or wait",
    ),
    _Row(
        r"(?i)(?:bind for|exposing port tcp) (?P<address>\S+?)(?: failed| ->).*"
        r"(?:port is already allocated|address already in use)"
        r"|listen tcp\S* (?P<address2>\S+): bind: (?:address already in use|cannot assign requested address)",
        "the port {address}{address2} is taken",
        "end what holds it, or change the port in the profile",
    ),
    _Row(
        r"(?i)port is already allocated|address already in use",
        "a port it publishes is taken",
        "end what holds it, or change the port in the profile",
    ),
    _Row(
        r"(?i)cannot assign requested address",
        "the Docker host has no such address to publish a port on",
        "correct the bind address in the profile",
    ),
    _Row(
        r"(?i)no space left on device",
        "the Docker host's disk is full",
        "`docker system df` shows what takes the space, `docker system prune` frees what nothing uses",
    ),
    _Row(
        r"(?i)could not select device driver",
        "the engine cannot hand out GPUs: the NVIDIA Container Toolkit is missing or not set up",
        "install nvidia-container-toolkit, then `nvidia-ctk runtime configure --runtime=docker` and restart "
        "Docker; or give the GPUs by CDI",
    ),
    _Row(
        r"(?i)(?:CDI device injection failed: )?unresolvable CDI devices? (?P<devices>.*)",
        "the engine knows no such CDI devices: {devices}",
        "`nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml` makes them; `nvidia-ctk cdi list` lists",
    ),
    _Row(
        r"(?i)nvidia-container-cli: (?P<said>.*unknown device.*)",
        "there is no such GPU on the Docker host: {said}",
        "`nvidia-smi -L` lists the cards; correct `gpu` in the profile",
    ),
    _Row(
        r"(?i)nvidia-container-cli: (?P<said>.*)",
        "the NVIDIA Container Toolkit refused: {said}",
        "`infctl doctor` looks at driver, toolkit and cards",
    ),
    _Row(
        r"(?i)bind source path does not exist: (?P<path>\S+)",
        "{path} is not there on the Docker host",
        "bind mounts must exist where the engine runs; the rendered files lie beside the profile",
    ),
    _Row(
        r"(?i)are you trying to mount a directory onto a file|not a directory: unknown",
        "a file is mounted where the image has a folder, or the other way round",
        "correct the mounted path in the profile",
    ),
    _Row(
        r"(?i)pool overlaps with other one",
        "the network's subnet is used by another network of the Docker host",
        "write another `subnet` under `networks` in the profile; `docker network ls` lists them",
    ),
    _Row(
        r"(?i)non-overlapping IPv4 address pool|all predefined address pools have been fully subnetted",
        "the engine has no free address range left for a network",
        "`docker network prune` removes what nothing uses, or write a `subnet` under `networks`",
    ),
    _Row(
        r"(?i)setting rlimits?|error setting rlimit",
        "the Docker host does not allow the limits it asks for (memlock, stack)",
        "raise the limits of the Docker service (LimitMEMLOCK), or take `ulimits` out of the profile",
    ),
    _Row(
        r"(?i)exec: \"?(?P<program>[^\":]+)\"?: (?:executable file not found|stat .*: no such file)",
        "its image has no program {program}",
        "correct the image in the profile; it must be one that vLLM (or nginx, or the gateway) is in",
    ),
    _Row(
        r"(?i)exec: \"?(?P<program>[^\":]+)\"?: permission denied|permission denied: unknown",
        "its user may not run the image's program",
        "correct `hardening.user` in the profile",
    ),
    _Row(
        r"(?i)network (?P<name>\S+) (?:not found|is ambiguous)",
        "the network {name} is not there",
        "run `infctl up` again: it makes it",
        Gone,
    ),
    _Row(
        r"(?i)has active endpoints",
        "a container that is none of ours is connected to the network",
        "`docker network inspect` names it: disconnect it, then again",
    ),
    _Row(
        r"(?i)volume is in use",
        "a container uses the volume",
        "`docker ps -a --filter volume=NAME` names it: remove it, then again",
    ),
    _Row(
        r"(?i)minimum memory limit|invalid (?:cpu|memory)|range of CPUs is from",
        "the Docker host cannot give that much memory or processor time",
        "correct the limits in the profile",
    ),
    _Row(r"(?i)no such (?:network|volume|exec)", "it is not there any more", "run the command again", Gone),
)


@contextlib.contextmanager
def told(doing: str) -> Iterator[None]:
    """Turns the SDK's errors into EngineError: `<doing>: <why>`, with what to do."""
    from docker.errors import DockerException  # noqa: PLC0415 - not before an engine is asked
    from requests.exceptions import RequestException  # noqa: PLC0415

    try:
        yield
    except (DockerException, RequestException, OSError) as error:
        raise translated(doing, error) from None


def translated(doing: str, error: BaseException) -> EngineError:
    """`error`: of the SDK, of requests, or of the connection itself."""
    from docker.errors import APIError  # noqa: PLC0415

    if isinstance(error, APIError):
        said = str(error.explanation or error)
        return of_text(doing, said, status=error.status_code)
    return _of_connection(doing, error)


def of_text(doing: str, said: str, *, status: int | None = None) -> EngineError:
    """From the engine's own words."""
    for row in _ROWS:
        match = re.search(row.pattern, said)
        if match:
            words = {name: (value or "").strip(" .") for name, value in match.groupdict().items()}
            return row.kind(
                f"{doing}: {row.why.format(**words)}", hint=row.do.format(**words), log=(_cut(said),)
            )
    kind = Gone if status == 404 else EngineError
    return kind(f"{doing}: {_cut(said)}", hint="`infctl doctor` looks at the Docker engine")


def _of_connection(doing: str, error: BaseException) -> EngineError:
    cause = next((e for e in _chain(error) if isinstance(e, OSError) and e.errno is not None), None)
    if isinstance(cause, PermissionError):
        return EngineError(
            f"{doing}: the Docker socket may not be used by this user",
            hint="`sudo usermod -aG docker $USER` and log in again, or run infctl as a user who may",
        )
    if isinstance(cause, FileNotFoundError):
        return EngineError(
            f"{doing}: there is no Docker engine here",
            hint="install Docker and start it (`systemctl start docker`), set DOCKER_HOST, or use "
            "`runtime: process`",
        )
    if isinstance(cause, ConnectionRefusedError):
        return EngineError(
            f"{doing}: the Docker engine is not running", hint="start it: `systemctl start docker`"
        )
    said = " ".join(str(error).split())
    if "timed out" in said.lower():
        return EngineError(
            f"{doing}: the Docker engine did not answer in time",
            hint="`docker info` shows whether it answers; `systemctl status docker` what it says",
        )
    if re.search(r"Connection (?:aborted|reset)|EOF|closed connection|ended without", said):
        return EngineError(
            f"{doing}: the Docker engine went away meanwhile",
            hint="`systemctl status docker` says why; then run the command again",
        )
    return EngineError(f"{doing}: {_cut(said)}", hint="`docker info` shows whether the engine answers")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and all that it was made from: causes, contexts and arguments."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        found = waiting.pop(0)
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        parts = (found.__cause__, found.__context__, *found.args, getattr(found, "reason", None))
        waiting += [part for part in parts if isinstance(part, BaseException)]


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SAID_MAX_CHARACTERS else f"{text[: SAID_MAX_CHARACTERS - 1]}…"
