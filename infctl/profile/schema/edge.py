"""`edge`: nginx in front. Every string here ends in an nginx file, so every one has a narrow pattern."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from infctl.profile.schema.base import (
    Address,
    FilePath,
    Flag,
    HeaderName,
    HeaderValue,
    Image,
    OneOrMany,
    Port,
    Retention,
    Section,
    ServerName,
    Size,
    defaults,
)

Protocol = Literal["TLSv1.2", "TLSv1.3"]
ReferrerPolicy = Literal[
    "no-referrer",
    "same-origin",
    "origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
]


class Tls(Section):
    """A certificate with its key, or a self-signed one that infctl makes."""

    certificate: FilePath | None = None
    """PEM, the whole chain; relative to the first profile's folder."""
    key: FilePath | None = None
    """PEM, its private key."""
    self_signed: Flag | None = None
    """Left out: true where no certificate is named."""
    protocols: Annotated[tuple[Literal["TLSv1.2", "TLSv1.3"], ...], Field(min_length=1), OneOrMany()] = (
        "TLSv1.2",
        "TLSv1.3",
    )
    """Versions of TLS."""

    @property
    def makes_certificate(self) -> bool:
        """Infctl makes a self-signed certificate, because none is named."""
        return self.certificate is None


class Hsts(Section):
    """Strict-Transport-Security: browsers keep to https for this host."""

    enabled: Flag = True
    """Sent, or not."""
    max_age: Retention = 365 * 86_400.0
    """How long browsers remember it."""
    include_subdomains: Flag = True
    """For all names below this host's too."""
    preload: Flag = False
    """Consent to the lists that browsers carry; hard to take back."""


class Headers(Section):
    """Added to every answer."""

    hsts: Hsts = defaults(Hsts)
    """Strict-Transport-Security."""
    content_security_policy: HeaderValue = "default-src 'none'; frame-ancestors 'none'"
    """/docs has its own."""
    frame_options: Literal["DENY", "SAMEORIGIN"] = "DENY"
    """X-Frame-Options."""
    content_type_options: Flag = True
    """X-Content-Type-Options: nosniff."""
    referrer_policy: ReferrerPolicy = "no-referrer"
    """Referrer-Policy."""
    permissions_policy: HeaderValue = "camera=(), geolocation=(), microphone=()"
    """Permissions-Policy."""
    extra: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Further headers."""


class Edge(Section):
    enabled: Flag = True
    """Off: clients reach the gateway directly, without TLS."""
    image: Image = "nginx:1.31"
    """docker: nginx's image."""
    bind: Address = "0.0.0.0"  # noqa: S104 - the platform's front door; a profile may narrow it
    """The address both ports are opened on."""
    https_port: Port = 443
    """TLS, for clients."""
    http_port: Port = 80
    """Without TLS, for the redirect alone."""
    redirect_http: Flag = True
    """http answers with a redirect to https; otherwise the http port stays closed."""
    server_name: Annotated[tuple[ServerName, ...], Field(min_length=1), OneOrMany()] = ("_",)
    """Host names, also those of a self-signed certificate."""
    tls: Tls = defaults(Tls)
    """The certificate."""
    headers: Headers = defaults(Headers)
    """Security headers."""
    http2: Flag = True
    """HTTP/2 on the https port."""
    http3: Flag = False
    """QUIC, on the https port's UDP side; needs an nginx built with it."""
    body_size: Annotated[Size, Field(ge=1)] = 8 * 2**20
    """The largest request body."""
    gzip: Flag = True
    """Compress answers; streams never."""
    worker_connections: Annotated[int, Field(ge=64, le=1_000_000, strict=True)] = 8192
    """Connections of one nginx worker, both sides counted."""
    access_log: Flag = True
    """One line a request, written by nginx too."""


__all__ = ["Edge", "Headers", "Hsts", "Tls"]
