"""nginx.conf: the same template for a process here and for a container. Pure.

Every value that enters the template passes `_checked`: the schema's patterns say the same, and a path of this
machine has none. What would change the file's meaning is refused with its place in the profile.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from infctl.errors import Problem, ProfileError, Where
from infctl.profile.schema import Profile
from infctl.render.errors_json import error_pages
from infctl.render.files import RenderedFile, header
from infctl.render.templates import fill
from infctl.stack import Layout
from infctl.stack.names import CONTAINER_PORT, EDGE_HEALTH, EDGE_KEPT_S, EDGE_LOOKS_UP_S, Names, authority

_SAFE = re.compile(r'[^\x00-\x1f\x7f"$\\]{1,4096}')
"""Between double quotes, nginx gives a meaning to these only."""

_HSTS = "Strict-Transport-Security"
_LINE_BYTES = (1024, 1024**2)
_HEADER_BUFFERS = (4, 64)

# Swagger UI starts itself with an inline script and inline styles; everything it loads is served from here.
DOCS_CSP = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'"
)

CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)


@dataclass(frozen=True, slots=True)
class _Checker:
    where: Where

    def text(self, value: str, path: str) -> str:
        """`value`, in double quotes."""
        if not _SAFE.fullmatch(value):
            raise self.refused(
                f"{json.dumps(value)} cannot stand in nginx's configuration",
                path,
                'use no ", $, \\ and no control characters',
            )
        return f'"{value}"'

    def refused(self, message: str, path: str, hint: str) -> ProfileError:
        problem = Problem(message, path=path, where=self.where(path), hint=hint)
        return ProfileError("nginx.conf cannot be rendered", problems=[problem])


def render(profile: Profile, layout: Layout, *, http3: bool, where: Where) -> tuple[RenderedFile, ...]:
    """nginx.conf, and in containers upstream.conf, which it includes."""
    names = Names(profile, layout)
    lines = header(
        profile.name,
        "nginx: TLS, redirect, security headers; everything else is the gateway's work.",
        "Reloaded without losing a connection; crossplane or `nginx -t` check it.",
    )
    text = fill("nginx.conf.j2", {"header": lines, **_values(profile, layout, http3, _Checker(where))})
    if not names.docker:
        return (RenderedFile("nginx.conf", text, note="read by nginx"),)
    about = header(
        profile.name, "Where nginx finds the gateway; `infctl up` swaps it while a gateway is replaced."
    )
    servers = "".join(f"# {line}\n" for line in about) + "\n" + upstream(profile, ((*names.gateway, True),))
    return (
        RenderedFile("nginx/nginx.conf", text, note="read by nginx"),
        RenderedFile("nginx/upstream.conf", servers, note="read by nginx"),
    )


def upstream(profile: Profile, servers: tuple[tuple[str, int, bool], ...]) -> str:
    """The gateways nginx passes requests to: (host, port, whether its name is looked up again and again)."""
    lines = [
        f"server {authority(host, port)}{' resolve' if resolve else ''} max_fails=0;"
        for host, port, resolve in servers
    ]
    # Below the gateway's own: a reused connection is never one being closed.
    idle = _ms(profile.gateway.timeouts.keep_alive * 0.8)
    lines = ["zone gateway 128k;", *lines, "keepalive 128;", f"keepalive_timeout {idle};"]
    return "upstream gateway {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _values(profile: Profile, layout: Layout, http3: bool, check: _Checker) -> dict[str, Any]:
    edge, gateway = profile.edge, profile.gateway
    names = Names(profile, layout)
    if edge.redirect_http and names.http_port == names.https_port:
        raise check.refused(
            f"http and https both ask for port {names.https_port}",
            "edge/http_port",
            "give them different ports",
        )
    bind = "0.0.0.0" if names.docker else edge.bind  # noqa: S104 - inside the container; bind is what is published
    certificate, key = names.tls
    scratch = names.nginx_scratch
    line = _between(gateway.http.line, *_LINE_BYTES)
    public = "" if edge.https_port == 443 else f":{edge.https_port}"
    timeouts = gateway.timeouts
    headers = _headers(profile, check)
    hsts = next((value for name, value in headers if name == _HSTS), '""')
    if names.docker:
        headers = [
            (name, "$strict_transport_security" if name == _HSTS else value) for name, value in headers
        ]
    return {
        "pid": check.text(f"{scratch}/nginx.pid", "name"),
        "scratch": {
            kind: check.text(f"{scratch}/nginx-{kind}", "name")
            for kind in ("body", "proxy", "fastcgi", "uwsgi", "scgi")
        },
        "worker_connections": edge.worker_connections,
        "access_log": edge.access_log,
        "upstream": "" if names.docker else _indented(upstream(profile, ((*names.gateway, False),))),
        "plain_listen": authority(bind, CONTAINER_PORT) if names.docker else "",
        "https_listen": authority(bind, names.https_port),
        "http_listen": authority(bind, names.http_port) if edge.redirect_http else "",
        "redirect_to": f"https://$host{public}$request_uri",
        "server_names": " ".join(check.text(name, "edge/server_name") for name in edge.server_name),
        "http2": edge.http2,
        "http3": http3,
        "quic_port": edge.https_port,
        "certificate": check.text(certificate, "edge/tls/certificate"),
        "key": check.text(key, "edge/tls/key"),
        "protocols": " ".join(sorted(set(edge.tls.protocols))),
        "ciphers": CIPHERS,
        "csp": check.text(edge.headers.content_security_policy, "edge/headers/content_security_policy"),
        "docs_csp": check.text(DOCS_CSP, "edge/headers"),
        "hsts": hsts,
        "headers": headers,
        "gzip": edge.gzip,
        "body_bytes": edge.body_size,
        "line_bytes": line,
        "header_buffers": _between(math.ceil(gateway.http.header / line), *_HEADER_BUFFERS),
        "header_timeout": _ms(timeouts.header),
        "body_timeout": _ms(timeouts.body_idle),
        "keep_alive": _ms(timeouts.keep_alive),
        "kept": _ms(EDGE_KEPT_S),
        "looks_up": _ms(EDGE_LOOKS_UP_S),
        "send_timeout": _ms(timeouts.stream_idle),
        # Longer than the gateway's own, so that the gateway is the one who answers 504, with its reason.
        "read_timeout": _ms(timeouts.total + 30),
        "proxy_send_timeout": _ms(timeouts.body_idle + 30),
        "connect_timeout": _ms(min(timeouts.connect, 75)),
        "drain": _ms(timeouts.drain),
        "edge_health": EDGE_HEALTH,
        "error_pages": error_pages(),
    }


def _headers(profile: Profile, check: _Checker) -> list[tuple[str, str]]:
    """(name, quoted value), in a fixed order; the profile's own ones replace ours of the same name."""
    wanted = profile.edge.headers
    found = {}
    if wanted.hsts.enabled:
        parts = [f"max-age={int(wanted.hsts.max_age)}"]
        parts += ["includeSubDomains"] * wanted.hsts.include_subdomains + ["preload"] * wanted.hsts.preload
        found[_HSTS] = "; ".join(parts)
    found["X-Frame-Options"] = wanted.frame_options
    if wanted.content_type_options:
        found["X-Content-Type-Options"] = "nosniff"
    found["Referrer-Policy"] = wanted.referrer_policy
    found["Permissions-Policy"] = wanted.permissions_policy
    extra = {name.lower() for name in wanted.extra}
    found = {name: value for name, value in found.items() if name.lower() not in extra}
    return [
        (name, check.text(value, f"edge/headers/extra/{name}"))
        for name, value in (*found.items(), *wanted.extra.items())
    ]


def _between(value: int, low: int, high: int) -> int:
    """Nginx takes its buffers from these; the gateway enforces the profile's exact figure."""
    return max(low, min(value, high))


def _ms(seconds: float) -> str:
    """Nginx's own writing: whole seconds, else milliseconds, at least one."""
    return f"{int(seconds)}s" if seconds == int(seconds) else f"{max(1, round(seconds * 1000))}ms"
