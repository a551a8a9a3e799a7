"""One container at a time: create, start, wait, stop, look. The small verbs every change is made of.

Each is one question to the engine (a wait: many), raises EngineError in words, and leaves deciding to others.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infctl.engine.docker import payload
from infctl.engine.docker.client import Client
from infctl.engine.docker.refusals import Gone, told
from infctl.engine.docker.watch import Failed, Watch
from infctl.engine.model import Event
from infctl.errors import EngineError
from infctl.stack.containers import Container, Project

POLL_FIRST_S = 0.1
POLL_S = 0.5
"""How often a waiting `infctl up` looks: often at first, when most small services become ready."""
POLL_OFTEN_FOR_S = 10.0
EXEC_OUTPUT_BYTES_MAX = 4 * 2**20

__all__ = ["Failed", "Hands", "Ran", "polls"]


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command inside a container did."""

    code: int
    out: bytes
    """Its standard output and error, as they came."""

    @property
    def text(self) -> str:
        return self.out.decode("utf-8", "replace")


class Hands:
    """Of one engine. `hashes`: (project, service) -> Compose's own hash of it, where there is a Compose."""

    def __init__(self, client: Client, hashes: Mapping[tuple[str, str], str]) -> None:
        self.client = client
        self._hashes = hashes

    # -- making and removing -----------------------------------------------------------------------

    def create(
        self, project: Project, container: Container, *, name: str | None = None, number: int = 1
    ) -> str:
        """Created and connected, not started; answers with its id.

        `name`: a temporary one, such as `vllm-chat0-next`; its network names are those of the real one.
        NameTaken where the name exists.
        """
        named = name or container.container_name(project.name, number)
        with told(f"{named} cannot be created"):
            body = payload.create(
                project,
                container,
                image_id=self.image_id(container.image),
                config_hash=self._hashes.get((project.name, container.service), payload.NO_HASH),
                number=number,
            )
            made = str(self.client.api.create_container_from_config(body, named)["Id"])
            try:
                for network, endpoint in payload.further(project, container, number=number).items():
                    self.connect(made, network, endpoint["Aliases"])
            except BaseException:
                self.remove(made, force=True)
                raise
        return made

    def image_id(self, image: str) -> str:
        """ImageMissing where it is not on the Docker host."""
        with told(f"the image {image} cannot be used"):
            return str(self.client.api.inspect_image(image)["Id"])

    def remove(self, container_id: str, *, force: bool = False) -> None:
        """With its anonymous volumes. One that is gone already is fine."""
        with contextlib.suppress(Gone), told("a container cannot be removed"):
            self.client.api.remove_container(container_id, v=True, force=force)

    def rename(self, container_id: str, name: str) -> None:
        with told(f"a container cannot be renamed to {name}"):
            self.client.api.rename(container_id, name)

    def connect(self, container_id: str, network: str, aliases: Sequence[str] = ()) -> None:
        with told(f"{network} cannot be connected"):
            self.client.api.connect_container_to_network(container_id, network, aliases=list(aliases))

    def disconnect(self, container_id: str, network: str) -> None:
        with told(f"{network} cannot be disconnected"):
            self.client.api.disconnect_container_from_network(container_id, network, force=True)

    # -- running -----------------------------------------------------------------------------------

    def start(self, container_id: str) -> None:
        """One that runs already is fine; one that is paused goes on."""
        with told(f"{self.name_of(container_id)} cannot be started"):
            if self.inspect(container_id)["State"]["Paused"]:
                self.client.api.unpause(container_id)
            self.client.api.start(container_id)

    def stop(self, container_id: str, timeout_s: float) -> None:
        """Its stop signal, and SIGKILL after `timeout_s`. One that does not run, or is gone, is fine."""
        seconds = max(0, round(timeout_s))
        with contextlib.suppress(Gone), told(f"{self.name_of(container_id)} cannot be stopped"):
            self.client.api.stop(container_id, timeout=seconds)

    def signal(self, container_id: str, signal: str) -> None:
        """`signal`: HUP, TERM ..."""
        with told(f"{self.name_of(container_id)} cannot be sent SIG{signal}"):
            self.client.api.kill(container_id, signal=f"SIG{signal}")

    # -- waiting -----------------------------------------------------------------------------------

    def wait_healthy(self, container_id: str, service: str, deadline: float) -> Iterator[Event]:
        """Until its health check passes, or, where it has none, it runs. `deadline`: of time.monotonic().

        Yields `loading` with the last line of its log now and then, `ready` at the end. Raises Failed when it
        ends, restarts or is told unhealthy, and at the deadline.
        """
        yield from self._watch(Watch(container_id, service, time.monotonic(), deadline))

    def wait_exit(self, container_id: str, service: str, deadline: float) -> Iterator[Event]:
        """Until it ends with 0, which is told as `ready`. Raises Failed otherwise."""
        yield from self._watch(Watch(container_id, service, time.monotonic(), deadline, to_its_end=True))

    def _watch(self, watch: Watch) -> Iterator[Event]:
        for now in polls():
            event = self.look(watch, now)
            if event is not None:
                yield event
                if event.kind == "ready":
                    return

    def look(self, watch: Watch, now: float) -> Event | None:
        """One look of a watch."""
        container_id = watch.container_id
        return watch.look(self.inspect(container_id), lambda lines: self._lines(container_id, lines), now)

    # -- looking -----------------------------------------------------------------------------------

    def inspect(self, container_id: str) -> dict[str, Any]:
        """As `docker inspect`. Raises Gone."""
        with told("a container cannot be looked at"):
            return dict(self.client.api.inspect_container(container_id))

    def find(self, name: str) -> str | None:
        """The id of the container with exactly this name."""
        try:
            found = self.inspect(name)
        except Gone:
            return None
        return str(found["Id"]) if found["Name"] == f"/{name}" else None

    def name_of(self, container_id: str) -> str:
        try:
            return str(self.inspect(container_id)["Name"]).lstrip("/")
        except EngineError:
            return container_id[:12]

    def ip(self, container_id: str, network: str) -> str:
        """Its address in that network (by the network's name on the host); empty where it has none."""
        networks = self.inspect(container_id)["NetworkSettings"]["Networks"]
        return str(networks.get(network, {}).get("IPAddress", ""))

    def logs(self, container_id: str, lines: int) -> list[str]:
        """Its last lines, standard output and error together."""
        with told("a log cannot be read"):
            data = self.client.api.logs(container_id, tail=lines)
        return str(data.decode("utf-8", "replace")).splitlines()

    def _lines(self, container_id: str, lines: int) -> list[str]:
        """A log that cannot be read just now says nothing."""
        try:
            return self.logs(container_id, lines)
        except EngineError:
            return []

    def exec(
        self,
        container_id: str,
        argv: Sequence[str],
        stdin: bytes = b"",
        *,
        timeout_s: float = 30.0,
        user: str = "",
    ) -> Ran:
        """Run a command inside it, to its end. Raises EngineError at the time-out."""
        api = self.client.api
        with told(f"{argv[0]} cannot be run in {self.name_of(container_id)}"):
            made = api.exec_create(container_id, list(argv), stdin=bool(stdin), user=user)["Id"]
            stream = api.exec_start(made, socket=True)
            try:
                out = _talk(stream, stdin, time.monotonic() + timeout_s)
            except TimeoutError:
                raise EngineError(
                    f"{argv[0]} in {self.name_of(container_id)} did not end within {timeout_s:.0f} s"
                ) from None
            finally:
                _close(stream)
            return Ran(_exit_code(api, made), out)


def polls() -> Iterator[float]:
    """The time, again and again, with a pause between."""
    begun = time.monotonic()
    while True:
        now = time.monotonic()
        yield now
        time.sleep(POLL_FIRST_S if now - begun < POLL_OFTEN_FOR_S else POLL_S)


def _talk(stream: Any, stdin: bytes, deadline: float) -> bytes:
    """Send `stdin`, read everything that comes.

    It comes in frames: a head of 8 bytes, whose last 4 are the length, then the data.
    """
    link = getattr(stream, "_sock", stream)
    link.settimeout(max(0.01, deadline - time.monotonic()))
    link.sendall(stdin)
    with contextlib.suppress(OSError, AttributeError):  # over TLS there is no closing one way
        link.shutdown(socket.SHUT_WR)
    out = bytearray()
    while head := _read(link, 8, deadline):
        out += _read(link, int.from_bytes(head[4:], "big"), deadline)
        if len(out) > EXEC_OUTPUT_BYTES_MAX:
            break
    return bytes(out)


def _close(stream: Any) -> None:
    """With its connection, which is of no more use: it was taken out of HTTP."""
    response = getattr(stream, "_response", None)
    (stream if response is None else response).close()


def _read(link: socket.socket, count: int, deadline: float) -> bytes:
    """Exactly that many bytes; fewer where the other side has closed. Raises TimeoutError at the deadline."""
    data = bytearray()
    while len(data) < count:
        link.settimeout(max(0.01, deadline - time.monotonic()))
        part = link.recv(count - len(data))
        if not part:
            return b""
        data += part
    return bytes(data)


def _exit_code(api: Any, exec_id: str) -> int:
    """Known a moment after its output has ended."""
    for _ in range(50):
        code = api.exec_inspect(exec_id)["ExitCode"]
        if code is not None:
            return int(code)
        time.sleep(0.02)
    return -1
