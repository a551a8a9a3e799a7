"""gateway.yaml of a container: whom it believes, and where it finds its keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.config import Config
from infctl.gpus import Gpu
from infctl.host import Host
from infctl.plan import place
from infctl.profile.schema import Profile
from infctl.render import gateway
from infctl.stack import Layout
from infctl.stack.build import build

LAYOUT = Layout(Path("/srv/p"), Path("/srv/p/.infctl/p"), beside=True)
LOOPBACK = ("127.0.0.1/32", "::1/128")


def config(**rest: Any) -> Config:
    models = {"chat": {"source": "a/b", "task": "chat"}}
    profile = Profile.model_validate({"name": "p", "models": models} | rest)
    stack = build(profile, place(profile, (Gpu(0),)), LAYOUT, Host())
    return gateway.to_config(stack, profile, LAYOUT)


def test_nginx_is_believed_and_nobody_where_there_is_no_nginx() -> None:
    """Without an edge, a client of this machine comes from Docker's own addresses: it may say anything."""
    assert config().trusted_proxies == (*LOOPBACK, "172.16.0.0/12", "192.168.0.0/16")
    assert config(networks={"subnet": "10.9.0.0/24"}).trusted_proxies == (*LOOPBACK, "10.9.0.0/24")
    assert config(edge={"enabled": False}).trusted_proxies == LOOPBACK


def test_keys_are_looked_for_where_the_profile_says() -> None:
    made = config(
        secrets={"GATEWAY_API_KEY": {"file": "k/client"}, "BACKEND_API_KEY": {"env": "ENGINES"}},
    )
    assert made.secret_files == {"GATEWAY_API_KEY": "/run/infctl/secrets/GATEWAY_API_KEY/client"}
    assert (made.keys.shared_env, made.keys.backend_env) == ("GATEWAY_API_KEY", "ENGINES")
    assert made.env_file == "/run/infctl/.env"


def test_the_workers_of_a_profile_are_the_gateways_and_another_number_takes_a_new_process() -> None:
    assert config(gateway={"workers": 3}).workers == 3
    models = {"chat": {"source": "a/b", "task": "chat"}}
    environments = []
    for gateway_section in ({}, {"workers": 3}):
        profile = Profile.model_validate({"name": "p", "models": models, "gateway": gateway_section})
        stack = build(profile, place(profile, (Gpu(0),)), LAYOUT, Host())
        environments.append(dict(stack.service("gateway").env).get("GATEWAY_WORKERS"))
    assert environments == [None, "3"]


def test_a_process_gets_its_keys_from_infctl_under_their_own_names() -> None:
    made = config(
        runtime="process",
        secrets={"GATEWAY_API_KEY": {"file": "k/client"}, "BACKEND_API_KEY": {"env": "ENGINES"}},
    )
    assert made.secret_files == {}
    assert made.keys.backend_env == "BACKEND_API_KEY"
