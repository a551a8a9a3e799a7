"""What people's programs use, as they use it: the openai package and LangChain, in front of a stub backend.

With real models behind: tests/e2e/test_real_clients.py.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from tests.gateway.process import KEY, Gateway, config_for, until
from tests.gateway.stub import WORDS, Stub

TEXT = "".join(WORDS)
ASK: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "capital of France?"}]}


@pytest.fixture
def client(shared: Gateway, stub: Stub) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{shared.url}/v1", api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture
def chat_model(shared: Gateway, stub: Stub) -> Iterator[Callable[..., Any]]:
    """Makes a ChatOpenAI."""
    from langchain_openai import ChatOpenAI

    with openai.DefaultHttpxClient() as http:

        def make(**more: Any) -> ChatOpenAI:
            url = f"{shared.url}/v1"
            kept = {"http_client": http, "max_retries": 0} | more
            return ChatOpenAI(model="chat", base_url=url, api_key=KEY, **kept)  # type: ignore[arg-type]

        yield make


# --- openai: answers ---------------------------------------------------------------------------------------


def test_an_answer_a_stream_and_vectors_come_as_their_types(client: openai.OpenAI) -> None:
    plain = client.chat.completions.create(**ASK)
    assert (plain.choices[0].message.content, plain.usage.total_tokens) == (TEXT, 12)
    pieces = list(client.chat.completions.create(**ASK, stream=True))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == TEXT
    assert {piece.usage for piece in pieces} == {None}, "it did not ask"
    assert client.embeddings.create(model="embed", input="a").data[0].embedding == [0.25, 0.5]
    assert [model.id for model in client.models.list()] == ["chat", "qwen", "text2sql", "embed"]
    assert client.models.retrieve("qwen").id == "qwen"


def test_usage_comes_at_a_streams_end_for_who_asks(client: openai.OpenAI) -> None:
    pieces = list(client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}))
    assert (pieces[-1].choices, pieces[-1].usage.completion_tokens) == ([], 7)
    assert {piece.usage for piece in pieces[:-1]} == {None}


def test_the_raw_answer_has_our_request_id_and_its_type(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(**ASK, extra_headers={"X-Request-ID": "mine-7"})
    assert raw.http_response.status_code == 200
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["x-client-request-id"] == "mine-7"
    assert raw.retries_taken == 0
    parsed = raw.parse()
    assert parsed.choices[0].message.content == TEXT
    assert parsed._request_id == raw.headers["x-request-id"]


def test_a_raw_stream_can_be_read_line_by_line_and_left(client: openai.OpenAI, stub: Stub) -> None:
    stub.delay_s = 0.05
    with client.chat.completions.with_streaming_response.create(**ASK, stream=True) as raw:
        assert raw.headers["content-type"].startswith("text/event-stream")
        first = next(line for line in raw.iter_lines() if line)
        assert first.startswith("data: {")
    until(lambda: stub.closed_at and not stub.active)


def test_many_at_once_from_one_async_client(shared: Gateway, stub: Stub) -> None:
    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        if number % 2:
            return (await client.chat.completions.create(**ASK)).choices[0].message.content or ""
        stream = await client.chat.completions.create(**ASK, stream=True)
        return "".join([piece.choices[0].delta.content or "" async for piece in stream])

    async def many() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{shared.url}/v1", api_key=KEY, max_retries=0) as client:
            return await asyncio.gather(*(one(client, number) for number in range(16)))

    assert set(asyncio.run(many())) == {TEXT}


def test_an_async_call_that_is_cancelled_frees_the_backend(shared: Gateway, stub: Stub) -> None:
    stub.mode = "hang"

    async def leave() -> None:
        async with openai.AsyncOpenAI(base_url=f"{shared.url}/v1", api_key=KEY, max_retries=0) as client:
            call = asyncio.ensure_future(client.chat.completions.create(**ASK))
            await asyncio.to_thread(until, lambda: stub.active)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(leave())
    until(lambda: not stub.active)
    assert len(stub.closed_at) == 1


# --- openai: errors ----------------------------------------------------------------------------------------

ERRORS: dict[str, tuple[Callable[[openai.OpenAI], Any], type[openai.APIStatusError], int, str]] = {
    "wrong key": (
        lambda client: client.with_options(api_key="no").chat.completions.create(**ASK),
        openai.AuthenticationError, 401, "invalid_api_key",
    ),
    "no such model": (
        lambda client: client.chat.completions.create(**ASK | {"model": "gpt-4"}),
        openai.NotFoundError, 404, "model_not_found",
    ),
    "no such model in the list": (
        lambda client: client.models.retrieve("gpt-4"), openai.NotFoundError, 404, "model_not_found",
    ),
    "not this model's work": (
        lambda client: client.embeddings.create(model="chat", input="a"),
        openai.NotFoundError, 404, "not_found",
    ),
    "nothing there": (
        lambda client: client.post("/nothing", cast_to=object), openai.NotFoundError, 404, "not_found",
    ),
    "wrong type": (
        lambda client: client.chat.completions.create(**ASK, extra_body={"stream": "yes"}),
        openai.BadRequestError, 400, "invalid_request",
    ),
    "longer than the model": (
        lambda client: client.chat.completions.create(**ASK, max_tokens=4096),
        openai.BadRequestError, 400, "context_length_exceeded",
    ),
    "too large": (
        lambda client: client.chat.completions.create(**ASK, extra_body={"x": "y" * 9 * 2**20}),
        openai.APIStatusError, 413, "body_too_large",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_a_refusal_is_the_exception_that_programs_expect(client: openai.OpenAI, name: str) -> None:
    call, kind, status, code = ERRORS[name]
    with pytest.raises(kind) as caught:
        call(client)
    error = caught.value
    assert type(error) is kind
    assert (error.status_code, error.code) == (status, code)
    assert error.type
    assert error.request_id is not None
    assert error.request_id.startswith("req_")
    assert len(str(error.body["message"])) > 10  # type: ignore[index]


@pytest.mark.parametrize("stream", [False, True])
def test_a_failed_backend_is_a_server_error(client: openai.OpenAI, stub: Stub, stream: bool) -> None:
    stub.mode = "reset before"
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(**ASK, stream=stream)
    assert (caught.value.status_code, caught.value.code) == (502, "upstream_error")
    stub.mode = "plain"
    assert client.chat.completions.create(**ASK).choices


@pytest.mark.parametrize("mode", ["error mid", "reset mid", "no done", "not json"])
def test_a_broken_stream_is_an_error_and_never_a_short_answer(
    client: openai.OpenAI, stub: Stub, mode: str
) -> None:
    stub.mode = mode
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(**ASK, stream=True))


def test_a_client_out_of_patience_frees_the_backend(client: openai.OpenAI, stub: Stub) -> None:
    stub.mode = "hang"
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(**ASK)
    until(lambda: stub.closed_at and not stub.active)


def test_a_deadline_in_a_header_is_kept(client: openai.OpenAI, stub: Stub) -> None:
    stub.mode = "hang"
    began = time.monotonic()
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(**ASK, extra_headers={"X-Request-Timeout": "0.3"})
    assert (caught.value.status_code, caught.value.code) == (504, "upstream_timeout")
    assert time.monotonic() - began < 10


# --- openai: trying again ----------------------------------------------------------------------------------


def test_a_client_that_comes_too_early_comes_again_when_it_was_told_to(
    start: Callable[..., Gateway], make_stub: Callable[..., Stub]
) -> None:
    stub = make_stub()
    stub.health = 503
    gateway = start(config_for(stub))
    until(lambda: gateway.lines and gateway.http.get("/health/live").status_code == 200)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(**ASK)
        assert (caught.value.status_code, caught.value.code) == (503, "model_loading")
        told_s = float(caught.value.response.headers["retry-after"])
        loaded = threading.Timer(0.2, lambda: setattr(stub, "health", 200))
        loaded.start()
        began = time.monotonic()
        raw = client.with_options(max_retries=5).chat.completions.with_raw_response.create(**ASK)
        assert time.monotonic() - began >= told_s
        loaded.join()
    assert raw.retries_taken >= 1
    assert raw.parse().choices[0].message.content == TEXT


def test_what_a_client_did_wrong_is_not_tried_again(client: openai.OpenAI, stub: Stub) -> None:
    with pytest.raises(openai.BadRequestError):
        client.with_options(max_retries=5).chat.completions.create(**ASK, max_tokens=4096)
    assert stub.seen == []


# --- LangChain ---------------------------------------------------------------------------------------------


def test_langchain_asks_streams_and_counts(chat_model: Callable[..., Any]) -> None:
    answer = chat_model().invoke("capital of France?")
    assert (answer.content, answer.usage_metadata["total_tokens"]) == (TEXT, 12)
    assert answer.response_metadata["finish_reason"] == "stop"
    pieces = list(chat_model(stream_usage=True).stream("capital of France?"))
    assert "".join(str(piece.content) for piece in pieces) == TEXT
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert (whole.usage_metadata["input_tokens"], whole.usage_metadata["output_tokens"]) == (5, 7)
    silent = list(chat_model(stream_usage=False).stream("capital of France?"))
    assert [piece.usage_metadata for piece in silent if piece.usage_metadata] == []


def test_langchain_asks_many_at_once(chat_model: Callable[..., Any]) -> None:
    async def many() -> list[Any]:
        async with openai.DefaultAsyncHttpxClient() as http:
            model = chat_model(http_async_client=http)
            answers = await model.abatch(["capital of France?"] * 8)
            streamed = [piece.content async for piece in model.astream("capital of France?")]
        return [*(answer.content for answer in answers), "".join(streamed)]

    assert set(asyncio.run(many())) == {TEXT}


def test_langchain_is_told_what_is_wrong(chat_model: Callable[..., Any]) -> None:
    with pytest.raises(openai.NotFoundError, match="There is no model"):
        chat_model().bind(model="gpt-4").invoke("hello")
