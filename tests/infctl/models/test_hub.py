"""Asking the hub: what it may answer, and that the token goes to nobody else. A loopback server plays it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from infctl.errors import PlanError
from infctl.models import headers
from infctl.models.hub import FIRST_BYTES, REDIRECTS_MAX, SHARDS_MAX, Hub, HubError, _next, connect, offline

MODEL = "org/name"
TOKEN = "hf_secret"


@pytest.fixture
def hub(fake_hub: Any) -> Iterator[Hub]:
    found = Hub(fake_hub.url, 5.0, TOKEN)
    yield found
    found.close()


def refused(hub: Hub, revision: str = "main") -> HubError:
    with pytest.raises(HubError) as caught:
        hub.model(MODEL, revision)
    return caught.value


def test_a_model_is_its_config_and_the_bytes_of_its_weights(hub: Hub, fake_hub: Any, builders: Any) -> None:
    fake_hub.put(MODEL, "config.json", builders.config_bytes)
    fake_hub.put(MODEL, headers.SINGLE, builders.checkpoint({"w": ("BF16", [100, 64])}))
    found = hub.model(MODEL, "main")
    assert json.loads(found.config) == builders.config
    assert found.stored_bytes == 12_800
    assert found.origin == "127.0.0.1, weights from headers"
    assert found.warnings == ()
    assert {authorization for _, _, authorization in fake_hub.asked} == {f"Bearer {TOKEN}"}
    assert [span for _, span, _ in fake_hub.asked if span] == [f"bytes=0-{FIRST_BYTES - 1}"]


def test_a_revision_is_one_step_of_the_path(hub: Hub, fake_hub: Any, builders: Any) -> None:
    fake_hub.put(MODEL, "config.json", builders.config_bytes, revision="refs%2Fpr%2F1")
    assert hub.model(MODEL, "refs/pr/1").stored_bytes is None


def test_a_long_header_takes_a_second_question(hub: Hub, fake_hub: Any, builders: Any) -> None:
    fake_hub.put(MODEL, "config.json", builders.config_bytes)
    tensors = {f"model.layers.{n}.self_attn.q_proj.weight": ("I8", [1]) for n in range(3_000)}
    content = builders.checkpoint(tensors)
    fake_hub.put(MODEL, headers.SINGLE, content)
    assert hub.model(MODEL, "main").stored_bytes == 3_000
    end = len(content) - 3_000
    assert end > FIRST_BYTES
    assert [span for _, span, _ in fake_hub.asked if span][1] == f"bytes={FIRST_BYTES}-{end - 1}"


def test_a_server_without_ranges_is_read_no_further_than_the_header(
    hub: Hub, fake_hub: Any, builders: Any
) -> None:
    fake_hub.put(MODEL, "config.json", builders.config_bytes)
    content = builders.checkpoint({"w": ("I8", [64 * 2**20])})
    sent = []

    def whole(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        for at in range(0, len(content), 2**20):
            handler.wfile.write(content[at : at + 2**20])
            sent.append(at)

    fake_hub.answers[f"/{MODEL}/resolve/main/{headers.SINGLE}"] = whole
    assert hub.model(MODEL, "main").stored_bytes == 64 * 2**20
    assert len(sent) < 60


def put_shards(fake_hub: Any, builders: Any, count: int, total: int | None) -> None:
    fake_hub.put(MODEL, "config.json", builders.config_bytes)
    places = {f"w{n}": f"model-{n:05}.safetensors" for n in range(count)}
    for tensor, name in places.items():
        fake_hub.put(MODEL, name, builders.checkpoint({tensor: ("F32", [8])}))
    index = {"metadata": {"total_size": total}, "weight_map": places}
    fake_hub.put(MODEL, headers.INDEX, json.dumps(index).encode())


def test_the_headers_of_all_parts_are_summed(hub: Hub, fake_hub: Any, builders: Any) -> None:
    put_shards(fake_hub, builders, 12, 7)
    found = hub.model(MODEL, "main")
    assert (found.stored_bytes, found.origin) == (12 * 32, "127.0.0.1, weights from headers")


def test_of_very_many_parts_the_index_is_believed(hub: Hub, fake_hub: Any, builders: Any) -> None:
    put_shards(fake_hub, builders, SHARDS_MAX + 1, 1_056)
    found = hub.model(MODEL, "main")
    assert (found.stored_bytes, found.origin) == (1_056, "127.0.0.1, weights from the index")
    assert not any(span for _, span, _ in fake_hub.asked)


def test_where_a_part_cannot_be_read_the_index_is_believed(hub: Hub, fake_hub: Any, builders: Any) -> None:
    put_shards(fake_hub, builders, 3, 96)
    fake_hub.answers[f"/{MODEL}/resolve/main/model-00001.safetensors"] = builders.refuse(500)
    assert hub.model(MODEL, "main").stored_bytes == 96


def test_damaged_headers_leave_the_weights_to_be_computed(hub: Hub, fake_hub: Any, builders: Any) -> None:
    fake_hub.put(MODEL, "config.json", builders.config_bytes)
    fake_hub.put(MODEL, headers.SINGLE, b"\xff" * 100)
    found = hub.model(MODEL, "main")
    assert (found.stored_bytes, found.origin) == (None, "127.0.0.1, weights computed")
    assert "a header has 2 to" in found.warnings[0]


def test_a_sentence_encoders_own_files_are_read(hub: Hub, fake_hub: Any, builders: Any) -> None:
    config = {**builders.config, "architectures": ["BertModel"], "model_type": "bert"}
    fake_hub.put(MODEL, "config.json", json.dumps(config).encode())
    fake_hub.put(MODEL, "modules.json", b"[]")
    fake_hub.put(MODEL, "sentence_roberta_config.json", b'{"max_seq_length": 256}')
    fake_hub.put(MODEL, "tokenizer_config.json", b'{"model_max_length": 1e30}')
    beside = hub.model(MODEL, "main").beside
    assert (beside.max_seq_length, beside.tokenizer_max_length, beside.pooling) == (256, None, True)


def test_a_generating_model_is_asked_for_no_more_than_it_needs(
    hub: Hub, fake_hub: Any, builders: Any
) -> None:
    fake_hub.put(MODEL, "config.json", builders.config_bytes)
    hub.model(MODEL, "main")
    assert fake_hub.names == ["config.json", "modules.json", headers.INDEX, headers.SINGLE]


@pytest.mark.parametrize(
    ("status", "code", "why", "message", "hint"),
    [
        (401, "", "refused", "wants a token (401)", "HF_TOKEN"),
        (403, "GatedRepo", "refused", "refuses (403)", "accept its licence"),
        (404, "RepoNotFound", "missing", "has no such model", "look at the name"),
        (404, "RevisionNotFound", "missing", "has no such revision", "look at the name"),
        (404, "", "missing", "has no such file", "look at the name"),
        (416, "", "answer", "no such part", ""),
        (418, "", "answer", "status 418", ""),
        (204, "", "answer", "status 204", ""),
        (429, "", "unreachable", "too many questions (429); it says to come back in 30 s", ""),
        (500, "", "unreachable", "status 500", ""),
        (503, "", "unreachable", "status 503", ""),
    ],
)
def test_every_refusal_has_its_words(
    hub: Hub, fake_hub: Any, builders: Any, status: int, code: str, why: str, message: str, hint: str
) -> None:
    answer = builders.refuse(status, X_Error_Code=code, Retry_After="30")
    fake_hub.answers[f"/{MODEL}/resolve/main/config.json"] = answer
    error = refused(hub)
    assert (error.why, TOKEN in str(error) + error.hint) == (why, False)
    assert message in str(error)
    assert hint in error.hint


def test_a_hub_that_cannot_be_reached_is_asked_once_a_run(hub: Hub, fake_hub: Any, builders: Any) -> None:
    fake_hub.answers[f"/{MODEL}/resolve/main/config.json"] = builders.refuse(503)
    first = refused(hub)
    assert refused(hub, "other") is first
    assert len(fake_hub.asked) == 1


def test_a_model_that_is_missing_does_not_close_the_hub(hub: Hub, fake_hub: Any, builders: Any) -> None:
    assert refused(hub, "other").why == "missing"
    fake_hub.put(MODEL, "config.json", builders.config_bytes)
    assert hub.model(MODEL, "main").config


@pytest.fixture
def patience() -> Iterator[threading.Event]:
    """Set at the end: what a slow server waits for."""
    event = threading.Event()
    yield event
    event.set()


def test_a_silent_hub_is_given_up_in_time(fake_hub: Any, patience: threading.Event) -> None:
    fake_hub.answers[f"/{MODEL}/resolve/main/config.json"] = lambda _: patience.wait(30)
    began = time.monotonic()
    hub = Hub(fake_hub.url, 0.5)
    error = refused(hub)
    hub.close()
    assert (error.why, str(error)) == ("unreachable", "127.0.0.1 did not answer within 0.5 s")
    assert time.monotonic() - began < 5


def test_a_hub_that_drips_is_given_up_in_time(fake_hub: Any, patience: threading.Event) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while not patience.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    fake_hub.answers[f"/{MODEL}/resolve/main/config.json"] = drip
    hub = Hub(fake_hub.url, 1.0)
    error = refused(hub)
    hub.close()
    assert (error.why, str(error)) == ("unreachable", "127.0.0.1 answers too slowly")


def test_a_cut_connection_is_no_answer(hub: Hub, fake_hub: Any) -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"{")
        handler.close_connection = True

    fake_hub.answers[f"/{MODEL}/resolve/main/config.json"] = cut
    error = refused(hub)
    assert error.why == "unreachable"
    assert "cannot be reached" in str(error)


def test_nobody_at_the_address_is_no_answer() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        hub = Hub(f"http://127.0.0.1:{taken.getsockname()[1]}", 5.0)
        assert refused(hub).why == "unreachable"
        hub.close()


def test_an_answer_that_is_no_http_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-nothing\r\n\r\n")

        threading.Thread(target=talk, daemon=True).start()
        hub = Hub(f"http://127.0.0.1:{server.getsockname()[1]}", 5.0)
        assert refused(hub).why == "unreachable"
        hub.close()


def test_a_config_of_a_gigabyte_is_not_taken(hub: Hub, fake_hub: Any, patience: threading.Event) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(2**30))
        handler.end_headers()
        while not patience.is_set():
            handler.wfile.write(b" " * 2**20)

    fake_hub.answers[f"/{MODEL}/resolve/main/config.json"] = endless
    error = refused(hub)
    assert (error.why, "longer than 4,194,304 bytes" in str(error)) == ("answer", True)


def test_a_compressed_answer_is_refused_for_its_size_is_unknown(hub: Hub, fake_hub: Any) -> None:
    accepted = []

    def packed(handler: BaseHTTPRequestHandler) -> None:
        accepted.append(handler.headers["accept-encoding"])
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", "3")
        handler.end_headers()
        handler.wfile.write(b"abc")

    fake_hub.answers[f"/{MODEL}/resolve/main/config.json"] = packed
    assert refused(hub).why == "answer"
    assert accepted == ["identity"]


@pytest.mark.parametrize("told", ["bytes 5-131076/9999999", "bytes 0-999999/9999999", "0-4/5", ""])
def test_another_part_than_was_asked_for_is_refused(
    hub: Hub, fake_hub: Any, builders: Any, told: str
) -> None:
    fake_hub.put(MODEL, "config.json", builders.config_bytes)
    content = builders.checkpoint({"w": ("F32", [4])})

    def other(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", told)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    fake_hub.answers[f"/{MODEL}/resolve/main/{headers.SINGLE}"] = other
    found = hub.model(MODEL, "main")
    assert found.stored_bytes is None
    assert "another part of the file" in found.warnings[0]


def test_a_header_that_says_it_is_huge_is_not_fetched(hub: Hub, fake_hub: Any, builders: Any) -> None:
    fake_hub.put(MODEL, "config.json", builders.config_bytes)
    fake_hub.put(MODEL, headers.SINGLE, (2**40).to_bytes(8, "little") + b"{}")
    found = hub.model(MODEL, "main")
    assert "1,099,511,627,776" in found.warnings[0]
    assert len([span for _, span, _ in fake_hub.asked if span]) == 1


def test_redirects_are_followed_and_the_token_stays_with_the_hub(
    new_hub: Callable[[], Any], builders: Any
) -> None:
    """The hub redirects to a store on another host; it never sees the token."""
    front, store = new_hub(), new_hub()
    store.files["/blobs/1"] = builders.config_bytes
    path = f"/{MODEL}/resolve/main/config.json"
    front.answers[path] = builders.refuse(302, Location="/elsewhere")
    front.answers["/elsewhere"] = builders.refuse(307, Location=f"{store.url}/blobs/1")
    hub = Hub(front.url, 5.0, TOKEN)
    assert hub.model(MODEL, "main").config == builders.config_bytes.decode()
    hub.close()
    assert [asked[2] for asked in front.asked][:2] == [f"Bearer {TOKEN}"] * 2
    assert store.asked == [("/blobs/1", None, None)]


def test_the_token_comes_back_only_with_the_hub_itself(new_hub: Callable[[], Any], builders: Any) -> None:
    front, store = new_hub(), new_hub()
    front.files["/again"] = builders.config_bytes
    front.answers[f"/{MODEL}/resolve/main/config.json"] = builders.refuse(302, Location=f"{store.url}/blob")
    store.answers["/blob"] = builders.refuse(302, Location=f"{front.url}/again")
    hub = Hub(front.url, 5.0, TOKEN)
    hub.model(MODEL, "main")
    hub.close()
    assert store.asked == [("/blob", None, None)]


def test_a_circle_of_redirects_is_left(hub: Hub, fake_hub: Any, builders: Any) -> None:
    path = f"/{MODEL}/resolve/main/config.json"
    fake_hub.answers[path] = builders.refuse(302, Location=path)
    assert f"redirects more than {REDIRECTS_MAX} times" in str(refused(hub))
    assert len(fake_hub.asked) == REDIRECTS_MAX + 1


@pytest.mark.parametrize(
    "location", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://:80/", "http://[", "http://h:99999/", ""]
)
def test_a_redirect_to_no_address_is_refused(hub: Hub, fake_hub: Any, builders: Any, location: str) -> None:
    fake_hub.answers[f"/{MODEL}/resolve/main/config.json"] = builders.refuse(302, Location=location)
    assert refused(hub).why == "answer"
    assert len(fake_hub.asked) == 1


def test_a_redirect_out_of_tls_is_refused() -> None:
    with pytest.raises(HubError, match="without TLS"):
        _next("https://hub.example/a", "http://hub.example/a")
    assert _next("https://hub.example/a", "/b") == "https://hub.example/b"


def test_the_token_is_not_shown_with_the_hub() -> None:
    assert TOKEN not in repr(connect({"HF_TOKEN": TOKEN}, 5.0))


def test_the_environment_names_the_hub_and_the_token() -> None:
    found = connect({"HF_ENDPOINT": "https://hub.example/", "HF_TOKEN": " hf_x\n"}, 5.0)
    assert (found.endpoint, found.token) == ("https://hub.example", "hf_x")
    assert connect({}, 5.0).endpoint.startswith("https://")
    assert connect({"HF_TOKEN": "hf_\nx: y"}, 5.0).token == ""


@pytest.mark.parametrize(
    "endpoint", ["hub.example", "ftp://hub.example", "http://", "http://[", "http://h:x"]
)
def test_an_endpoint_that_is_no_address_is_a_plan_error(endpoint: str) -> None:
    with pytest.raises(PlanError, match="HF_ENDPOINT is not the address of a hub"):
        connect({"HF_ENDPOINT": endpoint}, 5.0)


@pytest.mark.parametrize(
    ("value", "said"), [("1", True), ("true", True), ("On", True), ("0", False), ("", False), ("no", False)]
)
def test_offline_is_said_as_the_hubs_own_library_reads_it(value: str, said: bool) -> None:
    assert offline({"HF_HUB_OFFLINE": value}) is said


def test_a_web_page_instead_of_a_config_is_no_answer_of_a_hub(hub: Hub, fake_hub: Any) -> None:
    fake_hub.put(MODEL, "config.json", b"\n<html>Log in to the network</html>")
    with pytest.raises(HubError, match=r"a web page instead of config\.json") as caught:
        hub.model(MODEL, "main")
    assert caught.value.why == "answer"
    assert "HTTPS_PROXY" in caught.value.hint
