"""The main job on real models: what a person with a laptop gets from `infctl up`."""

from __future__ import annotations

import json
import math
import re
import subprocess

import httpx
import openai
import pytest

from tests.e2e.local import Platform

FRANCE = "What is the capital of France?"
QUESTION = {
    "model": "chat",
    "messages": [{"role": "user", "content": FRANCE}],
    "temperature": 0,
    "max_tokens": 32,
}


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def streamed(reply: httpx.Response) -> str:
    events = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])


def test_a_chat_question_gets_the_right_answer_through_the_gateway(platform: Platform) -> None:
    with platform.client() as client:
        reply = client.post("/v1/chat/completions", json=QUESTION)
    assert reply.status_code == 200, reply.text
    assert "Paris" in reply.json()["choices"][0]["message"]["content"]
    assert reply.headers["x-request-id"].startswith("req_")


def test_the_streamed_answer_is_the_plain_answer(platform: Platform) -> None:
    with platform.client() as client:
        plain = client.post("/v1/chat/completions", json=QUESTION).json()
        stream = client.post("/v1/chat/completions", json={**QUESTION, "stream": True})
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert streamed(stream) == plain["choices"][0]["message"]["content"]
    assert '"usage"' not in stream.text, "the client did not ask for usage"


def test_the_edge_serves_the_same_over_tls_and_http2_is_offered(platform: Platform) -> None:
    with platform.client(edge=True) as client:
        reply = client.post("/v1/chat/completions", json=QUESTION)
    assert "Paris" in reply.json()["choices"][0]["message"]["content"]
    assert reply.headers["strict-transport-security"]


def test_embeddings_have_384_numbers_and_know_a_paraphrase(platform: Platform) -> None:
    texts = ["A cat sits on the mat", "A feline rests on a rug", "The stock market fell today"]
    with platform.client() as client:
        data = client.post("/v1/embeddings", json={"model": "embed", "input": texts}).json()["data"]
    cat, feline, stocks = (item["embedding"] for item in data)
    assert len(cat) == 384
    assert cosine(cat, feline) > cosine(cat, stocks)


def test_rerank_puts_the_right_document_first(platform: Platform) -> None:
    documents = ["London is a city", "Paris is the capital of France", "Bananas are yellow"]
    with platform.client() as client:
        reply = client.post("/v1/rerank", json={"model": "rerank", "query": FRANCE, "documents": documents})
    results = reply.json()["results"]
    assert results[0]["index"] == 1
    assert results[0]["relevance_score"] > results[1]["relevance_score"]


def test_score_prefers_the_right_document(platform: Platform) -> None:
    body = {
        "model": "rerank",
        "text_1": FRANCE,
        "text_2": ["Bananas are yellow", "Paris is the capital of France"],
    }
    with platform.client() as client:
        wrong, right = client.post("/v1/score", json=body).json()["data"]
    assert right["score"] > wrong["score"]


def test_text2sql_needs_no_model_name(platform: Platform) -> None:
    body = {"messages": [{"role": "user", "content": "Show all users"}], "max_tokens": 16, "temperature": 0}
    with platform.client() as client:
        reply = client.post("/v1/text2sql", json=body)
    assert reply.status_code == 200, reply.text
    assert reply.json()["choices"][0]["message"]["content"]


def test_plain_completions_answer(platform: Platform) -> None:
    body = {"model": "chat", "prompt": "The capital of France is", "max_tokens": 4, "temperature": 0}
    with platform.client() as client:
        reply = client.post("/v1/completions", json=body)
    assert "Paris" in reply.json()["choices"][0]["text"]


def test_the_responses_api_answers_too(platform: Platform) -> None:
    body = {"model": "chat", "input": FRANCE, "temperature": 0, "max_output_tokens": 32}
    with platform.client() as client:
        reply = client.post("/v1/responses", json=body)
    assert "Paris" in reply.json()["output"][0]["content"][0]["text"], reply.text


def test_the_official_client_does_chat_streaming_embeddings_and_models(platform: Platform) -> None:
    with openai.OpenAI(base_url=f"{platform.url}/v1", api_key=platform.key, max_retries=0) as client:
        messages = [{"role": "user", "content": FRANCE}]
        plain = client.chat.completions.create(model="chat", messages=messages, temperature=0, max_tokens=32)
        pieces = client.chat.completions.create(
            model="chat", messages=messages, temperature=0, max_tokens=32, stream=True
        )
        text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
        vector = client.embeddings.create(model="embed", input="hello").data[0].embedding
        names = {model.id for model in client.models.list()}
    assert "Paris" in (plain.choices[0].message.content or "")
    assert text == plain.choices[0].message.content
    assert len(vector) == 384
    assert {"chat", "embed"} <= names


def test_a_wrong_key_is_refused_and_vllm_is_not_reachable_without_one(platform: Platform) -> None:
    reply = httpx.post(
        f"{platform.url}/v1/chat/completions", json=QUESTION, headers={"authorization": "Bearer x"}
    )
    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "invalid_api_key"
    with platform.client() as client:
        key = {"authorization": f"Bearer {admin(platform)}"}
        backends = client.get("/admin/backends", headers=key)
    for backend in backends.json()["backends"]:
        assert httpx.get(f"{backend['url']}/v1/models").status_code == 401


def admin(platform: Platform) -> str:
    return platform.env.get("ADMIN_API_KEY") or platform.key


def test_up_showed_the_answer_the_table_and_three_curl_lines_that_work(platform: Platform) -> None:
    assert "Paris" in platform.output
    assert re.search(r"chat\b.*\bready", platform.output)
    lines = platform.output.replace("\\\n", " ").splitlines()
    setup = [line.strip() for line in lines if line.strip().startswith("set -a")]
    curls = [line.strip() for line in lines if line.strip().startswith("curl ")]
    assert len(curls) == 3
    assert platform.key not in platform.output
    for curl in curls:
        script = "\n".join([*setup, curl])
        done = subprocess.run(  # the lines are copied as a person would
            ["bash", "-c", script],
            cwd=platform.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{curl}\n{done.stderr}"
        assert '"error"' not in done.stdout, f"{curl}\n{done.stdout}"


def test_health_deep_asks_every_model(platform: Platform) -> None:
    done = platform.run("health", "--deep", timeout_s=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Paris" in done.stdout


def test_up_twice_changes_nothing(platform: Platform) -> None:
    before = platform.pids()
    done = platform.run("up", "-y", timeout_s=120)
    assert done.returncode == 0, done.stderr
    assert platform.pids() == before


def test_logs_name_the_service_on_each_line(platform: Platform) -> None:
    done = platform.run("logs", "--tail", "5")
    assert done.returncode == 0
    names = {line.split()[0].strip("|") for line in done.stdout.splitlines() if line.strip()}
    assert {"chat", "embed", "gateway"} <= names


def test_the_documentation_page_needs_no_other_host(platform: Platform) -> None:
    with platform.client() as client:
        page = client.get("/docs")
        document = client.get("/openapi.json").json()
    assert page.status_code == 200
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    assert "https://" not in page.text
    assert {"/v1/chat/completions", "/v1/rerank", "/admin/backends", "/health"} <= document["paths"].keys()


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_health_pages_are_open(platform: Platform, path: str) -> None:
    assert httpx.get(platform.url + path).status_code == 200
