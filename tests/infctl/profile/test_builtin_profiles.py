"""The profiles that come with infctl, and the schema for editors."""

# ruff: noqa: E501 - expected lines are read whole; an answer may be a value or an error

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from infctl.profile.builtin import builtin_profiles, data_root, profile_summary
from infctl.profile.json_schema import descriptions, schema
from infctl.profile.loading import load
from infctl.profile.schema.walk import at, known_paths
from infctl.profile.tree import Mapping, Sequence, read

GOLDEN = Path(__file__).parents[2] / "golden" / "profiles"
NAMES = ["l4x4", "local", "one-gpu", "reference"]

SCREENS = """
# yaml-language-server: $schema=./infctl.schema.json
name: inference-platform
gpus: 4xL4                       # or: detect

models:
  chat:                          # served to clients as "qwen"
    source: Qwen/Qwen2.5-7B-Instruct
    task: chat
    alias: [qwen]
    replicas: 2                  # one GPU each, planned
    max_model_len: 8192
  text2sql:
    source: Snowflake/Arctic-Text2SQL-R1-7B
    task: text2sql
  embed:
    source: Snowflake/snowflake-arctic-embed-l-v2.0
    task: embed
    alias: [snowflake-arctic-embed]
    gpu: {share: small}          # same share name = same GPU
  rerank:
    source: BAAI/bge-reranker-v2-m3
    task: rerank
    gpu: {share: small}

gateway:
  keys: {shared: "${GATEWAY_API_KEY:?the key your clients send}", tenant: client_address}
  limits: {requests_per_second: 50, burst: 100, in_flight: 120, queue_timeout: 2s}
  quotas: {tokens_per_day: 10M, requests_per_day: 100k, tokens_per_month: 300M}

edge:
  tls: {certificate: ../ssl_certificate/cert-fullchain.crt, key: ../ssl_certificate/cert.key}

monitoring: {slo: {availability: 99.9%, ttft_p95: 2.5s}}
"""


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    made = schema()
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


def test_four_profiles_come_with_infctl():
    assert sorted(builtin_profiles()) == NAMES
    assert all(profile_summary(path) for path in builtin_profiles().values())


@pytest.mark.parametrize("name", NAMES)
def test_a_builtin_profile_loads_without_warnings(name):
    assert load([builtin_profiles()[name]], {}).warnings == ()


@pytest.mark.parametrize("name", NAMES)
def test_a_builtin_profile_means_what_it_meant(name):
    """What is written, in canonical form. A change that is meant: write `text` to the golden file."""
    profile = load([builtin_profiles()[name]], {}).profile
    text = (
        json.dumps(json.loads(profile.model_dump_json(exclude_unset=True)), indent=2, ensure_ascii=False)
        + "\n"
    )
    assert text == (GOLDEN / f"{name}.json").read_text(encoding="utf-8")


def test_the_reference_platform_is_written_field_for_field():
    profile = load([builtin_profiles()["l4x4"]], {}).profile
    limits, quotas = profile.gateway.limits, profile.gateway.quotas
    assert profile.runtime == "docker"
    assert [card.name for card in profile.gpus.devices] == ["L4"] * 4
    assert [m.gpu_memory_utilization for m in profile.models.values()] == [0.9, 0.9, 0.8, 0.8]
    assert (profile.edge.https_port, profile.edge.http_port) == (443, 80)
    assert (profile.gateway.listen.host, profile.gateway.listen.port) == ("127.0.0.1", 8000)
    assert (profile.monitoring.prometheus.port, profile.monitoring.grafana.port) == (9090, 3000)
    assert (limits.requests_per_second, limits.burst, limits.in_flight, limits.queue_timeout) == (
        50,
        100,
        120,
        2,
    )
    assert (quotas.tokens_per_day, quotas.requests_per_day, quotas.tokens_per_month) == (
        10**7,
        10**5,
        3 * 10**8,
    )
    assert (profile.gateway.timeouts.total, profile.gateway.timeouts.stream_idle) == (5400, 180)
    assert (profile.gateway.breaker.failures, profile.gateway.breaker.recovery) == (5, 30)
    assert (profile.gateway.cache.ttl, profile.gateway.cache.entries) == (60, 10_000)
    assert (profile.gateway.upstream.connections, profile.gateway.upstream.keep_alive) == (3000, 800)
    assert profile.edge.tls.certificate == "../ssl_certificate/cert-fullchain.crt"


def test_the_defaults_are_the_reference_platforms(desk, smallest):
    ours = desk.load(smallest).profile
    theirs = load([builtin_profiles()["l4x4"]], {}).profile
    for section in ("limits", "quotas", "timeouts", "breaker", "cache", "upstream", "listen"):
        assert getattr(ours.gateway, section).model_dump() == getattr(theirs.gateway, section).model_dump()


def test_the_sketch_of_a_profile_loads_as_written(desk, validator):
    profile = desk.load(SCREENS).profile
    assert profile.models["embed"].gpu.share == profile.models["rerank"].gpu.share == "small"
    assert profile.monitoring.slo.availability == 0.999
    assert list(validator.iter_errors(yaml.safe_load(SCREENS))) == []


def _written(path: Path) -> set[tuple[str, ...]]:
    """The paths a file writes, chosen names as *."""
    tree, problems = read(path.read_text(encoding="utf-8"), str(path))
    assert problems == ()
    found: set[tuple[str, ...]] = set()

    def visit(node, above):
        if isinstance(node, Mapping):
            free = above in {("models",), ("secrets",), ("gateway", "tenants")}
            for key, entry in node.entries.items():
                below = (*above, "*" if free else key)
                found.add(below)
                visit(entry.node, below)
        elif isinstance(node, Sequence):
            for item in node.items:
                visit(item, (*above, "*"))

    visit(tree, ())
    return found


def test_the_reference_profile_writes_every_field():
    # gpus is written as a list, and kept as {kind, devices}
    wanted = {p for p in known_paths() if p[0] != "gpus"} | {
        ("gpus", "*", f) for f in ("name", "index", "uuid", "memory")
    }
    assert sorted(wanted - _written(builtin_profiles()["reference"])) == []


def test_the_reference_profile_explains_each_field_above_it():
    lines = builtin_profiles()["reference"].read_text(encoding="utf-8").splitlines()
    seen: set[str] = set()
    for number, line in enumerate(lines):
        found = re.match(r"\s*(?:- )?([a-z_0-9]+):", line)
        if found and lines[number - 1].strip().startswith("#"):
            seen.add(found[1])
    fields = {p[-1] for p in known_paths() if p[:2] not in {("gpus", "kind"), ("gpus", "devices")}} - {"*"}
    assert sorted(fields - seen) == []


def test_every_field_is_described():
    for path in known_paths():
        parent = at([step if step != "*" else "x" for step in path[:-1]])
        if parent and parent.section and path[-1] != "devices":
            assert path[-1] in descriptions(parent.section), path


def test_the_committed_schema_is_current():
    """To renew it: infctl schema > profiles/infctl.schema.json"""
    committed = json.loads((data_root() / "profiles" / "infctl.schema.json").read_text(encoding="utf-8"))
    assert committed == schema()


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_fits_the_schema_and_names_it(name, validator):
    text = builtin_profiles()[name].read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=./infctl.schema.json\n")
    assert [f"{list(e.path)}: {e.message}" for e in validator.iter_errors(yaml.safe_load(text))] == []


@pytest.mark.parametrize(
    "text",
    [
        "logs: {keep: '${KEEP}'}", "logs: {max_size: '${SIZE:-8MiB}'}", "runtime: '${RUNTIME}'", "edge: null",
        "gpus: [{name: L4}]", "gpus: 2xH100", "models: {a: {source: {path: x}, task: [chat], gpu: {index: 0}}}",
        "models: [{name: a, source: a/b, task: chat}]", "edge: {server_name: [a.b, c.d]}", "models: {a: null}",
    ],
)  # fmt: skip
def test_the_schema_takes_the_human_forms(text, validator):
    data = {"name": "box", "models": {"a": {"source": "a/b", "task": "chat"}}, **yaml.safe_load(text)}
    assert [e.message for e in validator.iter_errors(data)] == []


@pytest.mark.parametrize(
    "text",
    [
        "logs: {keep: two}", "logs: {max_size: 8 potatoes}", "runtime: podman", "runtme: docker", "gpus: 4L4",
        "models: {a: {source: a/b, task: chatt}}", "gateway: {keys: {shared: sk-1}}", "models: {A B: {source: a, task: chat}}",
        "models: {a: {task: chat}}", "edge: {https_port: 0}", "edge: {headers: {extra: {'X Y': a}}}",
    ],
)  # fmt: skip
def test_the_schema_refuses_what_loading_refuses(desk, text, validator):
    data = {"name": "box", "models": {"a": {"source": "a/b", "task": "chat"}}, **yaml.safe_load(text)}
    assert list(validator.iter_errors(data))
    assert desk.says(yaml.safe_dump(data))
