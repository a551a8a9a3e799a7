"""Our own OpenAPI document holds: requests that schemathesis makes from it meet a real gateway.

What a schema allows is not refused, unless it is too long for the model; what comes back has a status, a
type and a shape that the document tells; nothing is a 5xx. Whether a backend would take a body is not asked:
fields beyond the schema pass through to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import checks
from schemathesis.generation import GenerationMode

from gateway.routes import ROUTES
from tests.examples import examples
from tests.gateway.process import ADMIN, KEY, Gateway, config_for
from tests.gateway.stub import Stub

VALUES = {
    "tenant": ["acme", "10.1.4.7"],
    "since": ["2026-01-31"],
    "until": ["2026-11-27"],
    "after": ["2026-11-27|acme|chat"],
}
"""Of parameters of which a schema cannot say all."""
OPERATIONS = [f"{route.method} {route.path}" for route in ROUTES if route.kind != "docs"]
BACKENDS_WORD = ("negative_data_rejection", "positive_data_acceptance", "ignored_auth")
"""Checks that are left out: what a backend refuses is its own, and keys have their own tests."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    stub = Stub()
    folder = tmp_path_factory.mktemp("openapi")
    store = {"kind": "sqlite", "path": str(folder / "counts.db")}
    made = Gateway(folder, config_for(stub, store=store)).wait_ready(2)
    try:
        yield made
    finally:
        made.stop()
        stub.stop()


@pytest.fixture(scope="module")
def document(gateway: Gateway) -> dict[str, Any]:
    """With the names that are served here in the place of all names, so that calls arrive at a backend."""
    found: dict[str, Any] = gateway.http.get("/openapi.json").json()
    for name, schema in found["components"]["schemas"].items():
        if name.endswith("Request") and "model" in schema["properties"]:
            at = "embed" if name.startswith(("Embedding", "Rerank", "Score")) else "chat"
            schema["properties"]["model"] = {"enum": [at]}
    schemas = found["components"]["schemas"]
    schemas["Limits"]["properties"]["models"] = {"type": "array", "items": {"enum": ["chat", "qwen"]}}
    nothing = {"type": "array", "maxItems": 0}, {"type": "object", "maxProperties": 0}
    lists = dict.fromkeys(("keys", "counts", "usage", "audit"), nothing[0])  # tests of their own say the rest
    schemas["RestoreRequest"]["properties"] |= lists | dict.fromkeys(("figures", "used"), nothing[1])
    schemas["KeyRequest"]["properties"]["name"] = {"enum": ["ci", "\u00e4"]}
    for path, methods in found["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in VALUES:
                    parameter["schema"] = {"enum": VALUES[parameter["name"]]}
                if parameter["name"] == "model":
                    parameter["schema"] = {"enum": ["chat", "none"]}
                if parameter["name"] == "id":
                    names = ["chat0", "none"] if path.startswith("/admin") else ["chat", "qwen", "none"]
                    parameter["schema"] = {"enum": names}
    return found


def test_the_document_tells_of_every_route(document: dict[str, Any]) -> None:
    told = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert told == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_the_document_says_of_an_operation_holds(
    gateway: Gateway, document: dict[str, Any], name: str
) -> None:
    method, path = name.split(" ")
    operation = schemathesis.openapi.from_dict(document)[path][method]
    left_out = [check for check in checks.CHECKS.get_all() if check.__name__ in BACKENDS_WORD]
    key = ADMIN if path.startswith("/admin") else KEY
    seen: Counter[str] = Counter()

    def meets(mode: GenerationMode, count: int) -> None:
        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=examples(count),
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def one(case: schemathesis.Case) -> None:
            answer = case.call(base_url=gateway.url, headers={"authorization": f"Bearer {key}"})
            seen[str(answer.status_code)] += 1
            case.validate_response(answer, excluded_checks=left_out)
            if mode == GenerationMode.POSITIVE and answer.status_code == 400:
                assert answer.json()["error"]["code"] == "context_length_exceeded", answer.json()

        one()

    meets(GenerationMode.POSITIVE, 8)
    if method == "POST":
        meets(GenerationMode.NEGATIVE, 4)
    assert seen.keys() & {"200", "201", "404"}


def test_a_whole_number_may_be_written_as_a_float(gateway: Gateway) -> None:
    answer: httpx.Response = gateway.chat(max_tokens=16.0, n=1.0)
    assert answer.status_code == 200
    assert gateway.chat(max_tokens=16.5).json()["error"]["param"] == "max_tokens"
