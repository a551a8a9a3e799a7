"""What matters of a container, in one shape: as it is asked for, and as `docker inspect` tells it. Pure.

    wanted(payload, image)   the create payload, over what the image itself brings
    found(inspect)           a container as it is
    differences(before, after)   in the owner's words: `--max-model-len 8192 -> 16384`

Where the engine fills in a default, both sides say the default; what the engine adds on its own (a
container's id among its aliases, a daemon's default limits) makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from infctl.engine.reconcile import argv_changes, env_changes

SHM_DEFAULT = 64 * 2**20
STOP_DEFAULT = "SIGTERM"
NS = 1_000_000_000
CONTEXT_LABEL = "io.infctl.context"
"""On images that infctl builds: which files they were built from."""
_UNITS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30}
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Fields:
    image: str = ""
    """As it is asked for."""
    argv: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    gpus: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    """`source:target:ro`."""
    ports: tuple[str, ...] = ()
    """`127.0.0.1:8000->8000/tcp`."""
    networks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(name, aliases)."""
    user: str = ""
    memory: int = 0
    cpus: int = 0
    """Billionths of one."""
    cpu_set: str = ""
    pids: int = 0
    shm: int = SHM_DEFAULT
    read_only: bool = False
    init: bool = False
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    sysctls: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()
    restart: str = "no"
    stop_signal: str = STOP_DEFAULT
    stop_timeout: int = 10
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Brought:
    """What an image sets itself."""

    id: str
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    healthcheck: Mapping[str, Any] | None = None
    stop_signal: str = ""
    context: str = ""
    """Digest of the files that infctl built it from; empty: somebody else made it."""


def brought(image: Mapping[str, Any]) -> Brought:
    """From `docker image inspect`."""
    config = image.get("Config") or {}
    return Brought(
        id=str(image["Id"]),
        env=_env(config),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        user=str(config.get("User") or ""),
        healthcheck=config.get("Healthcheck"),
        stop_signal=str(config.get("StopSignal") or ""),
        context=str((config.get("Labels") or {}).get(CONTEXT_LABEL, "")),
    )


def wanted(payload: Mapping[str, Any], networks: Mapping[str, Any], image: Brought | None) -> Fields:
    """`networks`: all endpoints, as `payload.endpoints`. `image` None: it is not on the Docker host yet."""
    image = image or Brought("")
    config = dict(payload)
    own = _env(config)
    entrypoint, command = config.get("Entrypoint"), config.get("Cmd")
    config["Cmd"] = command or (() if entrypoint else image.command)
    config["Entrypoint"] = entrypoint or image.entrypoint
    config["Env"] = [f"{name}={value}" for name, value in {**image.env, **own}.items()]
    config["User"] = config.get("User") or image.user
    config["StopSignal"] = config.get("StopSignal") or image.stop_signal
    config["Healthcheck"] = config.get("Healthcheck") or image.healthcheck
    return _fields(config, payload["HostConfig"], networks)


def found(inspect: Mapping[str, Any]) -> Fields:
    networks = (inspect.get("NetworkSettings") or {}).get("Networks") or {}
    return _fields(inspect["Config"], inspect["HostConfig"], networks)


def differences(before: Fields, after: Fields) -> Iterator[str]:
    """What changes from one to the other; nothing where they are alike."""
    if before.image != after.image:
        yield f"image {before.image} -> {after.image}"
    yield from argv_changes(before.argv, after.argv)
    yield from env_changes(dict(before.env), dict(after.env))
    if before.gpus != after.gpus:
        yield f"GPU {_words(before.gpus)} -> {_words(after.gpus)}"
    yield from _list_changes("mount", before.mounts, after.mounts)
    yield from _list_changes("port", before.ports, after.ports)
    yield from network_changes(before, after)
    for name, key, shown in _PLAIN:
        old, new = getattr(before, key), getattr(after, key)
        if old != new:
            yield f"{name} {shown(old)} -> {shown(new)}"
    for name, key in _LISTS:
        yield from _list_changes(name, getattr(before, key), getattr(after, key))
    yield from _held(before, after)


def network_changes(before: Fields, after: Fields) -> Iterator[str]:
    old, new = dict(before.networks), dict(after.networks)
    yield from _list_changes("network", tuple(old), tuple(new))
    for name in old.keys() & new.keys():
        lacking = [alias for alias in new[name] if alias not in old[name]]
        if lacking:
            yield f"name {', '.join(lacking)} in network {name} added"


def same_networks(before: Fields, after: Fields) -> bool:
    return not any(network_changes(before, after))


def _fields(config: Mapping[str, Any], host: Mapping[str, Any], networks: Mapping[str, Any]) -> Fields:
    stop = config.get("StopTimeout")
    return Fields(
        image=str(config.get("Image") or ""),
        argv=(*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())),
        env=tuple(sorted(_env(config).items())),
        gpus=tuple(_gpus(host)),
        mounts=tuple(sorted(_mounts(host))),
        ports=tuple(sorted(_ports(host))),
        networks=tuple(sorted(_networks(networks))),
        user=str(config.get("User") or ""),
        memory=int(host.get("Memory") or 0),
        cpus=int(host.get("NanoCpus") or 0) or _quota(host),
        cpu_set=str(host.get("CpusetCpus") or ""),
        pids=max(0, int(host.get("PidsLimit") or 0)),
        shm=int(host.get("ShmSize") or SHM_DEFAULT),
        read_only=bool(host.get("ReadonlyRootfs")),
        init=bool(host.get("Init")),
        privileged=bool(host.get("Privileged")),
        cap_add=_capabilities(host.get("CapAdd")),
        cap_drop=_capabilities(host.get("CapDrop")),
        security=tuple(sorted(host.get("SecurityOpt") or ())),
        tmpfs=tuple(sorted(f"{path}:{opts}" for path, opts in (host.get("Tmpfs") or {}).items())),
        limits=tuple(sorted(f"{u['Name']}={u['Soft']}:{u['Hard']}" for u in host.get("Ulimits") or ())),
        sysctls=tuple(sorted(f"{name}={value}" for name, value in (host.get("Sysctls") or {}).items())),
        healthcheck=_healthcheck(config.get("Healthcheck")),
        restart=str((host.get("RestartPolicy") or {}).get("Name") or "no"),
        stop_signal=str(config.get("StopSignal") or STOP_DEFAULT),
        stop_timeout=10 if stop is None else int(stop),
        log=_log(host.get("LogConfig") or {}),
    )


def _env(config: Mapping[str, Any]) -> dict[str, str]:
    pairs = (item.partition("=") for item in config.get("Env") or ())
    return {name: value for name, equals, value in pairs if equals}


def _gpus(host: Mapping[str, Any]) -> Iterator[str]:
    for request in host.get("DeviceRequests") or ():
        yield from request.get("DeviceIDs") or (f"any {request.get('Count')}",)


def _mounts(host: Mapping[str, Any]) -> Iterator[str]:
    for bind in host.get("Binds") or ():
        source, target, *options = bind.split(":")
        yield f"{source}:{target}:{'ro' if 'ro' in ','.join(options).split(',') else 'rw'}"
    for mount in host.get("Mounts") or ():
        yield f"{mount['Source']}:{mount['Target']}:{'ro' if mount.get('ReadOnly') else 'rw'}"


def _ports(host: Mapping[str, Any]) -> Iterator[str]:
    for target, bindings in (host.get("PortBindings") or {}).items():
        for one in bindings or ():
            yield f"{one.get('HostIp') or '0.0.0.0'}:{one['HostPort']}->{target}"  # noqa: S104 - its meaning


def _networks(networks: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, endpoint in networks.items():
        if name == "none":
            continue
        yield name, tuple(sorted(set((endpoint or {}).get("Aliases") or ())))


def _quota(host: Mapping[str, Any]) -> int:
    """`docker update --cpu-quota` says the same as --cpus in other words."""
    quota, period = int(host.get("CpuQuota") or 0), int(host.get("CpuPeriod") or 0) or 100_000
    return max(0, quota) * NS // period


def _capabilities(names: Iterable[str] | None) -> tuple[str, ...]:
    return tuple(sorted(name.upper().removeprefix("CAP_") for name in names or ()))


def _healthcheck(check: Mapping[str, Any] | None) -> tuple[str, ...]:
    if not check or not check.get("Test") or check["Test"] == ["NONE"]:
        return ()
    times = (f"{name.lower()} {(check.get(name) or 0) / NS:g} s" for name in ("Interval", "Timeout"))
    more = (
        f"retries {check.get('Retries') or 3}",
        f"start period {(check.get('StartPeriod') or 0) / NS:g} s",
    )
    return (" ".join(check["Test"]), *times, *more)


def _log(log: Mapping[str, Any]) -> tuple[str, ...]:
    options = {key: str(value) for key, value in (log.get("Config") or {}).items()}
    size = options.get("max-size", "").lower()
    if size and size[-1] in _UNITS and size[:-1].isdigit():
        options["max-size"] = str(int(size[:-1]) * _UNITS[size[-1]])
    return (str(log.get("Type") or ""), *(f"{key}={options[key]}" for key in sorted(options)))


def _list_changes(name: str, before: Iterable[str], after: Iterable[str]) -> Iterator[str]:
    old, new = list(before), list(after)
    yield from (f"{name} {item} added" for item in new if item not in old)
    yield from (f"{name} {item} removed" for item in old if item not in new)


def _held(before: Fields, after: Fields) -> Iterator[str]:
    """Limits and sysctls: those wanted. A daemon may add its own."""
    for name, key in (("limit", "limits"), ("sysctl", "sysctls")):
        old = dict(item.split("=", 1) for item in getattr(before, key))
        for item, value in (part.split("=", 1) for part in getattr(after, key)):
            if old.get(item) != value:
                yield f"{name} {item} {old.get(item, 'none')} -> {value}"


def _words(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _size(count: int) -> str:
    if not count:
        return "none"
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.4g} {name}"
    return f"{count} B"


def _cpu(count: int) -> str:
    return f"{count / NS:g}" if count else "none"


def _count(count: int) -> str:
    return str(count) if count else "none"


def _word(value: object) -> str:
    return str(value) or "none"


def _yes(value: object) -> str:
    return "yes" if value else "no"


_PLAIN = (
    ("user", "user", _word),
    ("memory limit", "memory", _size),
    ("CPUs", "cpus", _cpu),
    ("CPU set", "cpu_set", _word),
    ("process limit", "pids", _count),
    ("shared memory", "shm", _size),
    ("read-only root", "read_only", _yes),
    ("init", "init", _yes),
    ("privileged", "privileged", _yes),
    ("restart", "restart", _word),
    ("stop signal", "stop_signal", _word),
    ("stop time-out", "stop_timeout", lambda seconds: f"{seconds} s"),
    ("log", "log", _words),
)
_LISTS = (
    ("capability", "cap_add"),
    ("dropped capability", "cap_drop"),
    ("security option", "security"),
    ("tmpfs", "tmpfs"),
    ("health check", "healthcheck"),
)
