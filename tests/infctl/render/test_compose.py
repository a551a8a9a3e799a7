"""docker-compose.yml says of a container what the engine is asked for, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from infctl.render import compose
from infctl.stack.containers import (
    Attachment,
    Build,
    Container,
    Devices,
    Healthcheck,
    Limit,
    Mount,
    Needs,
    Network,
    Port,
    Project,
    Volume,
    spec_hash,
)

PLAIN = Container("a", "engine", "i:1", networks=(Attachment("n"),))


def project(*containers: Container, **more: Any) -> Project:
    parts: dict[str, Any] = {"networks": (Network("n", "p_n"),), "volumes": (Volume("v", "p_v"),)} | more
    return Project("p", "docker-compose.yml", "/srv/p", containers, **parts)


def text(*containers: Container, **more: Any) -> str:
    return compose.render(project(*containers, **more), "p", "about").text


def service(container: Container, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text(container, **more))["services"][container.service]
    return found


def log(size: str, files: str) -> dict[str, Any]:
    return {"driver": "json-file", "options": {"max-size": size, "max-file": files}}


FIELDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "image": ("r/i:2", {"image": "r/i:2"}),
    "name": ("vllm-a", {"container_name": "vllm-a"}),
    "count": (3, {"deploy": {"replicas": 3}}),
    "entrypoint": (("x",), {"entrypoint": ["x"]}),
    "command": (("--a", "b c"), {"command": ["--a", "b c"]}),
    "env": ((("A", "1"),), {"environment": {"A": "1"}}),
    "user": ("1:2", {"user": "1:2"}),
    "networks": ((), {"network_mode": "none"}),
    "mounts": (
        (Mount("bind", "/srv/p/x", "/y"), Mount("volume", "v", "/z", read_only=False)),
        {"volumes": [
            {"type": "bind", "source": "./x", "target": "/y", "read_only": True,
             "bind": {"create_host_path": False}},
            {"type": "volume", "source": "v", "target": "/z"},
        ]},
    ),
    "ports": (
        (Port(443, 8443, "127.0.0.1", "udp"),),
        {"ports": [{"target": 8443, "published": "443", "host_ip": "127.0.0.1", "protocol": "udp"}]},
    ),
    "healthcheck": (
        Healthcheck(("CMD", "x"), 1.5, 2.0, 4, 60.0),
        {"healthcheck": {
            "test": ["CMD", "x"], "interval": "1.5s", "timeout": "2s", "retries": 4, "start_period": "60s",
        }},
    ),
    "devices": (
        Devices("nvidia", ("GPU-1",)),
        {"deploy": {"resources": {"reservations": {"devices": [
            {"driver": "nvidia", "device_ids": ["GPU-1"], "capabilities": ["gpu"]}
        ]}}}},
    ),
    "needs": ((Needs("b", "service_healthy"),), {"depends_on": {"b": {"condition": "service_healthy"}}}),
    "read_only": (False, {"read_only": False}),
    "cap_drop": (("X",), {"cap_drop": ["X"]}),
    "cap_add": (("X",), {"cap_add": ["X"]}),
    "security_opt": (("x:y",), {"security_opt": ["x:y"]}),
    "pids_limit": (7, {"pids_limit": 7}),
    "shm_bytes": (2**30, {"shm_size": "1gb"}),
    "tmpfs": ((("/tmp", "size=1"),), {"tmpfs": ["/tmp:size=1"]}),
    "limits": ((Limit("memlock", -1, -1),), {"ulimits": {"memlock": {"soft": -1, "hard": -1}}}),
    "sysctls": ((("a.b", "0"),), {"sysctls": {"a.b": "0"}}),
    "memory_bytes": (2**20 + 1, {"mem_limit": "1048577b"}),
    "cpus": (1.5, {"cpus": 1.5}),
    "stop_signal": ("SIGQUIT", {"stop_signal": "SIGQUIT"}),
    "stop_grace_s": (90.0, {"stop_grace_period": "90s"}),
    "restart": ("no", {"restart": "no"}),
    "log_max_bytes": (5, {"logging": log("5", "5")}),
    "log_keep": (2, {"logging": log("10485760", "2")}),
    "init": (True, {"init": True}),
    "build": (Build("/srv/p/g", (("A", "b"),)), {"build": {"context": "./g", "args": {"A": "b"}}}),
    "pull": ("never", {"pull_policy": "never"}),
}  # fmt: skip
ELSEWHERE = {"service", "role", "labels", "reasons"}


def test_every_field_of_a_container_is_in_the_table() -> None:
    assert {field.name for field in fields(Container)} == set(FIELDS) | ELSEWHERE


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_reaches_the_file(name: str) -> None:
    value, expected = FIELDS[name]
    changed = replace(PLAIN, **{name: value})
    # Beside one that is otherwise, so that what is said once for all is not this one's.
    found = yaml.safe_load(text(PLAIN, replace(PLAIN, service="c"), replace(changed, service="d")))[
        "services"
    ]
    usual = {key: value for key, value in found["a"].items() if key != "labels"}
    own = {key: value for key, value in found["d"].items() if key != "labels" and usual.get(key) != value}
    assert own == expected


@pytest.mark.parametrize("limits", [(None, None), (None, None, 7), (7, 7, None), (None, 7), (7, 8, None)])
def test_each_container_keeps_its_own_limit_of_processes(limits: tuple[int | None, ...]) -> None:
    """Also where no container has one: what is said once for all says so."""
    made = [replace(PLAIN, service=f"s{n}", pids_limit=limit) for n, limit in enumerate(limits)]
    found = yaml.safe_load(text(*made))["services"]
    wanted = [-1 if limit is None else limit for limit in limits]
    assert [found[one.service]["pids_limit"] for one in made] == wanted


def test_a_project_without_containers_is_a_file_too() -> None:
    assert yaml.safe_load(text())["services"] in (None, {}, [])


def test_labels_say_what_it_was_made_from() -> None:
    one = replace(PLAIN, labels=(("io.infctl.role", "engine"),))
    assert service(one)["labels"] == {"io.infctl.role": "engine", "io.infctl.spec-hash": spec_hash(one)}


def test_cdi_devices_have_compose_own_form() -> None:
    one = replace(PLAIN, devices=Devices("cdi", ("nvidia.com/gpu=GPU-1",)))
    assert service(one)["devices"] == ["nvidia.com/gpu=GPU-1"]
    assert "deploy" not in service(one)


def test_a_dollar_is_no_variable_of_compose() -> None:
    one = replace(
        PLAIN, command=("$a", "${B}"), env=(("A", "$x"),), mounts=(Mount("bind", "/srv/p/$x", "/y"),)
    )
    found = service(one)
    assert (found["command"], found["environment"]) == (["$$a", "$${B}"], {"A": "$$x"})
    assert found["volumes"][0]["source"] == "./$$x"


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/srv/p/x", "./x"), ("/srv/p", "."), ("/srv/q/x", "../q/x"), ("/srv", ".."),
        ("/other/x", "/other/x"), ("/srv/pp/x", "../pp/x"),
    ],
)  # fmt: skip
def test_paths_near_the_file_are_relative_so_that_all_of_it_can_be_moved(path: str, written: str) -> None:
    assert service(replace(PLAIN, mounts=(Mount("bind", path, "/y"),)))["volumes"][0]["source"] == written


def test_a_project_in_the_root_writes_whole_paths() -> None:
    made = replace(project(replace(PLAIN, mounts=(Mount("bind", "/etc/x", "/y"),))), folder="/p")
    found = yaml.safe_load(compose.render(made, "p", "about").text)
    assert found["services"]["a"]["volumes"][0]["source"] == "/etc/x"


def test_aliases_networks_and_volumes() -> None:
    one = replace(PLAIN, networks=(Attachment("n", ("x",)), Attachment("m")))
    networks = (
        Network("n", "p_n", internal=True, subnet="10.0.0.0/24"),
        Network("m", "other_m", external=True),
    )
    found = yaml.safe_load(
        text(one, networks=networks, volumes=(Volume("v", "p_v"), Volume("w", "x", external=True)))
    )
    assert found["services"]["a"]["networks"] == {"n": {"aliases": ["x"]}, "m": {}}
    assert found["networks"] == {
        "n": {"internal": True, "ipam": {"config": [{"subnet": "10.0.0.0/24"}]}},
        "m": {"name": "other_m", "external": True},
    }
    assert found["volumes"] == {"v": {}, "w": {"name": "x", "external": True}}


def test_reasons_stand_beside_their_lines() -> None:
    one = replace(
        PLAIN,
        command=("--kv", "1", "--", "python3", "-m", "x", "--b"),
        user="1:2",
        reasons=(("service", "what it is"), ("--kv", "why so many"), ("user", "why he")),
    )
    lines = [line.strip() for line in text(one).splitlines()]
    assert "# what it is" in lines
    assert '--kv, "1", # why so many' in lines
    assert '"--", python3, -m, x,' in lines
    assert 'user: "1:2" # why he' in lines


def test_kv_bytes_and_start_order_are_explained(rendered: Callable[[Path], Any], profiles: Path) -> None:
    """In the profiles that come with infctl: the plan's own sentences."""
    one_gpu = rendered(profiles / "one-gpu.yaml").text("docker-compose.yml")
    assert " that weights, work and headroom leave of " in one_gpu
    assert "the start gate" in one_gpu
    l4x4 = rendered(profiles / "l4x4.yaml").text("docker-compose.yml")
    assert "depends_on: # on the same GPU: each measures free memory, so embed is first" in l4x4
    assert "so --kv-cache-memory-bytes is left out" in l4x4
