"""gateway.yaml of a container: whom it believes, and where it finds its keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Backend, Config, Figures, Store, Tenant
from gateway.policy import levels
from infctl.errors import nowhere
from infctl.gpus import Gpu
from infctl.host import Host
from infctl.models.source import for_profile
from infctl.plan import place, plan
from infctl.profile.schema import Profile
from infctl.render import gateway
from infctl.stack import Layout
from infctl.stack.build import build

LAYOUT = Layout(Path("/srv/p"), Path("/srv/p/.infctl/p"), beside=True)
LOOPBACK = ("127.0.0.1/32", "::1/128")


def config(**rest: Any) -> Config:
    models = {"chat": {"source": "a/b", "task": "chat"}}
    profile = Profile.model_validate({"name": "p", "models": models} | rest)
    plan = place(profile, (Gpu(0), Gpu(1)))
    return gateway.to_config(build(profile, plan, LAYOUT, Host()), profile, plan, LAYOUT)


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


# --- tenants and their limits ------------------------------------------------------------------------------


def test_what_the_profile_grants_is_what_the_gateway_holds_callers_to() -> None:
    limits = {"requests_per_second": 5.0, "burst": 7, "in_flight": 3, "tokens_per_minute": "2k"}
    quotas = {"requests_per_day": 10, "tokens_per_day": 20, "requests_per_month": 30, "tokens_per_month": 40}
    assert config(gateway={"limits": limits, "quotas": quotas}).limits == Figures(
        requests_per_second=5.0,
        burst=7,
        in_flight=3,
        tokens_per_minute=2000,
        requests_per_day=10,
        tokens_per_day=20,
        requests_per_month=30,
        tokens_per_month=40,
    )
    assert config().limits == levels.BUILT_IN, "the gateway's own are the profile's defaults"


def test_a_tenant_has_its_keys_by_the_names_of_their_variables_and_what_differs() -> None:
    team = {
        "keys": ["${TEAM_KEY}", "${TEAM_KEY_NEXT}"],
        "addresses": ["10.1.4.0/24"],
        "models": ["chat"],
        "limits": {"burst": 9, "queue_timeout": "7s"},
        "quotas": {"tokens_per_day": 5},
        "weight": 2.0,
    }
    secrets = {"TEAM_KEY": {"file": "k/team"}, "TEAM_KEY_NEXT": {"env": "NEXT"}}
    made = config(gateway={"tenants": {"team": team}}, secrets=secrets)
    assert made.tenants == {
        "team": Tenant(
            key_envs=("TEAM_KEY", "NEXT"),
            addresses=("10.1.4.0/24",),
            limits=Figures(burst=9, tokens_per_day=5, models=("chat",)),
        )
    }
    assert made.secret_files == {"TEAM_KEY": "/run/infctl/secrets/TEAM_KEY/team"}
    assert made.queue.weights == {"team": 2.0}
    assert (made.queue.longest_s("team"), made.queue.longest_s("another")) == (7.0, 2.0)


@pytest.mark.parametrize(
    ("written", "meant"), [("client_address", "address"), ("key", "key"), ("shared", "shared")]
)
def test_whose_a_call_is_has_other_words_in_the_gateway(written: str, meant: str) -> None:
    assert config(gateway={"keys": {"tenant": written}}).keys.tenant == meant


@pytest.mark.parametrize(
    ("given", "store"),
    [
        ({}, Store(kind="sqlite", path="/var/lib/infctl/counts/gateway.db")),
        (
            {"replicas": 3},
            Store(kind="redis", path="/var/lib/infctl/counts/gateway.journal.db", box="p"),
        ),
        (
            {"replicas": 3, "store": {"url": "${COUNTS}", "path": "sub/c.db"}},
            Store(kind="redis", path="/var/lib/infctl/counts/sub/c.journal.db", url_env="COUNTS", box="p"),
        ),
    ],
)
def test_counts_are_in_the_volume_and_all_gateways_of_a_machine_have_one_journal(
    given: dict[str, Any], store: Store
) -> None:
    assert config(gateway=given).store == store


def test_boxes_that_share_a_redis_have_a_journal_and_a_name_each() -> None:
    made = config(gateway={"store": {"url": "${COUNTS}", "boxes": 3, "box": "left"}}).store
    assert made is not None
    assert (made.kind, made.journals, made.box) == ("redis", 3, "left")


def test_counts_of_a_process_are_in_the_platforms_folder() -> None:
    made = config(runtime="process", gateway={"store": {"path": "a/b.db"}})
    assert made.store == Store(path="/srv/p/.infctl/p/counts/a/b.db")


def test_another_store_takes_a_new_process() -> None:
    """Where counts are is nothing that a reload changes: so it is in the environment as well."""

    def environment(**gateway_section: Any) -> dict[str, str]:
        models = {"chat": {"source": "a/b", "task": "chat"}}
        profile = Profile.model_validate({"name": "p", "models": models, "gateway": gateway_section})
        return dict(build(profile, place(profile, (Gpu(0),)), LAYOUT, Host()).service("gateway").env)

    one, several = environment(), environment(replicas=3)
    assert one["GATEWAY_STORE"] != several["GATEWAY_STORE"]
    assert several["REDIS_URL"] == "unix:///run/infctl/redis/redis.sock"
    assert "REDIS_URL" not in one
    assert "REDIS_URL" not in environment(replicas=3, store={"url": "${COUNTS}"})


# --- models and backends -----------------------------------------------------------------------------------


def backends(**rest: Any) -> dict[str, Backend]:
    """Of a model whose bytes are known, on two L4."""
    source = {"hub": "Qwen/Qwen2.5-7B-Instruct"}
    embed = {"source": "BAAI/bge-reranker-v2-m3", "task": "rerank"}
    models = {"chat": {"source": source, "task": "chat", "replicas": 2} | rest, "rerank": embed}
    profile = Profile.model_validate({"name": "p", "models": models})
    cards = tuple(Gpu(n, "L4", memory_bytes=int(22.05 * 2**30)) for n in range(3))
    made = plan(profile, cards, facts(profile, Path("/nonexistent")))
    found = gateway.to_config(build(profile, made, LAYOUT, Host()), profile, made, LAYOUT)
    return {backend.id: backend for model in found.models for backend in model.backends}


def facts(profile: Profile, folder: Path) -> Any:
    env = {"HOME": str(folder), "HF_HOME": str(folder)}
    return for_profile(profile, folder=folder, env=env, where=nowhere, offline=True).facts


def test_calls_wait_in_the_gateway_once_an_engine_computes_as_many_as_it_can() -> None:
    """VLLM's own number for the card where nobody writes one; a written one; fewer, where that is asked."""
    assert {one.concurrency for one in backends().values()} == {256}
    found = backends(max_num_seqs=48)
    assert (found["vllm-chat0"].concurrency, found["vllm-rerank"].concurrency) == (48, 256)
    assert backends(max_num_seqs=48, concurrency=12)["vllm-chat1"].concurrency == 12


def test_no_more_wait_inside_an_engine_than_its_kv_cache_has_blocks() -> None:
    """448 KiB hold one block of 16 tokens twice: 20 of them."""
    found = backends(kv_cache_memory=20 * 16 * 56 * 1024, max_model_len=128, max_num_seqs=64)
    assert found["vllm-chat0"].concurrency == 20


def test_where_nobody_knows_nothing_waits() -> None:
    (chat,) = config().models
    assert (chat.backends[0].concurrency, chat.backends[0].loading_s) == (None, None)
    models = {"chat": {"source": "a/b", "task": "chat", "max_num_seqs": 9}}
    (chat,) = config(models=models).models
    assert chat.backends[0].concurrency == 9


def test_a_client_that_comes_too_early_is_told_what_the_plan_expects() -> None:
    """14.2 GiB from a disk, compiled: more than a small encoder takes. A written time stands."""
    found = backends()
    assert found["vllm-chat0"].loading_s == 70
    assert found["vllm-rerank"].loading_s is not None
    assert found["vllm-rerank"].loading_s < 70
    assert backends(enforce_eager=True)["vllm-chat0"].loading_s == 40
    assert backends(loading=90.0)["vllm-chat0"].loading_s == 90


@pytest.mark.parametrize(("written", "shares"), [((), [1.0, 1.0, 1.0]), ((2.0, 1.0), [2.0, 1.0, 1.0])])
def test_each_replica_has_its_own_weight(written: tuple[float, ...], shares: list[float]) -> None:
    assert [one.weight for one in backends(weights=written).values()] == shares


def test_a_weight_belongs_to_its_replica_in_whatever_order_engines_start() -> None:
    models = {
        "chat": {"source": "a/b", "task": "chat", "replicas": 12, "weights": [*map(float, range(1, 13))]}
    }
    profile = Profile.model_validate({"name": "p", "gpus": "cpu", "models": models})
    made = place(profile, ())
    stack = build(profile, made, LAYOUT, Host())
    turned = replace(stack, services=tuple(reversed(stack.services)))
    (chat,) = gateway.to_config(turned, profile, made, LAYOUT).models
    assert {one.id: one.weight for one in chat.backends} == {f"vllm-chat{n}": n + 1.0 for n in range(12)}


def test_sessions_stay_by_the_header_the_profile_names() -> None:
    """Header names are compared in lower case."""
    made = config(gateway={"balancing": {"session_header": "X-Session-ID", "policy": "weighted"}})
    assert (made.balancing.session_header, made.balancing.policy) == ("x-session-id", "weighted")
    assert config().balancing.session_header is None
