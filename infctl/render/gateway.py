"""gateway.yaml: the profile's gateway section and the stack's engines, as the gateway's `Config`. Pure."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from gateway import config
from infctl.plan import Plan, Replica, service_names
from infctl.plan.expected import at_once, loading_s
from infctl.profile.schema import Model, Profile
from infctl.profile.schema.gateway import Limits, Quotas, Tenant, TenantLimits, TenantQuotas
from infctl.render.files import RenderedFile, header
from infctl.stack import Layout, Service, Stack
from infctl.stack.names import CONTAINER_PORT, EDGE_HOST, Names, authority, gateway_secrets, reachable

_TENANT: dict[str, Literal["address", "key", "shared"]] = {
    "client_address": "address",
    "key": "key",
    "shared": "shared",
}
# Docker takes the networks it makes itself from these, unless networks.subnet says otherwise. On them only
# nginx and the host's own loopback port reach the gateway.
_DOCKER_POOLS = ("172.16.0.0/12", "192.168.0.0/16")


def render(stack: Stack, profile: Profile, plan: Plan, layout: Layout) -> RenderedFile:
    lines = header(
        profile.name,
        "The gateway reads it at start and again on SIGHUP; an invalid one is refused whole.",
        "Keys are not in it, only the names of the variables that hold them.",
    )
    comment = "".join(f"# {line}\n" for line in lines)
    path = Names(profile, layout).gateway_file.relative_to(layout.rendered).as_posix()
    text = comment + config.dump(to_config(stack, profile, plan, layout))
    return RenderedFile(path, text, note="read by the gateway")


def _edge(profile: Profile, names: Names) -> str | None:
    """Where the gateway sees the certificate that clients see."""
    if not profile.edge.enabled:
        return None
    host = EDGE_HOST if names.docker else reachable(profile.edge.bind)
    return authority(host, names.https_port)


def to_config(stack: Stack, profile: Profile, plan: Plan, layout: Layout) -> config.Config:
    names = Names(profile, layout)
    replicas = {replica.service: replica for replica in plan.replicas}
    gateway = profile.gateway
    http = gateway.http
    host, port = names.gateway_listen
    proxies = gateway.trusted_proxies
    if names.docker and profile.edge.enabled:  # without it clients come from there themselves
        subnet = profile.networks.subnet
        proxies += tuple(net for net in ((subnet,) if subnet else _DOCKER_POOLS) if net not in proxies)
    return config.Config(
        models=tuple(
            config.Model(
                name=name,
                served_name=model.served_name or name,
                tasks=model.task,
                backends=tuple(
                    _backend(service, names, replicas[service.name], _weight(name, model, service.name))
                    for service in stack.services
                    if name in service.models
                ),
                aliases=model.alias,
                max_model_len=model.max_model_len,
            )
            for name, model in profile.models.items()
        ),
        listen=config.Listen(host=host, port=port),
        workers=gateway.workers,
        keys=config.Keys(
            shared_env=names.variable(gateway.keys.shared.name) if gateway.keys.shared else None,
            admin_env=names.variable(gateway.keys.admin.name),
            backend_env=names.variable(gateway.keys.backend.name),
            tenant=_TENANT[gateway.keys.tenant],
        ),
        limits=_limits(gateway.limits, gateway.quotas),
        tenants={name: _tenant(tenant, names) for name, tenant in gateway.tenants.items()},
        store=_store(profile, names),
        env_file=names.env_file,
        secret_files=_secret_files(profile, names) if names.docker else {},
        trusted_proxies=proxies,
        edge=_edge(profile, names),
        metrics_open_to=gateway.metrics_open_to,
        timeouts=config.Timeouts(
            connect_s=gateway.timeouts.connect,
            total_s=gateway.timeouts.total,
            stream_idle_s=gateway.timeouts.stream_idle,
            header_s=gateway.timeouts.header,
            body_idle_s=gateway.timeouts.body_idle,
            keep_alive_s=gateway.timeouts.keep_alive,
            drain_s=gateway.timeouts.drain,
        ),
        http=config.HttpLimits(
            line_bytes=http.line,
            header_bytes=http.header,
            header_count=http.header_count,
            body_bytes=http.body,
            connections=http.connections,
            compression=http.compression,
        ),
        **_policies(profile),
        upstream=config.Upstream(
            connections=gateway.upstream.connections,
            keep_alive=gateway.upstream.keep_alive,
            idle_s=gateway.upstream.idle,
        ),
        probes=config.Probes(
            interval_s=gateway.probes.interval,
            loading_interval_s=gateway.probes.loading_interval,
            timeout_s=gateway.probes.timeout,
            completion_interval_s=gateway.probes.completion_interval,
        ),
        log=config.Log(level=gateway.logging.level, requests=gateway.logging.requests),
        redaction=config.Redaction(enabled=gateway.redaction.enabled, kinds=gateway.redaction.kinds),
        audit=_audit(profile, names),
        tracing=config.Tracing(
            endpoint=profile.monitoring.tracing.endpoint, sample=profile.monitoring.tracing.sample
        ),
    )


def _policies(profile: Profile) -> dict[str, Any]:
    """How the gateway chooses, waits, tries again and keeps answers."""
    gateway = profile.gateway
    breaker, retries, cache = gateway.breaker, gateway.retries, gateway.cache
    balancing, outliers = gateway.balancing, gateway.outliers
    return {
        "breaker": config.Breaker(
            enabled=breaker.enabled,
            failures=breaker.failures,
            recovery_s=breaker.recovery,
            recovery_max_s=breaker.recovery_max,
        ),
        "outliers": config.Outliers(
            enabled=outliers.enabled,
            interval_s=outliers.interval,
            requests=outliers.requests,
            failures=outliers.failures,
            slower=outliers.slower,
            eject_s=outliers.eject,
            eject_max_s=outliers.eject_max,
        ),
        "retries": config.Retries(
            attempts=retries.attempts,
            backoff_s=retries.backoff,
            backoff_max_s=retries.backoff_max,
            budget=retries.budget,
            budget_min=retries.budget_min,
        ),
        "hedging": config.Hedging(
            enabled=gateway.hedging.enabled,
            after_s=gateway.hedging.after,
            percentile=gateway.hedging.percentile,
        ),
        "queue": config.Queue(
            waiting=gateway.queue.waiting,
            timeout_s=gateway.limits.queue_timeout,
            fairness=gateway.queue.fairness,
            timeouts_s={
                name: tenant.limits.queue_timeout
                for name, tenant in gateway.tenants.items()
                if tenant.limits.queue_timeout is not None
            },
            weights={name: tenant.weight for name, tenant in gateway.tenants.items() if tenant.weight != 1},
        ),
        "balancing": config.Balancing(
            policy=balancing.policy,
            prefix_bound=balancing.prefix_bound,
            session_header=balancing.session_header and balancing.session_header.lower(),
        ),
        "cache": config.Cache(
            enabled=cache.enabled,
            ttl_s=cache.ttl,
            entries=cache.entries,
            memory_bytes=cache.memory,
            scope=cache.scope,
        ),
        "cache_salt": gateway.cache_salt,
    }


def _limits(
    limits: Limits | TenantLimits, quotas: Quotas | TenantQuotas, models: tuple[str, ...] | None = None
) -> config.Figures:
    return config.Figures(
        requests_per_second=limits.requests_per_second,
        burst=limits.burst,
        tokens_per_minute=limits.tokens_per_minute,
        in_flight=limits.in_flight,
        requests_per_day=quotas.requests_per_day,
        tokens_per_day=quotas.tokens_per_day,
        requests_per_month=quotas.requests_per_month,
        tokens_per_month=quotas.tokens_per_month,
        models=models,
    )


def _tenant(tenant: Tenant, names: Names) -> config.Tenant:
    return config.Tenant(
        key_envs=tuple(names.variable(key.name) for key in tenant.keys),
        addresses=tenant.addresses,
        limits=_limits(tenant.limits, tenant.quotas, tenant.models),
    )


def _store(profile: Profile, names: Names) -> config.Store:
    if profile.store_kind == "sqlite":
        return config.Store(kind="sqlite", path=names.store)
    # All gateways of a platform are on one machine, and share one journal.
    store = profile.gateway.store
    return config.Store(
        kind="redis",
        path=names.store,
        url_env=names.store_url,
        journals=store.boxes,
        box=store.box or profile.name,
    )


def _audit(profile: Profile, names: Names) -> config.Audit:
    audit = profile.gateway.audit
    if not audit.enabled:
        return config.Audit()
    made = config.Audit(
        folder=names.audit[0],
        anchors=names.audit[1],
        on_failure=audit.on_failure,
        tenant=audit.tenant,
        rotate_bytes=audit.rotate,
        keep_s=audit.keep,
    )
    if audit.hmac_key is None:
        return made
    return msgspec.structs.replace(made, key_env=names.variable(audit.hmac_key.name))


def _secret_files(profile: Profile, names: Names) -> dict[str, str]:
    """A process gets them from us, a container reads them itself."""
    found = {name: names.secret_file(name) for name in gateway_secrets(profile)}
    return {name: file[1] for name, file in found.items() if file is not None}


def _weight(name: str, model: Model, service: str) -> float:
    """A replica's share of its model's calls, beside the others'."""
    return model.weights[service_names(name, model).index(service)] if model.weights else 1.0


def _backend(service: Service, names: Names, replica: Replica, share: float) -> config.Backend:
    model = names.profile.models[replica.model]
    port = service.listen[0][1] if service.listen else CONTAINER_PORT
    host = names.engine(service.name)
    return config.Backend(
        id=f"vllm-{service.name}",
        url=f"http://{host}:{port}",
        concurrency=model.concurrency or at_once(replica, model),
        weight=share,
        loading_s=model.loading or loading_s(replica),
    )
