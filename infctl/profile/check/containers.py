"""What Docker cannot do, or would understand otherwise."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from infctl.profile.check.finding import Finding
from infctl.profile.schema import Profile

_MEMORY_LEAST = 6 * 2**20
_CPUS_LEAST = 0.01
_OWN_NETWORKS = ("egress", "monitoring")


def check(profile: Profile) -> Iterator[Finding]:
    if profile.runtime != "docker":
        return
    yield from _published(profile)
    yield from _networks(profile)
    yield from _sizes(profile)


def _published(profile: Profile) -> Iterator[Finding]:
    host = profile.gateway.listen.host
    if host != "localhost" and not _address(host):
        hint = "an address of this machine, such as 127.0.0.1"
        yield Finding("gateway/listen/host", f"Docker publishes on addresses, and {host} is a name", hint)
    replicas = profile.gateway.replicas
    if replicas > 1 and not profile.edge.enabled:
        message = f"{replicas} gateways cannot all be published on port {profile.gateway.listen.port}"
        yield Finding("gateway/replicas", message, "edge: {enabled: true}, which stands in front of them")


def _address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _networks(profile: Profile) -> Iterator[Finding]:
    networks = profile.networks
    if networks.frontend == networks.backend:
        yield Finding("networks/backend", f"{networks.backend} is the frontend's name too", "another name")
    for field in ("frontend", "backend"):
        name = getattr(networks, field)
        if name in _OWN_NETWORKS:
            yield Finding(f"networks/{field}", f"infctl has a network {name} of its own", "another name")
    if networks.subnet is not None:
        subnet = ipaddress.ip_network(networks.subnet)
        if subnet.version != 4 or subnet.num_addresses < 8:
            yield Finding("networks/subnet", f"{subnet} has no room for containers", "such as 172.28.0.0/16")


def _sizes(profile: Profile) -> Iterator[Finding]:
    hard = profile.hardening
    if not profile.logs.max_size:
        yield Finding("logs/max_size", "Docker keeps no logs of 0 bytes", "such as 10MiB")
    if not hard.tmpfs_size:
        yield Finding("hardening/tmpfs_size", "to Docker 0 is no limit", "such as 64MiB")
    if hard.memory is not None and hard.memory < _MEMORY_LEAST:
        yield Finding("hardening/memory", "Docker gives a container 6 MiB at least", "such as 1GiB")
    if hard.cpus is not None and hard.cpus < _CPUS_LEAST:
        yield Finding(
            "hardening/cpus", f"Docker gives a container {_CPUS_LEAST} of a CPU at least", "such as 2"
        )
