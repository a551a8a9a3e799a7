"""/v1/responses: its own words for usage, its own end of a stream."""

from __future__ import annotations

import json

import pytest

from tests.gateway.raw import EVENTS, Raw, sized

USAGE = {
    "input_tokens": 5,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 12,
}
PLAIN = {"id": "resp_1", "object": "response", "error": None, "output": [], "usage": USAGE, "user": None}


def event(kind, **facts):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **facts}, separators=(',', ':'))}\n\n".encode()


BEGIN = event("response.created", response={"error": None, "usage": None})
DELTA = event("response.output_text.delta", delta='say "response.completed" and "usage": {}')
COMPLETED = event("response.completed", response=PLAIN)
FAILED = event("response.failed", response=PLAIN | {"error": {"message": "out of blocks"}})


@pytest.fixture(scope="module")
def shared_stub():
    made = Raw()
    yield made
    made.stop()


def post(gateway, **fields):
    return gateway.http.post("/v1/responses", json={"model": "qwen", "input": "capital?"} | fields)


def test_a_plain_response_passes_with_its_usage_counted(shared, shared_stub):
    shared_stub.answer = sized(json.dumps(PLAIN).encode())
    response = post(shared)
    assert response.json() == PLAIN
    line = shared.request_line(response.headers["x-request-id"])
    assert (line["outcome"], line["prompt_tokens"], line["completion_tokens"]) == ("ok", 5, 7)


def test_a_stream_passes_byte_by_byte_and_ends_with_completed(shared, shared_stub):
    stream = BEGIN + DELTA + COMPLETED
    shared_stub.answer = EVENTS + b"\r\n" + stream
    response = post(shared, stream=True)
    assert response.content == stream
    line = shared.request_line(response.headers["x-request-id"])
    assert (line["outcome"], line["prompt_tokens"], line["completion_tokens"]) == ("ok", 5, 7)


@pytest.mark.parametrize(
    ("stream", "outcome", "ours"),
    [
        (BEGIN + DELTA, "upstream_truncated", True),
        (BEGIN + FAILED, "upstream_error", False),
        (BEGIN + event("error", message="boom"), "upstream_error", False),
    ],
)
def test_a_stream_that_does_not_complete_is_no_success(shared, shared_stub, stream, outcome, ours):
    shared_stub.answer = EVENTS + b"\r\n" + stream
    response = post(shared, stream=True)
    assert response.content.startswith(stream)
    assert (b'"code":"upstream_error"' in response.content) is ours
    assert shared.request_line(response.headers["x-request-id"])["outcome"] == outcome


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 5}, "temperature"),
        ({"stream": 1}, "stream"),
        ({"background": True}, "background"),
    ],
)
def test_a_field_out_of_range_is_named(shared, fields, param):
    response = post(shared, **fields)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_more_tokens_than_the_model_holds_are_refused(shared):
    assert post(shared, max_output_tokens=10**12).json()["error"]["code"] == "context_length_exceeded"
    missing = shared.http.post("/v1/responses", json={"model": "chat"})
    assert missing.json()["error"]["param"] == "input"
    assert post(shared, model="embed").status_code == 404


def test_it_is_in_the_openapi_document(shared):
    document = shared.http.get("/openapi.json").json()
    assert "/v1/responses" in document["paths"]
    assert "ResponsesRequest" in document["components"]["schemas"]
