"""Ports, TLS, keys, tenants, the store: where parts of the platform meet each other and the world."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import PurePosixPath

from infctl.profile.check.finding import Finding
from infctl.profile.check.names import services
from infctl.profile.mistakes import nearest
from infctl.profile.schema import Profile, SecretRef


def check(profile: Profile) -> Iterator[Finding]:
    yield from _ports(profile)
    yield from _tls(profile)
    yield from _keys(profile)
    yield from _tenants(profile)
    yield from _audit(profile)
    yield from _gateway(profile)
    yield from _secrets(profile)


def warn(profile: Profile) -> Iterator[Finding]:
    if profile.gateway.upstream.idle >= 5:
        message = "vLLM closes idle connections after 5s: a request may meet one that is closing"
        yield Finding("gateway/upstream/idle", message, "less than 5s")
    body, passed = profile.gateway.http.body, profile.edge.body_size
    if profile.edge.enabled and passed < body and "body_size" in profile.edge.model_fields_set:
        yield Finding(
            "edge/body_size",
            "nginx refuses bodies that the gateway would take",
            "as large as gateway/http/body",
        )

    yield from _tracing(profile)
    keys = profile.gateway.keys
    for name, tenant in profile.gateway.tenants.items():
        if tenant.addresses and keys.tenant != "client_address":
            message = f"nobody looks at them: gateway/keys/tenant is {keys.tenant}"
            yield Finding(f"gateway/tenants/{name}/addresses", message, "tenant: client_address, or none")
    if profile.gateway.tenants and keys.tenant == "shared":
        message = "all callers are one tenant: nobody's own limits hold"
        yield Finding("gateway/keys/tenant", message, "tenant: client_address, or key")


def _tracing(profile: Profile) -> Iterator[Finding]:
    tracing, path = profile.monitoring.tracing, "monitoring/tracing/engines"
    if not tracing.engines:
        return
    if tracing.endpoint is None:
        yield Finding(path, "engines are told of no collector: there is no endpoint", "write endpoint")
    elif profile.runtime == "process" and profile.gpus.kind == "cpu":
        message = "the local stack has not what vLLM sends spans with: no engine starts"
        yield Finding(path, message, "engines: false; the gateway's own spans are sent all the same")


def _ports(profile: Profile) -> Iterator[Finding]:
    taken: list[tuple[str, int, str]] = []
    for path, host, port in _listeners(profile):
        other = next((p for h, n, p in taken if n == port and _same(h, host)), None)
        if other is not None:
            yield Finding(path, f"port {port} is already taken by {other}", "another port")
        elif port > 65_535:
            yield Finding(path, f"the engines' ports end at {port}, 65535 is the last", "a lower port_base")
            return
        taken.append((host, port, path))


def _listeners(profile: Profile) -> Iterator[tuple[str, str, int]]:
    yield "gateway/listen/port", profile.gateway.listen.host, profile.gateway.listen.port
    edge = profile.edge
    if edge.enabled:
        yield "edge/https_port", edge.bind, edge.https_port
        if edge.redirect_http:
            yield "edge/http_port", edge.bind, edge.http_port
    monitoring = profile.monitoring
    if monitoring.enabled and profile.runtime == "docker":
        for name in ("prometheus", "grafana"):
            part = getattr(monitoring, name)
            if part.enabled:
                yield f"monitoring/{name}/port", part.bind, part.port
    if profile.runtime == "process":
        engines = sum(len(services(name, model)) for name, model in profile.models.items())
        for number in range(engines):
            yield "engines/port_base", profile.engines.host, profile.engines.port_base + number


def _same(one: str, other: str) -> bool:
    return one == other or "0.0.0.0" in {one, other} or "::" in {one, other}  # noqa: S104 - compared, not bound


def _tls(profile: Profile) -> Iterator[Finding]:
    tls = profile.edge.tls
    if tls.certificate and not tls.key:
        yield Finding(
            "edge/tls/certificate", "a certificate without its key", "name both, certificate and key"
        )
    elif tls.key and not tls.certificate:
        yield Finding("edge/tls/key", "a key without its certificate", "name both, certificate and key")
    elif tls.self_signed and tls.certificate:
        yield Finding("edge/tls/self_signed", "a certificate is named too", "keep one of the two")
    elif tls.self_signed is False and not tls.certificate and profile.edge.enabled:
        yield Finding(
            "edge/tls/self_signed",
            "no certificate is named",
            "name certificate and key, or self_signed: true",
        )
    if profile.edge.http3 and "TLSv1.3" not in tls.protocols:
        yield Finding("edge/http3", "HTTP/3 needs TLSv1.3", "add TLSv1.3 to edge/tls/protocols")


def _keys(profile: Profile) -> Iterator[Finding]:
    keys = profile.gateway.keys
    if keys.shared is None and not any(t.keys for t in profile.gateway.tenants.values()):
        doors = [profile.gateway.listen.host] + ([profile.edge.bind] if profile.edge.enabled else [])
        if not all(_loopback(door) for door in doors):
            message = "no key is asked for, and the platform can be reached from other machines"
            hint = "a key, or gateway/listen/host and edge/bind: 127.0.0.1"
            yield Finding("gateway/keys/shared", message, hint)
    elif keys.shared is None and "admin" not in keys.model_fields_set:
        yield Finding(
            "gateway/keys/shared", "without it nobody has a key for /admin", 'admin: "${ADMIN_API_KEY}"'
        )


def _audit(profile: Profile) -> Iterator[Finding]:
    audit = profile.gateway.audit
    if audit.enabled and audit.tenant == "hashed" and audit.hmac_key is None:
        message = "tenants are hashed with a key, and none is named"
        yield Finding("gateway/audit/tenant", message, 'gateway/audit/hmac_key: "${AUDIT_HMAC_KEY}"')


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tenants(profile: Profile) -> Iterator[Finding]:
    keys = profile.gateway.keys
    owner: dict[str, str] = {
        ref.name: f"gateway/keys/{field}"
        for field in ("shared", "admin", "backend")
        if isinstance(ref := getattr(keys, field), SecretRef)
    }
    networks: dict[str, str] = {}
    for name, tenant in profile.gateway.tenants.items():
        path = f"gateway/tenants/{name}"
        for number, ref in enumerate(tenant.keys):
            if ref.name in owner:
                message = f"{ref.name} is already the key of {owner[ref.name]}"
                yield Finding(f"{path}/keys/{number}", message, "a variable of its own")
            owner.setdefault(ref.name, path)
        for number, network in enumerate(tenant.addresses):
            other = networks.setdefault(network, name)
            if other != name:
                message = f"{network} is already {other}'s"
                yield Finding(f"{path}/addresses/{number}", message, "each network one tenant's")
        for number, model in enumerate(tenant.models or ()):
            if model not in profile.models:
                near = nearest(model, list(profile.models))
                hint = f'did you mean "{near}"?' if near else "one of: " + ", ".join(profile.models)
                yield Finding(f"{path}/models/{number}", f'there is no model "{model}"', hint)


def _gateway(profile: Profile) -> Iterator[Finding]:
    gateway = profile.gateway
    yield from _store(profile)
    for low, high in (
        ("retries/backoff", "retries/backoff_max"),
        ("breaker/recovery", "breaker/recovery_max"),
        ("timeouts/stream_idle", "timeouts/total"),
        ("upstream/keep_alive", "upstream/connections"),
    ):
        section, field = low.split("/")
        limit = high.split("/")[1]
        part = getattr(gateway, section)
        if getattr(part, field) > getattr(part, limit):
            yield Finding(f"gateway/{low}", f"more than gateway/{high}", f"lower it, or raise {limit}")


def _store(profile: Profile) -> Iterator[Finding]:
    gateway, store = profile.gateway, profile.gateway.store
    docker = profile.runtime == "docker"
    if store.kind == "sqlite" and gateway.replicas > 1 and docker:
        message = f"{gateway.replicas} gateways cannot count together in SQLite: each would grant the whole"
        hint = "leave kind out (a Redis is rendered), or gateway/replicas: 1; workers share SQLite"
        yield Finding("gateway/store/kind", message, hint)
    if store.kind == "sqlite" and store.url is not None:
        yield Finding("gateway/store/url", "SQLite has no url", "kind: redis, or leave it out")
    if store.boxes > 1 and store.url is None:
        message = f"{store.boxes} boxes cannot count together without a Redis that all of them reach"
        yield Finding("gateway/store/boxes", message, 'gateway/store/url: "${REDIS_URL}", or boxes: 1')
    elif store.boxes > 1 and store.box is None:
        message = "which of them this one is has to be told apart for good"
        yield Finding("gateway/store/boxes", message, "gateway/store/box: a name of its own on each")
    elif profile.renders_redis and not docker:
        hint = 'gateway/store/url: "${REDIS_URL}" of one that runs, or kind: sqlite'
        yield Finding("gateway/store/kind", "no Redis is started: runtime is process", hint)
    path = PurePosixPath(store.path)
    if ".." in path.parts or (docker and path.is_absolute()):
        message = f"{store.path} is not in the folder of what the gateway keeps"
        yield Finding("gateway/store/path", message, "a relative path without .., such as gateway.db")


def _secrets(profile: Profile) -> Iterator[Finding]:
    for name, source in profile.secrets.items():
        named = [field for field in ("env", "file") if getattr(source, field) is not None]
        if source.generate:
            named.append("generate")
        if len(named) > 1:
            yield Finding(
                f"secrets/{name}", f"{' and '.join(named)} are written", "one of env, file, generate"
            )
