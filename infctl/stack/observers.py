"""The monitoring's Compose project: Prometheus, Grafana, the GPUs' exporter. Pure.

A project of its own, so that the platform runs without it. It joins the platform's backend network.
"""

from __future__ import annotations

from collections.abc import Iterator

from infctl.profile.schema import Profile
from infctl.stack.containers import (
    Attachment,
    Container,
    Devices,
    Healthcheck,
    Mount,
    Needs,
    Network,
    Port,
    Project,
    Volume,
)
from infctl.stack.front import preparing
from infctl.stack.names import PREPARE
from infctl.stack.shared import Shared

FILE = "docker-compose.monitoring.yml"
PROMETHEUS, GRAFANA, DCGM = "prometheus", "grafana", "dcgm-exporter"
ALERTMANAGER = "alertmanager"
WEBHOOK_AT = "/run/infctl/alertmanager/webhook"
COUNTERS_AT = "/etc/infctl/dcgm"
NETWORK = "monitoring"
_KEYS = "grafana-keys"
_KEYS_AT = "/run/infctl/grafana"
_FIGURES = "prometheus-data"
_FIGURES_AT = "/prometheus"
_BOARDS = "grafana-data"
_BOARDS_AT = "/var/lib/grafana"
_NOTES = "alertmanager-data"
_NOTES_AT = "/alertmanager"
_HOOK = "alertmanager-keys"


def observers(shared: Shared, main: Project) -> Project | None:
    """None: the profile wants none of it."""
    found = tuple(_containers(shared))
    if not found:
        return None
    name = f"{shared.profile.name}-monitoring"
    backend = main.network(shared.profile.networks.backend)
    keys = dict.fromkeys(m.source for one in found for m in one.mounts if m.kind == "volume")
    return Project(
        name=name,
        file=FILE,
        folder=main.folder,
        containers=found,
        networks=(
            Network(NETWORK, f"{name}_{NETWORK}"),
            Network(backend.key, backend.name, external=True),
        ),
        volumes=tuple(Volume(key, f"{name}_{key}") for key in keys),
    )


def _containers(shared: Shared) -> Iterator[Container]:
    monitoring = shared.profile.monitoring
    if not monitoring.enabled:
        return
    if monitoring.prometheus.enabled or monitoring.grafana.enabled:
        yield _prepare(shared)
    if monitoring.dcgm.enabled and shared.plan.gpus:
        yield _dcgm(shared)
    if monitoring.prometheus.enabled:
        yield _prometheus(shared)
    if notified(shared.profile):
        yield _alertmanager(shared)
    if monitoring.grafana.enabled:
        yield _grafana(shared)


def notified(profile: Profile) -> bool:
    """Alerts are computed, and there is somebody to hand them to."""
    monitoring = profile.monitoring
    prometheus = monitoring.enabled and monitoring.prometheus.enabled
    return prometheus and monitoring.alerts.enabled and monitoring.alertmanager.enabled


def _prepare(shared: Shared) -> Container:
    monitoring = shared.profile.monitoring
    files: dict[str, str] = {}
    defaults: dict[str, str] = {}
    volumes = {}
    if monitoring.prometheus.enabled:
        volumes[_FIGURES] = _FIGURES_AT
    if monitoring.grafana.enabled:
        files[monitoring.grafana.admin_password.name] = f"{_KEYS_AT}/admin-password"
        defaults[monitoring.grafana.admin_password.name] = "admin"
        volumes |= {_KEYS: _KEYS_AT, _BOARDS: _BOARDS_AT}
    if notified(shared.profile):
        volumes[_NOTES] = _NOTES_AT
        if monitoring.alerts.webhook is not None:
            files[monitoring.alerts.webhook.name] = WEBHOOK_AT
            volumes[_HOOK] = WEBHOOK_AT.rpartition("/")[0]
    mounts = [Mount("volume", name, folder, read_only=False) for name, folder in volumes.items()]
    owned = [folder for name, folder in volumes.items() if name not in {_KEYS, _HOOK}]
    return preparing(shared, files, owned, mounts, defaults=defaults)


def _dcgm(shared: Shared) -> Container:
    dcgm = shared.profile.monitoring.dcgm
    ids = tuple(gpu.uuid or str(gpu.index) for gpu in shared.plan.gpus)
    cdi = shared.profile.engines.gpu_driver == "cdi"
    return shared.container(
        DCGM,
        "monitoring",
        dcgm.image,
        name=DCGM,
        pull=shared.profile.engines.pull,
        env=(
            ("DCGM_EXPORTER_LISTEN", f":{dcgm.port}"),
            ("DCGM_EXPORTER_COLLECTORS", f"{COUNTERS_AT}/counters.csv"),
        ),
        mounts=(shared.rendered("dcgm", COUNTERS_AT),),
        networks=(Attachment(NETWORK),),
        devices=Devices("cdi", tuple(f"nvidia.com/gpu={one}" for one in ids))
        if cdi
        else Devices("nvidia", ids),
        read_only=False,
        reasons=(
            ("service", "the GPUs' own figures; counters of the profiling module would need SYS_ADMIN"),
            ("read_only", "the exporter's host engine writes its own logs"),
        ),
    )


def _prometheus(shared: Shared) -> Container:
    wanted = shared.profile.monitoring.prometheus
    command = [
        "--config.file=/etc/prometheus/prometheus.yml",
        f"--storage.tsdb.path={_FIGURES_AT}",
        f"--storage.tsdb.retention.time={max(1, round(wanted.retention))}s",
    ]
    if wanted.retention_size is not None:
        command.append(f"--storage.tsdb.retention.size={wanted.retention_size}B")
    return shared.container(
        PROMETHEUS,
        "monitoring",
        wanted.image,
        name=PROMETHEUS,
        pull=shared.profile.engines.pull,
        command=tuple(command),
        user=shared.user,
        networks=(Attachment(NETWORK), Attachment(shared.profile.networks.backend)),
        mounts=(
            shared.rendered("prometheus", "/etc/prometheus"),
            Mount("volume", _FIGURES, _FIGURES_AT, read_only=False),
        ),
        ports=(Port(wanted.port, 9090, wanted.bind),),
        healthcheck=Healthcheck(
            ("CMD", "promtool", "query", "instant", "http://127.0.0.1:9090", "vector(1)"),
            10.0,
            start_period_s=60.0,
        ),
        needs=(Needs(PREPARE, "service_completed_successfully"),),
        stop_grace_s=60.0,
        reasons=(
            (
                "service",
                "collects and keeps the figures; reload: docker compose -f "
                + FILE
                + " kill -s HUP prometheus",
            ),
            ("user", shared.user_why),
            ("ports", "monitoring.prometheus.bind of the profile; 127.0.0.1 is narrower"),
            ("networks", f"{shared.profile.networks.backend}: where the gateway and the engines are"),
            ("stop_grace_period", "it writes its last block before it ends"),
        ),
    )


def _alertmanager(shared: Shared) -> Container:
    wanted, webhook = shared.profile.monitoring.alertmanager, shared.profile.monitoring.alerts.webhook
    hook = [] if webhook is None else [Mount("volume", _HOOK, WEBHOOK_AT.rpartition("/")[0])]
    return shared.container(
        ALERTMANAGER,
        "monitoring",
        wanted.image,
        name=ALERTMANAGER,
        pull=shared.profile.engines.pull,
        command=(
            "--config.file=/etc/alertmanager/alertmanager.yml",
            f"--storage.path={_NOTES_AT}",
            "--cluster.listen-address=",
        ),
        user=shared.user,
        networks=(Attachment(NETWORK),),
        mounts=(
            shared.rendered("alertmanager", "/etc/alertmanager"),
            Mount("volume", _NOTES, _NOTES_AT, read_only=False),
            *hook,
        ),
        ports=(Port(wanted.port, 9093, wanted.bind),),
        healthcheck=Healthcheck(
            ("CMD", "amtool", "--alertmanager.url=http://127.0.0.1:9093", "config", "show"),
            10.0,
            start_period_s=60.0,
        ),
        needs=(Needs(PREPARE, "service_completed_successfully"),),
        reasons=(
            ("service", "tells people of alerts, grouped, once"),
            ("user", shared.user_why),
            ("command", "no cluster: there is one of it"),
            ("ports", "monitoring.alertmanager.bind of the profile: who reaches it can silence alerts"),
        ),
    )


def _grafana(shared: Shared) -> Container:
    wanted = shared.profile.monitoring.grafana
    env = {
        "GF_SECURITY_ADMIN_USER": wanted.admin_user,
        "GF_SECURITY_ADMIN_PASSWORD__FILE": f"{_KEYS_AT}/admin-password",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_ANALYTICS_FEEDBACK_LINKS_ENABLED": "false",
        "GF_NEWS_NEWS_FEED_ENABLED": "false",
        "GF_SECURITY_DISABLE_GRAVATAR": "true",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        "GF_LOG_MODE": "console",
    }
    return shared.container(
        GRAFANA,
        "monitoring",
        wanted.image,
        name=GRAFANA,
        pull=shared.profile.engines.pull,
        env=tuple(env.items()),
        user=shared.user,
        networks=(Attachment(NETWORK),),
        mounts=(
            shared.rendered("grafana/provisioning", "/etc/grafana/provisioning"),
            Mount("volume", _KEYS, _KEYS_AT),
            Mount("volume", _BOARDS, _BOARDS_AT, read_only=False),
        ),
        ports=(Port(wanted.port, 3000, wanted.bind),),
        healthcheck=Healthcheck(
            ("CMD", "curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:3000/api/health"),
            10.0,
            start_period_s=60.0,
        ),
        needs=(
            Needs(PREPARE, "service_completed_successfully"),
            *([Needs(PROMETHEUS, "service_started")] if shared.profile.monitoring.prometheus.enabled else []),
        ),
        reasons=(
            ("service", "shows the figures"),
            ("user", shared.user_why),
            ("ports", "monitoring.grafana.bind of the profile; 127.0.0.1 is narrower"),
            ("environment", "the password comes from a file; nothing is reported to anybody"),
        ),
    )
