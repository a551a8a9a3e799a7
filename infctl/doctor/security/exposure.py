"""Practice 3, restrict access: what answers beyond this machine, to whom, and with which password?"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, ok, warning
from infctl.profile.schema import Profile
from infctl.profile.secrets import secret_values

WIDE = 16
"""Prefix below which a public network counts as everybody (of IPv6: 32)."""


def look(case: Case) -> Iterator[Finding]:
    if case.loaded is None:
        return
    yield from judge(case.profile, secret_values(case.loaded, case.env), case.shell.get("DOCKER_HOST", ""))


def judge(profile: Profile, secrets: Mapping[str, str], docker_host: str) -> Iterator[Finding]:
    """`secrets`: name -> value, of those that are set."""
    found = [
        *_front(profile),
        *_gateway(profile),
        *_engines(profile),
        *_admin(profile, secrets),
        *_metrics(profile),
        *_monitoring(profile, secrets),
        *_docker(docker_host),
    ]
    yield from found
    if not found:
        front = profile.edge if profile.edge.enabled else None
        where = f"{front.bind}:{front.https_port}, with TLS and a key" if front else "this machine alone"
        yield ok(f"reachable at {where}; nothing else is open")


def _front(profile: Profile) -> Iterator[Finding]:
    if not profile.edge.enabled and not _local(profile.gateway.listen.host):
        yield failure(
            "edge.enabled is false, and the gateway listens beyond this machine",
            why="keys, prompts and answers travel in the clear",
            fix="edge: {enabled: true}, or gateway.listen.host: 127.0.0.1",
            path="edge/enabled",
        )


def _gateway(profile: Profile) -> Iterator[Finding]:
    listen, edge = profile.gateway.listen, profile.edge
    if edge.enabled and not _local(listen.host):
        yield failure(
            f"the gateway answers at {listen.host}:{listen.port} beside nginx, without TLS",
            why="whoever reaches the port goes around TLS and nginx's limits",
            fix="gateway.listen.host: 127.0.0.1",
            path="gateway/listen/host",
        )
    if profile.gateway.keys.shared is None and not _closed(profile):
        yield failure(
            "no key is asked for (gateway.keys.shared: none), and other machines reach the platform",
            why="anybody may use the models",
            fix='gateway.keys.shared: "${GATEWAY_API_KEY}"',
            path="gateway/keys/shared",
        )


def _engines(profile: Profile) -> Iterator[Finding]:
    if profile.runtime == "process" and not _local(profile.engines.host):
        yield failure(
            f"the engines listen at {profile.engines.host}, beyond this machine",
            why="whoever reaches them goes around keys, limits and the trail",
            fix="engines.host: 127.0.0.1",
            path="engines/host",
        )
    if profile.runtime == "docker" and not profile.networks.internal:
        yield warning(
            "the engines' network has a way out (networks.internal: false)",
            why="code that comes with a model could send what it sees to anybody",
            fix="networks.internal: true",
            path="networks/internal",
        )
    trusting = [name for name, model in profile.models.items() if model.trust_remote_code]
    if trusting:
        yield warning(
            f"{', '.join(trusting)}: trust_remote_code runs Python that comes with the weights",
            why="it can do what the engine's user can",
            fix="pin what was read: source: {hub: ..., revision: COMMIT}, or a model that needs none",
            path=f"models/{trusting[0]}/trust_remote_code",
        )


def _admin(profile: Profile, secrets: Mapping[str, str]) -> Iterator[Finding]:
    keys = profile.gateway.keys
    if keys.shared is not None and keys.admin.name not in secrets:
        yield warning(
            f"{keys.admin.name} is not set, so every client's key is the admin key as well",
            why="each client may drain engines, change limits and make keys",
            fix=f"set {keys.admin.name} in .env, and give it to nobody who only asks models",
            path="gateway/keys/admin",
        )
    if keys.backend.name not in secrets and profile.runtime == "docker":
        yield warning(
            f"{keys.backend.name} is not set, so the engines ask for no key",
            why="a container on their network may use them without a limit",
            fix=f"set {keys.backend.name} in .env",
            path="gateway/keys/backend",
        )


def _metrics(profile: Profile) -> Iterator[Finding]:
    wide = [text for text in profile.gateway.metrics_open_to if _is_wide(text)]
    if wide:
        yield warning(
            f"/metrics is open to {', '.join(wide)} without a key",
            why="it names tenants and what they use",
            fix="gateway.metrics_open_to: the networks of your monitoring alone",
            path="gateway/metrics_open_to",
        )


def _monitoring(profile: Profile, secrets: Mapping[str, str]) -> Iterator[Finding]:
    monitoring = profile.monitoring
    if not monitoring.enabled or profile.runtime != "docker":
        return
    grafana, prometheus = monitoring.grafana, monitoring.prometheus
    if grafana.enabled:
        value = secrets.get(grafana.admin_password.name, "")
        path = "monitoring/grafana/admin_password"
        if value in {"", "admin"}:
            yield warning(
                f"Grafana's password is admin ({grafana.admin_password.name} is not set)",
                why=f"it answers at {grafana.bind}:{grafana.port}, and everybody knows that password",
                fix=f"set {grafana.admin_password.name} in .env before the first start",
                path=path,
            )
    for name, part in (("prometheus", prometheus), ("grafana", grafana)):
        if part.enabled and not _local(part.bind):
            asks = "has a password, and no TLS" if name == "grafana" else "asks for no key and has no TLS"
            yield warning(
                f"{name} answers at {part.bind}:{part.port}: it {asks}",
                why="whoever reaches the port sees the platform's figures",
                fix=f"monitoring.{name}.bind: 127.0.0.1; from afar ssh -L {part.port}:127.0.0.1:{part.port}",
                path=f"monitoring/{name}/bind",
            )


def _docker(docker_host: str) -> Iterator[Finding]:
    if docker_host.startswith("tcp://") and not docker_host.endswith(":2376"):
        yield failure(
            f"Docker is asked at {docker_host}, without TLS",
            why="whoever reaches that port is root on that machine",
            fix="DOCKER_HOST=ssh://user@host, and close the port",
        )


def _closed(profile: Profile) -> bool:
    doors = [profile.gateway.listen.host] + ([profile.edge.bind] if profile.edge.enabled else [])
    return all(_local(door) for door in doors)


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_wide(text: str) -> bool:
    network = ipaddress.ip_network(text, strict=False)
    if network.prefixlen == 0:
        return True
    least = WIDE if network.version == 4 else 2 * WIDE
    return not network.is_private and not network.is_loopback and network.prefixlen < least
