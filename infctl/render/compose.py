"""docker-compose.yml: a Project as Compose reads it, and a person. Pure.

The same Container is what the Docker engine is asked for; here it carries its reasons as comments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from infctl.render.files import RenderedFile, header
from infctl.render.yaml_text import Entry, Item, Merged, Row, Rows, dump
from infctl.stack.containers import (
    SPEC_LABEL,
    Container,
    Devices,
    Mount,
    Network,
    Port,
    Project,
    Volume,
    spec_hash,
)

_UNITS = (("gb", 2**30), ("mb", 2**20), ("kb", 2**10), ("b", 1))
_EVERY = "every-container"
_ONE_LINE = 80
"""Characters of a command that is not cut into lines."""


def render(project: Project, platform: str, *about: str) -> RenderedFile:
    """`about`: what the file is, a line each."""
    common = _common(project.containers)
    entries = [
        Entry("name", _plain(project.name)),
        Entry(
            f"x-{_EVERY}",
            [Entry(key, value) for key, value in common.items()],
            heading="What every container is denied, and its log",
            anchor=_EVERY,
        ),
        Entry(
            "services",
            [_service(one, project, common) for one in project.containers],
            heading="In the order they start",
        ),
    ]
    if project.networks:
        entries.append(
            Entry(
                "networks", [_network(one, project) for one in project.networks], heading="Who reaches whom"
            )
        )
    if project.volumes:
        volumes = [Entry(one.key, _volume(one, project)) for one in project.volumes]
        entries.append(Entry("volumes", volumes, heading="What outlives containers"))
    text = dump(
        entries,
        (
            *header(platform, *about),
            "docker compose -f " + project.file + " up -d starts it without infctl as well.",
        ),
    )
    return RenderedFile(project.file, text, note="read by docker compose")


def _common(containers: Iterable[Container]) -> dict[str, Any]:
    """What most of them say of the same things: said once. Empty where there are none."""
    said: dict[str, list[Any]] = {}
    for one in containers:
        for key, value in _denied(one):
            said.setdefault(key, []).append(value)
    return {key: max(values, key=values.count) for key, values in said.items()}


def _service(container: Container, project: Project, common: dict[str, Any]) -> Entry:
    why = dict(container.reasons)
    entries = [
        Entry(key, value, why.get(key, ""))
        for key, value in _keys(container, project, why)
        if value not in ((), [], None, "")
    ]
    entries += [
        Entry(key, value, why.get(key, "")) for key, value in _denied(container) if value != common[key]
    ]
    entries.append(Entry("<<", Merged(_EVERY)))
    return Entry(container.service, entries, heading=why.get("service", ""))


def _denied(one: Container) -> Iterator[tuple[str, Any]]:
    yield "read_only", one.read_only
    yield "cap_drop", one.cap_drop
    yield "security_opt", one.security_opt
    yield "pids_limit", -1 if one.pids_limit is None else one.pids_limit
    options = {"max-size": str(one.log_max_bytes), "max-file": str(one.log_keep)}
    yield "logging", {"driver": "json-file", "options": options}


def _keys(one: Container, project: Project, why: dict[str, str]) -> Iterator[tuple[str, Any]]:
    yield "image", _plain(one.image)
    if one.build is not None:
        yield "build", _build(one, project)
    if one.pull != "missing":
        yield "pull_policy", one.pull
    yield "container_name", _plain(one.name)
    yield "entrypoint", _plain(one.entrypoint)
    yield "command", _command(one, why)
    yield "environment", [Entry(name, _plain(value)) for name, value in one.env]
    yield "user", _plain(one.user)
    if one.networks:
        yield "networks", _networks(one)
    else:
        yield "network_mode", "none"
    yield "ports", [_port(port) for port in one.ports]
    yield "volumes", [Item(_mount(mount, project), why.get(mount.target, "")) for mount in one.mounts]
    yield "tmpfs", tuple(f"{path}:{options}" for path, options in one.tmpfs)
    yield "shm_size", None if one.shm_bytes is None else _size(one.shm_bytes)
    yield "deploy", _deploy(one, why)
    yield "devices", one.devices.ids if one.devices is not None and one.devices.driver == "cdi" else None
    yield "depends_on", [Entry(need.service, {"condition": need.condition}) for need in one.needs]
    yield "healthcheck", _healthcheck(one, why)
    yield "restart", _plain(one.restart)
    yield "stop_signal", one.stop_signal
    yield "stop_grace_period", _time(one.stop_grace_s)
    yield "init", one.init or None
    yield "cap_add", one.cap_add
    yield "sysctls", _plain(dict(one.sysctls)) or None
    yield "ulimits", {limit.name: {"soft": limit.soft, "hard": limit.hard} for limit in one.limits} or None
    yield "mem_limit", None if one.memory_bytes is None else _size(one.memory_bytes)
    yield "cpus", one.cpus
    labels = (*one.labels, (SPEC_LABEL, spec_hash(one)))
    yield "labels", [Entry(name, _plain(value)) for name, value in labels]


def _command(one: Container, why: dict[str, str]) -> Any:
    words = _plain(one.command)
    if len(" ".join(words)) <= _ONE_LINE and not any(word in why for word in words):
        return words
    return Rows(tuple(_rows(words, dict(why))))


def _rows(words: tuple[str, ...], why: dict[str, str]) -> Iterator[Row]:
    """A flag and its value a line; what follows `--` is a command of its own and keeps its head together."""
    row: list[str] = []
    for word in words:
        head = bool(row) and row[0] == "--"
        full = bool(row) and not head and (len(row) == 2 or not row[0].startswith("-"))
        if row and (word.startswith("--") or full):
            yield Row(tuple(row), why.pop(row[0], ""))
            row = []
        row.append(word)
    if row:
        yield Row(tuple(row), why.pop(row[0], ""))


def _build(one: Container, project: Project) -> Any:
    if one.build is None:
        return None
    context = _plain(_path(one.build.context, project))
    return (
        {"context": context, "args": _plain(dict(one.build.args))} if one.build.args else {"context": context}
    )


def _networks(one: Container) -> Any:
    if not any(attached.aliases for attached in one.networks):
        return tuple(attached.network for attached in one.networks)
    return [
        Entry(attached.network, {"aliases": attached.aliases} if attached.aliases else {})
        for attached in one.networks
    ]


def _port(port: Port) -> dict[str, Any]:
    found = {"target": port.target, "published": str(port.published), "host_ip": port.host_ip}
    return found if port.protocol == "tcp" else found | {"protocol": port.protocol}


def _mount(mount: Mount, project: Project) -> dict[str, Any]:
    source = mount.source if mount.kind == "volume" else _path(mount.source, project)
    found = {"type": mount.kind, "source": _plain(source), "target": _plain(mount.target)}
    if mount.read_only:
        found["read_only"] = True
    if mount.kind == "bind":
        found["bind"] = {"create_host_path": False}
    return found


def _path(path: str, project: Project) -> str:
    """Relative where it lies in the project's folder or beside it, so that the whole can be moved."""
    folder = PurePosixPath(project.folder)
    for base, start in ((folder, "."), (folder.parent, "..")):
        if base != PurePosixPath("/") and PurePosixPath(path).is_relative_to(base):
            below = PurePosixPath(path).relative_to(base)
            return f"{start}/{below}" if below.parts else start
    return path


def _deploy(one: Container, why: dict[str, str]) -> list[Entry]:
    found = []
    if one.count > 1:
        found.append(Entry("replicas", one.count))
    if one.devices is not None and one.devices.driver == "nvidia":
        reserved = [_reserved(one.devices, why.get("device_ids", ""))]
        found.append(Entry("resources", [Entry("reservations", reserved)]))
    return found


def _reserved(devices: Devices, why: str) -> Entry:
    one = {"driver": devices.driver, "device_ids": devices.ids, "capabilities": devices.capabilities}
    return Entry("devices", [one], why)


def _healthcheck(one: Container, why: dict[str, str]) -> list[Entry]:
    check = one.healthcheck
    if check is None:
        return []
    return [
        Entry("test", _plain(check.test)),
        Entry("interval", _time(check.interval_s)),
        Entry("timeout", _time(check.timeout_s)),
        Entry("retries", check.retries),
        Entry("start_period", _time(check.start_period_s), why.get("start_period", "")),
    ]


def _network(network: Network, project: Project) -> Entry:
    if network.external:
        return Entry(
            network.key,
            {"name": _plain(network.name), "external": True},
            "of the platform itself: start that first",
        )
    found: dict[str, Any] = {}
    if network.name != f"{project.name}_{network.key}":
        found["name"] = _plain(network.name)
    if network.internal:
        found["internal"] = True
    if network.subnet is not None:
        found["ipam"] = {"config": ({"subnet": network.subnet},)}
    return Entry(network.key, found, "no way out" if network.internal else "")


def _volume(volume: Volume, project: Project) -> dict[str, Any]:
    named = {} if volume.name == f"{project.name}_{volume.key}" else {"name": _plain(volume.name)}
    return named | {"external": True} if volume.external else named


def _plain(value: Any) -> Any:
    """Compose would replace $NAME: a dollar is written twice."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return {key: _plain(item) for key, item in value.items()}


def _time(seconds: float) -> str:
    return f"{seconds:g}s"


def _size(count: int) -> str:
    unit, size = next((unit, size) for unit, size in _UNITS if count % size == 0)
    return f"{count // size}{unit}"
