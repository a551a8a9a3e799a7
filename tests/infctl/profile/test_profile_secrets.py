"""Secrets are names in a profile; what is missing is told with its place and where to set it."""

# ruff: noqa: ISC004 - expected lines are read whole; an answer may be a value or an error

from __future__ import annotations

import pytest

from infctl.errors import ProfileError
from infctl.profile.enforcement import unenforced
from infctl.profile.environment import VARIABLES, read_environment
from infctl.profile.schema import SecretRef
from infctl.profile.secrets import generated_secrets, missing_secrets, required_secrets, secret_values

KEYS = """
name: box
models: {chat: {source: a/b, task: chat}}
gateway: {keys: {shared: "${GATEWAY_API_KEY:?the key your clients send}"}}
"""


def _said(problems):
    return [f"{problem} | {problem.hint}" for problem in problems]


def test_a_reference_is_kept_not_filled_in(desk):
    loaded = desk.load(KEYS, env={"GATEWAY_API_KEY": "sk-1"})
    shared = loaded.profile.gateway.keys.shared
    assert shared == SecretRef("GATEWAY_API_KEY", "the key your clients send")
    assert "sk-1" not in loaded.profile.model_dump_json()
    assert '"${GATEWAY_API_KEY:?the key your clients send}"' in loaded.profile.model_dump_json()


def test_a_missing_secret_names_the_variable_and_where_to_set_it(desk):
    loaded = desk.load(KEYS)
    assert _said(missing_secrets(loaded, {})) == [
        "box.yaml:3:26  gateway/keys/shared: GATEWAY_API_KEY is not set: the key your clients send"
        f" | put it into {desk.folder}/.env: GATEWAY_API_KEY=..."
    ]
    assert missing_secrets(loaded, {"GATEWAY_API_KEY": ""})[0].message.startswith("GATEWAY_API_KEY is empty")
    assert missing_secrets(loaded, {"GATEWAY_API_KEY": "sk-1"}) == ()


def test_the_shared_key_is_needed_even_where_nothing_is_written(desk, smallest):
    assert [use.name for use in required_secrets(desk.load(smallest).profile)] == ["GATEWAY_API_KEY"]


def test_what_infctl_makes_up_is_not_missing(desk):
    loaded = desk.load(KEYS, "secrets: {GATEWAY_API_KEY: {generate: true}}")
    assert generated_secrets(loaded.profile) == ("GATEWAY_API_KEY",)
    assert missing_secrets(loaded, {}) == ()


def test_a_secret_comes_from_another_variable_or_a_file(desk):
    loaded = desk.load(KEYS, "secrets: {GATEWAY_API_KEY: {env: OTHER}}")
    assert missing_secrets(loaded, {})[0].message == "OTHER is not set: the key your clients send"
    assert secret_values(loaded, {"OTHER": "sk-2"}) == {"GATEWAY_API_KEY": "sk-2"}
    loaded = desk.load(KEYS, "secrets: {GATEWAY_API_KEY: {file: key.txt}}")
    assert missing_secrets(loaded, {})[0].hint == "put it into the file key.txt"
    (desk.folder / "key.txt").write_text("sk-3\n")
    assert secret_values(loaded, {}) == {"GATEWAY_API_KEY": "sk-3"}


def test_an_optional_secret_may_be_missing(desk):
    assert missing_secrets(desk.load(KEYS, "secrets: {GATEWAY_API_KEY: {optional: true}}"), {}) == ()


def test_a_part_that_is_off_needs_no_secret(desk):
    on = "monitoring: {grafana: {admin_password: '${G}'}}\n"
    off = "monitoring: {enabled: false, grafana: {admin_password: '${G}'}}\n"
    assert [u.name for u in required_secrets(desk.load(KEYS, on).profile)] == ["GATEWAY_API_KEY", "G"]
    assert [u.name for u in required_secrets(desk.load(KEYS, off).profile)] == ["GATEWAY_API_KEY"]


# --- the environment ---------------------------------------------------------------------------------------


def test_the_process_wins_over_the_file(desk):
    desk.write("A=1\nB='2' \nexport C=3 # c\n", ".env")
    assert read_environment(desk.folder, {"A": "9"}) == {"A": "9", "B": "2", "C": "3"}
    assert read_environment(desk.folder / "nowhere", {"A": "9"}) == {"A": "9"}


def test_an_unreadable_env_file_is_told(desk):
    desk.write(b"A=\xff\n", ".env")
    with pytest.raises(ProfileError) as caught:
        read_environment(desk.folder, {})
    assert str(caught.value.problems[0]) == f"{desk.folder}/.env:1:3: not UTF-8"


def test_the_reference_platforms_variables_win_over_the_profile(desk, smallest):
    env = {
        "MAX_RPS_PER_IP": "7",
        "QUEUE_TIMEOUT_SECS": "3",
        "ORG_DAILY_TOKEN_LIMIT": "10000000",
        "RPS_BURST": "",
    }
    loaded = desk.load(f"{smallest}gateway: {{limits: {{requests_per_second: 50, burst: 5}}}}", env=env)
    limits = loaded.profile.gateway.limits
    assert (limits.requests_per_second, limits.queue_timeout, limits.burst) == (7.0, 3.0, 5)
    assert loaded.overridden == {
        "gateway/limits/requests_per_second": "MAX_RPS_PER_IP",
        "gateway/limits/queue_timeout": "QUEUE_TIMEOUT_SECS",
        "gateway/quotas/tokens_per_day": "ORG_DAILY_TOKEN_LIMIT",
    }


@pytest.mark.parametrize("variable", VARIABLES)
def test_each_variable_reaches_its_field(desk, smallest, variable):
    text, expected = ("false", False) if variable.endswith("_ENABLED") else ("179", 179)
    value = desk.load(smallest, env={variable: text}).profile
    for step in VARIABLES[variable].split("/"):
        value = getattr(value, step)
    assert value == expected


def test_a_wrong_variable_is_told_by_name(desk, smallest):
    assert desk.says(smallest, env={"MAX_RPS_PER_IP": "many", "RPS_BURST": "0"}) == [
        "gateway/limits/burst: RPS_BURST=0: 0 is too small | at least 1, in the environment or .env",
        'gateway/limits/requests_per_second: MAX_RPS_PER_IP=many: "many" is not a number'
        " | a number without quotes: 1.5, in the environment or .env",
    ]


# --- what is not enforced yet ------------------------------------------------------------------------------


def test_what_is_set_and_not_enforced_is_told_once_a_section(desk):
    loaded = desk.load(
        KEYS,
        "runtime: process\ngateway:\n  limits: {burst: 9}\n  audit: {bodies: true}\nedge: {http3: true}\n",
    )
    assert [str(problem) for problem in unenforced(loaded)] == [
        "over1.yaml:4:19  gateway/audit/bodies: not enforced by this version: the trail has no bodies",
        "over1.yaml:5:15  edge/http3: not enforced by this version: HTTP/1.1 and HTTP/2 are served",
    ]


def test_defaults_are_not_complained_about(desk):
    assert unenforced(desk.load(KEYS, "runtime: process")) == ()


def test_limits_quotas_tenants_and_the_store_are_kept(desk):
    text = (
        "gateway: {limits: {burst: 9}, quotas: {tokens_per_day: 1M}, keys: {tenant: key},"
        " tenants: {a: {limits: {burst: 5, queue_timeout: 5s}}}, store: {path: g.db}}\n"
    )
    assert unenforced(desk.load(KEYS, text, env={"MAX_RPS_PER_IP": "5"})) == ()


@pytest.mark.parametrize(
    ("text", "kind", "ours"),
    [
        ("gateway: {replicas: 1}", "sqlite", False),
        ("gateway: {replicas: 3}", "redis", True),
        ("gateway: {replicas: 3, store: {url: '${R}'}}", "redis", False),
        ("gateway: {store: {url: '${R}'}}", "redis", False),
        ("gateway: {store: {kind: redis}}", "redis", True),
        ("runtime: process\ngateway: {replicas: 3}", "sqlite", False),
    ],
)
def test_several_gateways_count_in_a_redis_and_one_counts_in_a_file(desk, text, kind, ours):
    profile = desk.load(KEYS, text).profile
    assert (profile.store_kind, profile.renders_redis) == (kind, ours)


def test_a_process_has_no_redis_of_its_own(desk):
    said = desk.says(KEYS + "runtime: process\n", "gateway: {store: {kind: redis}}")
    assert said == [
        "over1.yaml:1:25  gateway/store/kind: no Redis is started: runtime is process"
        ' | gateway/store/url: "${REDIS_URL}" of one that runs, or kind: sqlite'
    ]


def test_what_nobody_would_look_at_of_tenants_is_told(desk):
    text = "gateway:\n  keys: {tenant: shared}\n  tenants: {a: {addresses: [10.0.0.0/8]}}\n"
    assert [f"{p.path}: {p.message}" for p in desk.load(KEYS, text).warnings] == [
        "gateway/tenants/a/addresses: nobody looks at them: gateway/keys/tenant is shared",
        "gateway/keys/tenant: all callers are one tenant: nobody's own limits hold",
    ]


def test_containers_keep_what_they_are_told(desk):
    text = "hardening: {pids_limit: 99}\nnetworks: {internal: false}\nedge: {http3: true}\n"
    assert unenforced(desk.load(KEYS, text)) == ()
    watched = desk.load(
        KEYS, "monitoring: {slo: {ttft_p95: 1s}, alerts: {certificate_days: 9}, grafana: {port: 1}}"
    )
    assert unenforced(watched) == ()


def test_processes_have_no_monitoring_and_one_gateway(desk):
    text = (
        "runtime: process\nmonitoring: {slo: {ttft_p95: 1s}}\nedge: {http3: true}\ngateway: {replicas: 2}\n"
    )
    assert [problem.path for problem in unenforced(desk.load(KEYS, text))] == [
        "monitoring",
        "edge/http3",
        "gateway/replicas",
    ]
    assert (
        unenforced(desk.load(KEYS, "runtime: process\nmonitoring: {enabled: false, slo: {ttft_p95: 1s}}"))
        == ()
    )


def test_a_process_traces_as_a_container_does(desk):
    text = "runtime: process\nmonitoring: {tracing: {endpoint: http://collector:4318, sample: 5%}}\n"
    loaded = desk.load(KEYS, text)
    assert (unenforced(loaded), loaded.warnings) == ((), ())
    assert loaded.profile.monitoring.tracing.sample == 0.05


def test_engines_that_can_send_no_spans_are_told(desk):
    text = "monitoring: {tracing: {engines: true}}"
    assert [f"{p.path}: {p.message}" for p in desk.load(KEYS, text).warnings] == [
        "monitoring/tracing/engines: engines are told of no collector: there is no endpoint"
    ]
    text = "runtime: process\ngpus: cpu\nmonitoring: {tracing: {engines: true, endpoint: http://c:4318}}"
    assert [f"{p.path}: {p.message}" for p in desk.load(KEYS, text).warnings] == [
        "monitoring/tracing/engines: the local stack has not what vLLM sends spans with: no engine starts"
    ]


def test_what_the_gateway_would_not_look_at_is_told(desk):
    text = "models:\n  chat:\n    replicas: 2\n    weights: [2, 1]\n    max_num_seqs: 8\n    concurrency: 9\n"
    told = [f"{p.where} {p.path}: {p.message}" for p in desk.load(KEYS, text).warnings]
    assert told == [
        "over1.yaml:4:14 models/chat/weights: nothing looks at them: the policy is least_in_flight",
        "over1.yaml:6:18 models/chat/concurrency: an engine computes 8 at once (max_num_seqs); the others"
        " wait inside it",
    ]
    weighted = "gateway: {balancing: {policy: weighted}}\n"
    assert [p.path for p in desk.load(KEYS, text + weighted).warnings] == ["models/chat/concurrency"]


def test_warnings_are_located(desk):
    loaded = desk.load(
        KEYS, "runtime: process\nhardening: {read_only: true}\ngateway: {upstream: {idle: 9s}}"
    )
    assert [f"{p.where} {p.path}" for p in loaded.warnings] == [
        "over1.yaml:3:28 gateway/upstream/idle",
        "over1.yaml:2:12 hardening",
    ]
