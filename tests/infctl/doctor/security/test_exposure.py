"""What answers beyond this machine."""

from __future__ import annotations

import pytest

from infctl.doctor.security.exposure import judge

SET = {"GATEWAY_API_KEY": "g", "ADMIN_API_KEY": "a", "BACKEND_API_KEY": "b", "GRAFANA_ADMIN_PASSWORD": "p"}
DOCKER = {"runtime": "docker", "edge": {"bind": "0.0.0.0"}}
CLOSED = {"monitoring": {"prometheus": {"bind": "127.0.0.1"}, "grafana": {"bind": "127.0.0.1"}}}


@pytest.fixture
def look(case):
    def at(changes, secrets=SET, docker_host=""):
        return [(one.verdict, one.path) for one in judge(case(changes).profile, secrets, docker_host)]

    return at


def test_a_platform_behind_its_edge_is_one_line(look):
    assert look({**DOCKER, **CLOSED}) == [("ok", "")]
    assert look({}) == [("ok", "")]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"edge": {"enabled": False}, "gateway": {"listen": {"host": "0.0.0.0"}}},
            ("failure", "edge/enabled"),
        ),
        ({"gateway": {"listen": {"host": "0.0.0.0"}}}, ("failure", "gateway/listen/host")),
        ({"engines": {"host": "0.0.0.0"}}, ("failure", "engines/host")),
        ({**DOCKER, **CLOSED, "networks": {"internal": False}}, ("warning", "networks/internal")),
        (
            {"models": {"chat": {"source": "org/chat", "task": "chat", "trust_remote_code": True}}},
            ("warning", "models/chat/trust_remote_code"),
        ),
        ({"gateway": {"metrics_open_to": ["0.0.0.0/0"]}}, ("warning", "gateway/metrics_open_to")),
        (
            {"gateway": {"metrics_open_to": ["10.0.0.0/8", "8.0.0.0/7"]}},
            ("warning", "gateway/metrics_open_to"),
        ),
    ],
)
def test_each_open_door_is_told_with_its_place(look, changes, found):
    assert found in look(changes)


def test_monitoring_answers_everybody_until_it_is_bound(look):
    assert look(DOCKER | {"monitoring": {}}) == [
        ("warning", "monitoring/prometheus/bind"),
        ("warning", "monitoring/grafana/bind"),
    ]


@pytest.mark.parametrize("password", ["", "admin"])
def test_grafanas_own_password_is_a_warning(look, password):
    found = look({**DOCKER, **CLOSED}, {**SET, "GRAFANA_ADMIN_PASSWORD": password})
    assert found == [("warning", "monitoring/grafana/admin_password")]


def test_a_key_of_its_own_for_the_admin_and_for_the_engines(look):
    without = {name: value for name, value in SET.items() if name not in {"ADMIN_API_KEY", "BACKEND_API_KEY"}}
    assert look({**DOCKER, **CLOSED}, without) == [
        ("warning", "gateway/keys/admin"),
        ("warning", "gateway/keys/backend"),
    ]


def test_private_networks_may_read_metrics(look):
    assert look(
        {"gateway": {"metrics_open_to": ["127.0.0.0/8", "192.168.0.0/16", "fc00::/7", "8.8.8.0/24"]}}
    ) == [("ok", "")]


@pytest.mark.parametrize(
    ("host", "open_"),
    [
        ("tcp://10.0.0.1:2375", True),
        ("tcp://10.0.0.1:2376", False),
        ("ssh://box", False),
        ("unix:///x", False),
    ],
)
def test_docker_without_tls_is_root_for_everybody(look, host, open_):
    assert (("failure", "") in look({}, docker_host=host)) is open_
