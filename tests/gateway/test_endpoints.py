"""Every endpoint of a running gateway: who serves it, under which names, and what else is said."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from gateway.catalog import PATHS
from gateway.routes import ROUTES
from tests.gateway.process import Gateway, config_for, until
from tests.gateway.stub import Stub

CHAT = {"messages": [{"role": "user", "content": "Show all users"}]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"prompt": "a"},
    "/v1/responses": {"input": "a"},
    "/v1/text2sql": CHAT,
    "/v1/embeddings": {"input": "a"},
    "/v1/rerank": {"query": "a", "documents": ["b"]},
    "/v1/score": {"text_1": "a", "text_2": "b"},
    "/tokenize": {"prompt": "a"},
    "/detokenize": {"tokens": [1, 2]},
}
SERVED: dict[str, set[str]] = {
    "chat": {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/tokenize", "/detokenize"},
    "text2sql": {
        "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/text2sql",
        "/tokenize", "/detokenize",
    },
    "embed": {"/v1/embeddings", "/v1/score", "/tokenize", "/detokenize"},
    "rerank": {"/v1/rerank", "/v1/score", "/tokenize", "/detokenize"},
}  # fmt: skip
"""By a model's task: what gateway.md promises of it."""


def models(stub: Stub) -> list[dict[str, Any]]:
    return [
        {
            "name": task,
            "served_name": f"org/{task}-7b",
            "aliases": [f"{task}-alias", f"Org/{task.upper()}"],
            "tasks": [task],
            "max_model_len": 2048,
            "backends": [{"id": f"vllm-{task}", "url": stub.url}],
        }
        for task in SERVED
    ]


@pytest.fixture(scope="module")
def running(shared_stub: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A model a task, all on one stub."""
    config = config_for(shared_stub) | {"models": models(shared_stub), "cache": {"enabled": False}}
    gateway = Gateway(tmp_path_factory.mktemp("endpoints"), config).wait_ready(4)
    yield gateway
    assert gateway.stop() == 0
    assert gateway.errors == b""


def code(reply: httpx.Response) -> str:
    return str(reply.json()["error"]["code"])


def test_every_path_of_the_data_plane_is_in_the_table() -> None:
    assert set(BODIES) == set(PATHS) == {path for paths in SERVED.values() for path in paths}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("task", SERVED)
def test_a_model_serves_the_paths_of_its_task_under_all_its_names(
    running: Gateway, stub: Stub, task: str, path: str
) -> None:
    """And says which these are, where it does not."""
    for name in (task, f"{task}-alias", f"Org/{task.upper()}"):
        stub.seen.clear()
        reply = running.http.post(path, json=BODIES[path] | {"model": name})
        if path in SERVED[task]:
            assert reply.status_code == 200, reply.text
            ((request, _, body),) = stub.seen
            assert request == f"POST {'/v1/chat/completions' if path == '/v1/text2sql' else path}"
            assert json.loads(body)["model"] == f"org/{task}-7b"
        else:
            assert (reply.status_code, code(reply), stub.seen) == (404, "not_found", [])
            message = reply.json()["error"]["message"]
            assert {each.rstrip(".,") for each in message.split() if each.startswith("/")} == {
                path, *SERVED[task],
            }  # fmt: skip


@pytest.mark.parametrize("path", BODIES)
def test_text2sql_alone_knows_its_model_by_itself(running: Gateway, stub: Stub, path: str) -> None:
    reply = running.http.post(path, json=BODIES[path])
    if path == "/v1/text2sql":
        assert reply.status_code == 200
        assert json.loads(stub.seen[-1][2])["model"] == "org/text2sql-7b"
    else:
        assert (reply.status_code, code(reply)) == (400, "invalid_request")
        assert reply.json()["error"]["param"] == "model"
        assert stub.seen == []


@pytest.mark.parametrize("path", BODIES)
def test_a_model_that_is_not_there_is_told_from_a_path_that_is_not(
    running: Gateway, stub: Stub, path: str
) -> None:
    reply = running.http.post(path, json=BODIES[path] | {"model": "gpt-4"})
    assert (reply.status_code, code(reply), stub.seen) == (404, "model_not_found", [])
    assert all(task in reply.json()["error"]["message"] for task in SERVED)


def test_the_list_of_models_has_every_name_with_its_length_its_tasks_and_its_health(
    running: Gateway, stub: Stub
) -> None:
    listed = running.http.get("/v1/models").json()
    names = [name for task in SERVED for name in (task, f"{task}-alias", f"Org/{task.upper()}")]
    assert [model["id"] for model in listed["data"]] == names
    for model in listed["data"]:
        task = model["root"]
        assert (model["max_model_len"], model["tasks"], model["healthy"]) == (2048, [task], True)
        assert set(model["paths"]) == SERVED[task]
        assert running.http.get(f"/v1/models/{model['id']}").json() == model
        assert running.http.get(f"/v1/models/{model['id'].replace('/', '%2F')}").json() == model
    assert code(running.http.get("/v1/models/gpt-4")) == "model_not_found"


def test_a_model_whose_backends_are_all_away_is_listed_as_such(
    start: Callable[..., Gateway], make_stub: Callable[..., Stub]
) -> None:
    well, ill = make_stub(), make_stub()
    config = config_for(well) | {"models": models(well)}
    config["models"][2]["backends"][0]["url"] = ill.url
    gateway = start(config).wait_ready(4)
    assert gateway.http.get("/health").json() == {"status": "ok"}
    ill.stop()
    until(lambda: not gateway.http.get("/v1/models/embed").json()["healthy"])
    healthy = {model["root"]: model["healthy"] for model in gateway.http.get("/v1/models").json()["data"]}
    assert healthy == {"chat": True, "text2sql": True, "embed": False, "rerank": True}
    health = gateway.http.get("/health")
    assert (health.status_code, health.json()["status"]) == (503, "down"), "not every model is served"
    assert gateway.http.get("/health/ready").status_code == 200, "the others are"
    well.stop()
    until(lambda: gateway.http.get("/health/ready").status_code == 503)
    assert gateway.http.get("/health/live").status_code == 200


KEYS = {
    "open": ("/health", "/health/live", "/health/ready", "/docs", "/openapi.json"),
    "client": ("/v1/models", "/v1/models/chat", "/health/detailed"),
    "admin": ("/admin/backends",),
}


@pytest.mark.parametrize("path", [path for paths in KEYS.values() for path in paths])
def test_each_page_asks_for_the_key_that_the_contract_says(running: Gateway, path: str) -> None:
    bare = httpx.get(running.url + path, trust_env=False)
    client = running.http.get(path)
    admin = running.admin("GET", path)
    if path in KEYS["open"]:
        assert (bare.status_code, client.status_code) == (200, 200)
    else:
        assert (bare.status_code, code(bare)) == (401, "invalid_api_key")
        assert client.status_code == (200 if path in KEYS["client"] else 401)
    assert path.startswith("/v1/") or admin.status_code == 200


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_takes_its_own_methods_alone(running: Gateway, route: Any) -> None:
    path = re.sub(r"\{\w+\}", "x", route.path)
    reply = running.admin("OPTIONS", path)
    assert (reply.status_code, code(reply)) == (405, "method_not_allowed")
    assert route.method in reply.headers["allow"]
