"""The profile's schema: frozen, unknown keys refused. One file a section; `Profile` is the whole."""

from infctl.profile.schema.base import Secret, SecretRef, Section
from infctl.profile.schema.edge import Edge, Headers, Hsts, Tls
from infctl.profile.schema.gateway import Gateway, Keys, Limits, Quotas, Tenant
from infctl.profile.schema.models import Engines, GpuDevice, Gpus, Model, Placement, Source
from infctl.profile.schema.monitoring import Alerts, Dcgm, Grafana, Monitoring, Prometheus, Slo
from infctl.profile.schema.platform import Hardening, Logs, Networks, Profile, SecretSource

__all__ = [
    "Alerts",
    "Dcgm",
    "Edge",
    "Engines",
    "Gateway",
    "GpuDevice",
    "Gpus",
    "Grafana",
    "Hardening",
    "Headers",
    "Hsts",
    "Keys",
    "Limits",
    "Logs",
    "Model",
    "Monitoring",
    "Networks",
    "Placement",
    "Profile",
    "Prometheus",
    "Quotas",
    "Secret",
    "SecretRef",
    "SecretSource",
    "Section",
    "Slo",
    "Source",
    "Tenant",
    "Tls",
]
