"""Container -> what the engine is asked to create, as Compose asks for it. Pure.

create()     the body of POST /containers/create, with the first network
further()    the networks it is connected to before it starts
labels()     Compose's own, and ours: so that either side takes the container for its own
"""

from __future__ import annotations

from typing import Any

from infctl.stack.containers import SPEC_LABEL, Container, Devices, Healthcheck, Mount, Project, spec_hash

COMPOSE = "com.docker.compose."
PROJECT = f"{COMPOSE}project"
SERVICE = f"{COMPOSE}service"
NUMBER = f"{COMPOSE}container-number"
CONFIG_HASH = f"{COMPOSE}config-hash"
IMAGE = f"{COMPOSE}image"
NETWORK = f"{COMPOSE}network"
VOLUME = f"{COMPOSE}volume"
VERSION = f"{COMPOSE}version"
COMPOSE_VERSION = "5.6.1"
"""Of the Compose whose labels these are."""
NO_HASH = "infctl-without-compose"
"""In the place of Compose's hash where there is no Compose to ask: it would recreate the container."""
NS = 1_000_000_000


def create(
    project: Project, container: Container, *, image_id: str, config_hash: str = NO_HASH, number: int = 1
) -> dict[str, Any]:
    """`image_id`: of the image as it lies on the Docker host."""
    config: dict[str, Any] = {
        "Image": container.image,
        "Labels": labels(project, container, image_id=image_id, config_hash=config_hash, number=number),
        "AttachStdout": True,
        "AttachStderr": True,
        "Env": [f"{name}={value}" for name, value in container.env],
        "StopTimeout": int(container.stop_grace_s),
        "HostConfig": _host(project, container),
    }
    argv = {"Entrypoint": container.entrypoint, "Cmd": container.command}
    config |= {key: list(value) for key, value in argv.items() if value}
    words = {"User": container.user, "StopSignal": container.stop_signal}
    config |= {key: word for key, word in words.items() if word}
    if container.ports:
        config["ExposedPorts"] = {f"{p.target}/{p.protocol}": {} for p in container.ports}
    if container.healthcheck is not None:
        config["Healthcheck"] = _healthcheck(container.healthcheck)
    first = next(iter(endpoints(project, container, number=number).items()), None)
    if first is not None:
        config["NetworkingConfig"] = {"EndpointsConfig": {first[0]: first[1]}}
    return config


def endpoints(
    project: Project, container: Container, *, name: str = "", number: int = 1
) -> dict[str, dict[str, Any]]:
    """Network's name -> how the container is connected to it. Compose takes them by their keys' order."""
    named = name or container.container_name(project.name, number)
    found = {}
    for attached in sorted(container.networks, key=lambda a: a.network):
        aliases = list(dict.fromkeys((named, container.service, *attached.aliases)))
        found[project.network(attached.network).name] = {"Aliases": aliases}
    return found


def further(project: Project, container: Container, *, number: int = 1) -> dict[str, dict[str, Any]]:
    """All but the first."""
    return dict(list(endpoints(project, container, number=number).items())[1:])


def labels(
    project: Project, container: Container, *, image_id: str, config_hash: str, number: int = 1
) -> dict[str, str]:
    needs = ",".join(f"{need.service}:{need.condition}:false" for need in container.needs)
    return {
        **dict(container.labels),
        SPEC_LABEL: spec_hash(container),
        PROJECT: project.name,
        SERVICE: container.service,
        NUMBER: str(number),
        f"{COMPOSE}oneoff": "False",
        CONFIG_HASH: config_hash,
        IMAGE: image_id,
        f"{COMPOSE}depends_on": needs,
        f"{COMPOSE}project.config_files": f"{project.folder}/{project.file}",
        f"{COMPOSE}project.working_dir": project.folder,
        VERSION: COMPOSE_VERSION,
    }


def _host(project: Project, container: Container) -> dict[str, Any]:
    networks = list(endpoints(project, container))
    host: dict[str, Any] = {
        "NetworkMode": networks[0] if networks else "none",
        "RestartPolicy": {"Name": container.restart, "MaximumRetryCount": 0},
        "ReadonlyRootfs": container.read_only,
        "Privileged": False,
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": str(container.log_max_bytes), "max-file": str(container.log_keep)},
        },
        "Binds": [_volume(project, mount) for mount in container.mounts if mount.kind == "volume"],
        "Mounts": [_bind(mount) for mount in container.mounts if mount.kind == "bind"],
        "Tmpfs": dict(container.tmpfs),
        "PortBindings": _ports(container),
        "CapAdd": [_capability(name) for name in container.cap_add],
        "CapDrop": [_capability(name) for name in container.cap_drop],
        "SecurityOpt": list(container.security_opt),
        "Ulimits": [{"Name": u.name, "Soft": u.soft, "Hard": u.hard} for u in container.limits],
        "Sysctls": dict(container.sysctls),
    }
    if container.init:
        host["Init"] = True
    limits = {
        "PidsLimit": container.pids_limit,
        "ShmSize": container.shm_bytes,
        "Memory": container.memory_bytes,
        "NanoCpus": None if container.cpus is None else round(container.cpus * NS),
    }
    host |= {key: value for key, value in limits.items() if value is not None}
    if container.devices is not None:
        host["DeviceRequests"] = [_devices(container.devices)]
    return host


def _capability(name: str) -> str:
    return name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}"


def _volume(project: Project, mount: Mount) -> str:
    return f"{project.volume(mount.source).name}:{mount.target}:{'ro' if mount.read_only else 'rw'}"


def _bind(mount: Mount) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
        "BindOptions": {},
    }


def _ports(container: Container) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for port in container.ports:
        bound = {"HostIp": port.host_ip, "HostPort": str(port.published)}
        found.setdefault(f"{port.target}/{port.protocol}", []).append(bound)
    return found


def _devices(devices: Devices) -> dict[str, Any]:
    asked: dict[str, Any] = {"Driver": devices.driver, "Count": 0, "DeviceIDs": list(devices.ids)}
    if devices.driver != "cdi":  # there the name says it all
        asked["Capabilities"] = [list(devices.capabilities)]
    return asked


def _healthcheck(check: Healthcheck) -> dict[str, Any]:
    return {
        "Test": list(check.test),
        "Interval": round(check.interval_s * NS),
        "Timeout": round(check.timeout_s * NS),
        "Retries": check.retries,
        "StartPeriod": round(check.start_period_s * NS),
    }
