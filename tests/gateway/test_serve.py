"""One request through a real gateway to a real (stub) backend."""

from __future__ import annotations

import json
import socket
import time

import openai
import pytest

from tests.gateway.process import KEY, until
from tests.gateway.stub import stream_of

ASKED = {"model": "qwen", "messages": [{"role": "user", "content": "capital of France?"}]}


def test_a_chat_goes_to_the_served_name_of_the_alias(shared, stub):
    reply = shared.chat(model="qwen", temperature=0.5)
    assert reply.status_code == 200
    assert reply.json()["choices"][0]["message"]["content"] == "The capital of France is Paris."
    [(line, _, body)] = stub.seen
    assert line == "POST /v1/chat/completions"
    assert json.loads(body) == ASKED | {"model": "served", "temperature": 0.5}


def test_only_the_name_is_written_anew_in_the_body(shared, stub):
    messages = b'[{"role":"user","content":"\\u00e9 \\" \xc3\xa9"}]'
    body = b'{ "messages":%b,  "model" :  "qwen" , "x":{"model":"qwen"}}' % messages
    assert shared.http.post("/v1/chat/completions", content=body).status_code == 200
    assert stub.seen[0][2] == body.replace(b':  "qwen"', b':  "served"')


def test_text2sql_needs_no_model(shared, stub):
    body = {"messages": [{"role": "user", "content": "all users"}]}
    assert shared.http.post("/v1/text2sql", json=body).status_code == 200
    assert stub.seen[0][0] == "POST /v1/chat/completions"
    assert json.loads(stub.seen[0][2]) == body | {"model": "served"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"model": "chat", "prompt": "x"}),
        ("/v1/embeddings", {"model": "embed", "input": "x"}),
        ("/v1/rerank", {"model": "embed", "query": "x", "documents": ["y"]}),
        ("/v1/score", {"model": "embed", "text_1": "x", "text_2": "y"}),
        ("/tokenize", {"model": "chat", "prompt": "x"}),
        ("/detokenize", {"model": "chat", "tokens": [1]}),
    ],
)
def test_each_path_reaches_the_backend(shared, stub, path, body):
    assert shared.http.post(path, json=body).status_code == 200
    assert stub.seen[0][0] == f"POST {path}"


def test_a_backend_gets_its_own_key_and_our_id_and_no_client_header(shared, stub):
    headers = {"x-request-id": "mine-1", "cookie": "a=b", "traceparent": "00-1", "x-forwarded-for": "9.9.9.9"}
    reply = shared.http.post("/v1/chat/completions", json=ASKED, headers=headers)
    sent = stub.seen[0][1]
    assert sent["authorization"] == "Bearer backend-key-canary"
    assert sent["x-request-id"] == reply.headers["x-request-id"] != "mine-1"
    assert reply.headers["x-client-request-id"] == "mine-1"
    assert sent["traceparent"] == "00-1"
    assert not {"cookie", "x-forwarded-for"} & set(sent)


def test_a_stream_comes_as_without_our_asking_for_usage(shared, stub):
    reply = shared.chat(stream=True)
    assert reply.content == b"".join(stream_of({"stream": True}))
    assert reply.headers["content-type"].startswith("text/event-stream")
    sent = json.loads(stub.seen[0][2])
    assert sent["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


@pytest.mark.parametrize("running", [False, True])
def test_a_client_that_asks_for_usage_gets_what_it_asked_for(shared, stub, running):
    options = {"include_usage": True} | ({"continuous_usage_stats": True} if running else {})
    reply = shared.chat(stream=True, stream_options=options)
    assert reply.content == b"".join(stream_of({"stream_options": options}))
    assert json.loads(stub.seen[0][2])["model"] == "served"


def test_events_are_not_held_back(shared, stub):
    stub.delay_s = 0.15
    began, came = time.monotonic(), list[float]()
    with shared.http.stream("POST", "/v1/chat/completions", json=ASKED | {"stream": True}) as reply:
        came.extend(time.monotonic() - began for _ in reply.iter_raw())
    assert came[0] < 0.15
    assert len(came) >= 8


def test_the_log_line_of_a_stream_has_its_tokens_and_times(shared, stub):
    reply = shared.chat(stream=True)
    line = shared.request_line(reply.headers["x-request-id"])
    assert (line["outcome"], line["status"], line["model"], line["backend"]) == ("ok", 200, "chat", "chat0")
    assert (line["prompt_tokens"], line["completion_tokens"]) == (5, 7)
    assert 0 < line["ttft_ms"] <= line["total_ms"]
    assert line["tenant"] == "127.0.0.1"
    assert line["bytes_out"] == len(reply.content)


def test_the_openai_client_works(shared, stub):
    with openai.OpenAI(api_key=KEY, base_url=f"{shared.url}/v1", max_retries=0) as client:
        plain = client.chat.completions.create(**ASKED)
        assert plain.choices[0].message.content == "The capital of France is Paris."
        text = ""
        for piece in client.chat.completions.create(**ASKED, stream=True):
            text += piece.choices[0].delta.content or ""
        assert text == "The capital of France is Paris."
        vector = client.embeddings.create(model="embed", input="x", encoding_format="float")
        assert vector.data[0].embedding == [0.25, 0.5]
        assert [model.id for model in client.models.list()] == ["chat", "qwen", "text2sql", "embed"]
        assert client.models.retrieve("qwen").id == "qwen"
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model="gpt-9", messages=ASKED["messages"])
        assert missing.value.code == "model_not_found"
        stub.mode = "error mid"
        with pytest.raises(openai.APIError, match="out of blocks"):
            list(client.chat.completions.create(**ASKED, stream=True))


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/models/nope", 404, "model_not_found"),
        ("GET", "/admin/backends/chat0/drain", 405, "method_not_allowed"),
    ],
)
def test_what_is_not_served_says_so(shared, method, path, status, code):
    reply = shared.http.request(method, path)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert reply.headers["x-request-id"].startswith("req_")


def test_a_path_that_the_model_does_not_serve_names_those_it_does(shared):
    reply = shared.http.post("/v1/embeddings", json={"model": "chat", "input": "x"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
    assert "/v1/chat/completions" in reply.json()["error"]["message"]


@pytest.mark.parametrize("key", [None, "Bearer wrong", "Basic x", "Bearer ", "Bearer admin-key-canary"])
def test_a_key_that_is_not_ours_is_refused_alike(shared, stub, key):
    headers = {} if key is None else {"authorization": key}
    with socket.create_connection(("127.0.0.1", shared.port)) as raw:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        raw.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{lines}content-length: 2\r\n\r\n{{}}".encode()
        )
        reply = raw.recv(65536)
    assert reply.startswith(b"HTTP/1.1 401 ")
    assert b'"code":"invalid_api_key"' in reply
    assert stub.seen == []


def test_a_models_own_400_passes_through(shared, stub):
    stub.mode = "500"
    reply = shared.chat()
    assert (reply.status_code, reply.json()["error"]["message"]) == (500, "boom")


def test_an_error_without_the_openai_shape_gets_it(shared, stub):
    stub.mode = "422 odd"
    reply = shared.chat()
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "upstream_error")


def test_a_backend_that_refuses_our_key_does_not_blame_the_clients(shared, stub):
    stub.mode = "401"
    reply = shared.chat()
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_error")
    assert "BACKEND_API_KEY" in reply.json()["error"]["message"]


@pytest.mark.parametrize("mode", ["reset before", "short"])
def test_a_broken_plain_answer_is_a_502(shared, stub, mode):
    stub.mode = mode
    reply = shared.chat()
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_error")
    until(lambda: shared.backend("chat0")["in_flight"] == 0)


@pytest.mark.parametrize(
    ("mode", "outcome"),
    [
        ("reset mid", "upstream_truncated"),
        ("no done", "upstream_truncated"),
        ("not json", "upstream_truncated"),
        ("error mid", "upstream_error"),
    ],
)
def test_a_broken_stream_ends_with_one_error_event_and_no_done(shared, stub, mode, outcome):
    stub.mode = mode
    reply = shared.chat(stream=True)
    *_, last, empty = reply.content.split(b"\n\n")
    assert empty == b""
    assert json.loads(last.removeprefix(b"data: "))["error"]["message"]
    assert reply.content.count(b'"error"') == 1
    assert b"[DONE]" not in reply.content
    assert shared.request_line(reply.headers["x-request-id"])["outcome"] == outcome


@pytest.mark.parametrize(
    ("mode", "stream", "delay_s"),
    [("hang", False, 0), ("hang", True, 0), ("hang mid", True, 0), ("plain", True, 0.2), ("plain", False, 5)],
    ids=["waiting", "waiting for a stream", "silent stream", "stream", "plain"],
)
def test_a_client_that_leaves_closes_the_backends_connection(shared, stub, mode, stream, delay_s):
    stub.mode, stub.delay_s = mode, delay_s
    body = json.dumps(ASKED | {"stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
    with socket.create_connection(("127.0.0.1", shared.port)) as raw:
        raw.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: stub.active == 1)
        if stream and mode != "hang":
            assert raw.recv(65536).startswith(b"HTTP/1.1 200")
        left = time.monotonic()
    until(lambda: stub.closed_at, 2)
    assert stub.closed_at[0] - left < 1
    assert until(lambda: shared.backend("chat0")["in_flight"] == 0)
    line = until(lambda: [each for each in shared.events("request") if each["status"] == 499])[-1]
    assert line["outcome"] == "client_gone"
