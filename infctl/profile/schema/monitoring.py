"""`monitoring`: Prometheus, Grafana, the GPU exporter, alerts and what is promised."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from infctl.profile.schema.base import (
    Address,
    Collector,
    Duration,
    Flag,
    Fraction,
    Image,
    Port,
    Retention,
    Secret,
    SecretRef,
    Section,
    Size,
    Word,
    defaults,
)


class Prometheus(Section):
    enabled: Flag = True
    """Started, or not."""
    image: Image = "prom/prometheus:v3.8.0"
    """docker: Prometheus's image."""
    bind: Address = "0.0.0.0"  # noqa: S104 - as the reference platform publishes it; a profile may narrow it
    """The address its port is opened on."""
    port: Port = 9090
    """For people and for Grafana."""
    scrape_interval: Duration = 15.0
    """Between two readings."""
    retention: Retention = 15 * 86_400.0
    """How long figures are kept."""
    retention_size: Size | None = None
    """The oldest data go when the disk use passes this; left out: by time alone."""


class Grafana(Section):
    enabled: Flag = True
    """Started, or not."""
    image: Image = "grafana/grafana:12.3.0"
    """docker: Grafana's image."""
    bind: Address = "0.0.0.0"  # noqa: S104 - as the reference platform publishes it; a profile may narrow it
    """The address its port is opened on."""
    port: Port = 3000
    """For people."""
    admin_user: Word = "admin"
    """The first user."""
    admin_password: Secret = SecretRef("GRAFANA_ADMIN_PASSWORD")
    """Until it is set, the password is admin."""


class Dcgm(Section):
    """GPU metrics."""

    enabled: Flag = True
    """Started, or not; without GPUs it never is."""
    image: Image = "nvcr.io/nvidia/k8s/dcgm-exporter:4.4.2-4.7.0-ubuntu22.04"
    """docker: the exporter's image."""
    port: Port = 9400
    """Inside the platform's network."""


class Alerts(Section):
    enabled: Flag = True
    """Rules are loaded, or not."""
    webhook: Secret | None = None
    """The variable that holds the address alerts are posted to; left out: they are shown alone."""
    certificate_days: Annotated[int, Field(ge=1, le=365, strict=True)] = 21
    """Warn this long before the TLS certificate ends."""


class Alertmanager(Section):
    """Tells people, once and not ten times."""

    enabled: Flag = True
    """Started, or not; without alerts it never is."""
    image: Image = "prom/alertmanager:v0.29.0"
    """docker: Alertmanager's image."""
    bind: Address = "127.0.0.1"
    """The address its port is opened on: who reaches it can silence alerts."""
    port: Port = 9093
    """For people."""


class Slo(Section):
    """What is promised; the alerts and the error budget follow from it."""

    availability: Annotated[Fraction, Field(ge=0.5, lt=1)] = 0.999
    """Share of requests that are not answered with a fault of the platform."""
    ttft_p95: Duration = 2.5
    """Time to the first token, 95th percentile."""
    window: Retention = 30 * 86_400.0
    """Over which both are counted."""


class Tracing(Section):
    """Spans of each call, for OpenTelemetry."""

    endpoint: Collector | None = None
    """Of a collector: OTLP over HTTP; left out: no traces. OTEL_EXPORTER_OTLP_ENDPOINT wins over it."""
    sample: Fraction = 1.0
    """The share of the calls that bring no trace of their own; of the others their own flag decides."""
    engines: Flag = False
    """vLLM sends its spans there as well; its OpenTelemetry packages have to be installed."""


class Monitoring(Section):
    enabled: Flag = True
    """Off: none of the parts below is started; /metrics stays."""
    prometheus: Prometheus = defaults(Prometheus)
    """Collects and keeps the figures."""
    grafana: Grafana = defaults(Grafana)
    """Shows them."""
    dcgm: Dcgm = defaults(Dcgm)
    """The GPUs' own figures."""
    alerts: Alerts = defaults(Alerts)
    """Tells when something is wrong."""
    alertmanager: Alertmanager = defaults(Alertmanager)
    """Passes alerts on."""
    slo: Slo = defaults(Slo)
    """What is promised."""
    tracing: Tracing = defaults(Tracing)
    """Where the way of single calls is told."""


__all__ = ["Alertmanager", "Alerts", "Dcgm", "Grafana", "Monitoring", "Prometheus", "Slo", "Tracing"]
