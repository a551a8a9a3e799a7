"""The text of nginx.conf: what a profile asks for is there, and nothing can smuggle a directive in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infctl.errors import Location, ProfileError
from infctl.profile.schema import Profile
from infctl.render import nginx
from infctl.stack import Layout

LAYOUT = Layout(Path("/srv"), Path("/srv/.infctl/p"))


def text(edge: dict[str, Any], *, layout: Layout = LAYOUT, http3: bool = False, **rest: Any) -> str:
    data = {"name": "p", "runtime": "process", "models": {"chat": {"source": "a/b", "task": "chat"}}}
    profile = Profile.model_validate({**data, **rest, "edge": edge})
    return nginx.render(profile, layout, http3=http3, where=lambda path: Location(path, 1, 1))[0].text


@pytest.mark.parametrize("case", ["local", "l4x4", "one-gpu"])
def test_crossplane_reads_it_strictly(
    case: str, rendered: Callable[[Path], Any], profiles: Path, nginx_errors: Callable[[str], list[str]]
) -> None:
    assert nginx_errors(rendered(profiles / f"{case}.yaml").text("nginx.conf")) == []


def test_crossplane_would_notice_a_misspelt_and_a_misplaced_directive(
    nginx_errors: Callable[[str], list[str]],
) -> None:
    good = text({})
    assert nginx_errors(good) == []
    assert nginx_errors(good.replace("proxy_buffering", "proxy_bufering"))
    assert nginx_errors(good.replace("worker_processes auto;", "proxy_pass http://x;"))


def test_http3_lines_come_only_when_nginx_can() -> None:
    assert "quic" not in text({"http3": True}, http3=False)
    with_quic = text({"http3": True, "https_port": 8443}, http3=True)
    assert "listen 0.0.0.0:8443 quic reuseport default_server;" in with_quic
    assert """Alt-Svc 'h3=":8443"; ma=86400'""" in with_quic


def test_http2_can_be_turned_off(nginx_errors: Callable[[str], list[str]]) -> None:
    assert "http2 on;" in text({})
    assert "http2 off;" in text({"http2": False})
    assert nginx_errors(text({"http2": False})) == []


def test_without_redirect_the_http_port_stays_closed() -> None:
    assert text({}).count("listen ") == 2
    assert text({"redirect_http": False}).count("listen ") == 1


def test_redirect_names_the_port_only_where_it_is_not_443() -> None:
    assert "return 308 https://$host$request_uri;" in text({"https_port": 443})
    assert "return 308 https://$host:8443$request_uri;" in text({"https_port": 8443})


def test_read_timeout_is_longer_than_the_gateways_own() -> None:
    assert "proxy_read_timeout 5430s;" in text({})
    assert "proxy_read_timeout 30500ms;" in text({}, gateway={"timeouts": {"total": "500ms"}})


def test_own_headers_replace_ours_of_the_same_name() -> None:
    own = text({"headers": {"extra": {"x-frame-options": "SAMEORIGIN", "X-Team": "ml"}}})
    assert 'add_header x-frame-options "SAMEORIGIN" always;' in own
    assert 'X-Frame-Options "DENY"' not in own
    assert 'add_header X-Team "ml" always;' in own


def test_hsts_says_what_the_profile_says() -> None:
    assert '"max-age=86400; preload"' in text(
        {"headers": {"hsts": {"max_age": "1d", "include_subdomains": False, "preload": True}}}
    )
    assert "Strict-Transport" not in text({"headers": {"hsts": {"enabled": False}}})


def test_streams_are_never_compressed_nor_held_back() -> None:
    conf = text({})
    assert "gzip_types application/json;" in conf
    assert "proxy_buffering off;" in conf


def test_one_port_for_http_and_https_is_refused_with_its_place() -> None:
    with pytest.raises(ProfileError) as caught:
        text({"http_port": 8443, "https_port": 8443})
    (problem,) = caught.value.problems
    assert (problem.path, problem.where) == ("edge/http_port", Location("edge/http_port", 1, 1))


def test_no_limit_on_bodies_cannot_be_asked_for() -> None:
    """To nginx 0 is no limit."""
    with pytest.raises(ValueError, match="body_size"):
        text({"body_size": 0})


@pytest.mark.parametrize("folder", ['/srv/a"b', "/srv/$HOME", "/srv/back\\slash", "/srv/new\nline"])
def test_a_folder_that_would_change_the_files_meaning_is_refused(folder: str) -> None:
    with pytest.raises(ProfileError, match=r"nginx\.conf cannot be rendered"):
        text({}, layout=Layout(Path(folder), Path(folder)))


def test_a_folder_with_spaces_braces_and_semicolons_is_quoted(
    nginx_errors: Callable[[str], list[str]],
) -> None:
    odd = Path("/srv/My Models; {x} #1 'y'")
    conf = text({}, layout=Layout(odd, odd))
    assert "pid \"/srv/My Models; {x} #1 'y'/state/nginx.pid\";" in conf
    assert nginx_errors(conf) == []


def test_ipv6_addresses_are_bracketed() -> None:
    assert "listen [::1]:8443 ssl default_server;" in text({"bind": "::1", "https_port": 8443})


@pytest.mark.parametrize(
    ("tls", "found"),
    [
        (
            {"certificate": "../c/x.crt", "key": "../c/y.key"},
            ("/run/infctl/tls/x.crt", "/run/infctl/tls/y.key"),
        ),
        (
            {"certificate": "/c/x.crt", "key": "/k/y.key"},
            ("/run/infctl/tls/x.crt", "/run/infctl/tls-key/y.key"),
        ),
        ({}, ("/etc/nginx/tls/certificate.pem", "/etc/nginx/tls/key.pem")),
    ],
)
def test_a_container_finds_certificate_and_key_where_their_folders_are_mounted(
    tls: dict[str, Any], found: tuple[str, str]
) -> None:
    conf = text({"tls": tls}, runtime="docker")
    assert f'ssl_certificate "{found[0]}";' in conf
    assert f'ssl_certificate_key "{found[1]}";' in conf
