"""What an operator relies on: health, drain, reload, replicas, metrics, the log."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from gateway.metrics import METRICS
from gateway.routes import ROUTES
from tests.gateway.process import ADMIN, BACKEND, KEY, ROOT, config_for, free_port, until

MODEL = {
    "name": "chat",
    "served_name": "m",
    "tasks": ["chat"],
    "backends": [{"id": "c", "url": "http://127.0.0.1:1"}],
}


def run(folder, config, env, *more):
    """The whole program, to its end."""
    file = folder / "gateway.yaml"
    file.write_text(json.dumps(config))
    return subprocess.run(
        [sys.executable, "-m", "gateway", "--config", str(file), *more],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"} | env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


# Starting.


def test_a_missing_key_is_named_with_the_place_to_set_it(tmp_path):
    done = run(tmp_path, {"models": [MODEL], "env_file": ".env"}, {})
    assert done.returncode == 3
    assert "GATEWAY_API_KEY is not set" in done.stderr
    assert ".env" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_key_may_stand_in_the_env_file(tmp_path):
    (tmp_path / ".env").write_text("GATEWAY_API_KEY=abc\n")
    done = run(tmp_path, {"models": [MODEL], "env_file": ".env"}, {}, "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing wrong" in done.stdout


def test_the_key_may_stand_in_a_file_of_its_own(tmp_path):
    (tmp_path / "key").write_text("abc\n")
    config = {"models": [MODEL], "secret_files": {"GATEWAY_API_KEY": "key"}}
    assert run(tmp_path, config, {}, "--check").returncode == 0
    (tmp_path / "key").unlink()
    done = run(tmp_path, config, {}, "--check")
    assert done.returncode == 3
    assert "secret_files: GATEWAY_API_KEY: key: " in done.stderr


def test_no_key_at_all_is_for_loopback_only(tmp_path):
    open_config = {"models": [MODEL], "keys": {"shared_env": None}}
    assert run(tmp_path, open_config, {}, "--check").returncode == 0
    done = run(tmp_path, open_config | {"listen": {"host": "0.0.0.0"}}, {}, "--check")
    assert done.returncode == 3
    assert "keys.shared_env" in done.stderr


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"models": [MODEL], "colour": 1}, "colour"),
        ({"models": [MODEL | {"backends": [{"id": "c", "url": "https://x"}]}]}, "url"),
        ({"models": [MODEL, MODEL | {"name": "b"}]}, "the id 'c'"),
        ({"models": []} | {"version": 2}, "version"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused_with_the_field(tmp_path, config, says):
    done = run(tmp_path, config, {"GATEWAY_API_KEY": "k"})
    assert done.returncode == 3
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_a_clear_message_and_exit_code_5(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, {"models": [MODEL], "listen": {"port": port}}, {"GATEWAY_API_KEY": "k"})
    assert done.returncode == 5
    line = json.loads(done.stdout)
    assert line["event"] == "not_started"
    assert f"127.0.0.1:{port}" in line["why"]
    assert "in use" in line["why"]
    assert done.stderr == ""


@pytest.mark.parametrize("argv", [[], ["--config"], ["x"], ["--config", "a", "--nope"]])
def test_a_wrong_command_line_shows_the_usage(argv):
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *argv], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 64
    assert done.stderr.startswith("usage:")


def test_nothing_heavy_is_loaded_to_serve():
    code = "import sys, gateway.app; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not {"fastapi", "starlette", "pydantic", "prometheus_client", "httpx", "infctl"} & loaded
    assert not {name for name in loaded if name.startswith(("opentelemetry", "gateway.tracing"))}


def test_an_idle_gateway_is_small(shared, stub):
    shared.chat()
    status = (
        subprocess.run(
            ["cat", f"/proc/{shared.process.pid}/status"], capture_output=True, text=True, check=True
        )
    ).stdout
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    assert int(found[1]) < 45_000


# Health.


def test_health_needs_no_key_and_details_do(shared, stub):
    assert httpx.get(f"{shared.url}/health").json() == {"status": "ok"}
    assert httpx.get(f"{shared.url}/health/live").status_code == 200
    assert httpx.get(f"{shared.url}/health/ready").status_code == 200
    assert httpx.get(f"{shared.url}/health/detailed").status_code == 401
    document = shared.detailed()
    assert document["status"] == "ok"
    assert [model["name"] for model in document["models"]] == ["chat", "embed"]
    assert document["backends"][0]["state"] == "ready"
    assert document["warnings"] == []
    admin = shared.http.get("/health/detailed", headers={"authorization": f"Bearer {ADMIN}"})
    assert admin.status_code == 200


def test_head_of_health_has_no_body(shared):
    reply = httpx.head(f"{shared.url}/health")
    assert (reply.status_code, reply.content) == (200, b"")


def test_a_backend_that_was_never_ready_is_loading_then_ready(start, make_stub):
    stub = make_stub()
    stub.health = 503
    gateway = start(config_for(stub))
    until(lambda: gateway.events("started"))
    until(lambda: gateway.backend("chat0")["last_probe_s_ago"] is not None)
    assert gateway.backend("chat0")["state"] == "loading"
    reply = gateway.chat()
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_loading")
    assert int(reply.headers["retry-after"]) >= 1
    assert gateway.http.get("/health").status_code == 503
    assert gateway.http.get("/health/ready").status_code == 503
    stub.health = 200
    gateway.wait_ready(2)
    assert gateway.chat().status_code == 200


def test_the_other_replica_serves_when_one_is_killed_and_it_comes_back(start, make_stub):
    first, second = make_stub("first"), make_stub("second")
    gateway = start(config_for(first, second)).wait_ready(3)
    second.stop()
    replies = [gateway.chat() for _ in range(20)]
    assert sum(reply.status_code != 200 for reply in replies) <= 1
    assert gateway.backend("chat1")["state"] == "down"
    assert gateway.http.get("/health").json() == {"status": "degraded"}
    second.start_again()
    until(lambda: gateway.backend("chat1")["state"] == "ready")
    assert {gateway.chat().json()["backend"] for _ in range(4)} == {"first", "second"}


def test_a_model_without_a_healthy_backend_says_why(start, make_stub):
    stub = make_stub()
    gateway = start(config_for(stub)).wait_ready(2)
    stub.stop()
    until(lambda: gateway.backend("chat0")["state"] == "down")
    reply = gateway.chat()
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_healthy_backend")
    assert "chat0" in reply.json()["error"]["message"]


def test_an_unwell_backend_is_down_until_it_is_well(start, make_stub):
    first, second = make_stub("first"), make_stub("second")
    gateway = start(config_for(first, second)).wait_ready(3)
    second.health = 500
    until(lambda: gateway.backend("chat1")["state"] == "down")
    assert gateway.backend("chat1")["why"] == "/health answered 500"
    assert {gateway.chat().json()["backend"] for _ in range(4)} == {"first"}
    second.health = 200
    until(lambda: gateway.backend("chat1")["state"] == "ready")


def test_a_backend_that_hangs_is_down(start, make_stub):
    first, second = make_stub("first"), make_stub("second")
    config = config_for(first, second)
    config["probes"]["timeout_s"] = 0.3
    gateway = start(config).wait_ready(3)
    second.health = 0
    until(lambda: gateway.backend("chat1")["state"] == "down")
    assert "no answer within 0.3 s" in gateway.backend("chat1")["why"]


def test_the_less_busy_replica_gets_the_next_call(start, make_stub):
    first, second = make_stub("first"), make_stub("second")
    gateway = start(config_for(first, second)).wait_ready(3)
    first.delay_s = second.delay_s = 1.0
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(gateway.chat) for _ in range(8)]
        until(lambda: first.active + second.active == 8)
        assert (first.active, second.active) == (4, 4)
        assert gateway.backend("chat0")["in_flight"] == 4
        assert all(call.result().status_code == 200 for call in calls)
    assert gateway.backend("chat0")["in_flight"] == 0


# Drain of one backend.


def test_a_drained_backend_gets_nothing_until_it_is_undrained(start, make_stub):
    first, second = make_stub("first"), make_stub("second")
    gateway = start(config_for(first, second)).wait_ready(3)
    assert gateway.http.post("/admin/backends/chat0/drain").status_code == 401
    drained = gateway.admin("POST", "/admin/backends/chat0/drain")
    assert (drained.status_code, drained.json()["state"]) == (200, "drained")
    assert {gateway.chat().json()["backend"] for _ in range(6)} == {"second"}
    assert gateway.admin("POST", "/admin/backends/chat0/undrain").json()["state"] == "ready"
    assert {gateway.chat().json()["backend"] for _ in range(6)} == {"first", "second"}
    listed = gateway.admin("GET", "/admin/backends").json()["backends"]
    assert [each["id"] for each in listed] == ["chat0", "chat1", "embed"]
    missing = gateway.admin("POST", "/admin/backends/nope/drain")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert "chat0, chat1, embed" in missing.json()["error"]["message"]


def test_an_undrained_backend_is_looked_at_before_it_gets_a_request(start, make_stub):
    first, second = make_stub("first"), make_stub("second")
    slow = {"interval_s": 60.0, "loading_interval_s": 60.0, "timeout_s": 2.0}
    gateway = start(config_for(first, second, probes=slow)).wait_ready(3)
    gateway.admin("POST", "/admin/backends/chat0/drain")
    first.stop()
    undrained = gateway.admin("POST", "/admin/backends/chat0/undrain").json()
    assert (undrained["state"], gateway.backend("chat1")["state"]) == ("down", "ready")
    assert {gateway.chat().json()["backend"] for _ in range(4)} == {"second"}
    gateway.admin("POST", "/admin/backends/chat0/drain")
    first.start_again()
    assert gateway.admin("POST", "/admin/backends/chat0/undrain").json()["state"] == "ready"
    assert {gateway.chat().json()["backend"] for _ in range(4)} == {"first", "second"}


def test_an_undrained_backend_is_asked_on_new_connections(start, make_stub):
    stub = make_stub()
    gateway = start(config_for(stub, upstream={"idle_s": 60.0})).wait_ready(2)
    gateway.chat()
    gateway.admin("POST", "/admin/backends/chat0/drain")
    open_before = set(stub.connections)
    gateway.admin("POST", "/admin/backends/chat0/undrain")
    until(lambda: not open_before & set(stub.connections))
    assert gateway.request_line(gateway.chat().headers["x-request-id"])["attempts"] == 1


def test_a_drain_outlasts_a_reload_and_a_new_address(start, make_stub):
    first, second = make_stub("first"), make_stub("second")
    config = config_for(first, second)
    gateway = start(config).wait_ready(3)
    gateway.admin("POST", "/admin/backends/chat0/drain")
    config["models"][0]["backends"][0]["url"] = make_stub("third").url
    gateway.write(config)
    gateway.signal(signal.SIGHUP)
    until(lambda: gateway.events("reloaded"))
    assert gateway.backend("chat0")["state"] == "drained"
    assert {gateway.chat().json()["backend"] for _ in range(4)} == {"second"}


# Reload.


def test_a_reload_is_whole_or_nothing(start, make_stub):
    first, second = make_stub("first"), make_stub("second")
    config = config_for(first)
    gateway = start(config).wait_ready(2)
    gateway.chat()
    gateway.file.write_text("models: [")
    gateway.signal(signal.SIGHUP)
    until(lambda: gateway.events("reload_refused"))
    assert gateway.chat().status_code == 200
    assert "refused" in gateway.detailed()["warnings"][-1]
    config["models"][0]["backends"].append({"id": "chat1", "url": second.url})
    config["models"][0]["aliases"].append("new-name")
    gateway.write(config)
    gateway.signal(signal.SIGHUP)
    until(lambda: gateway.events("reloaded"))
    until(lambda: gateway.backend("chat1")["state"] == "ready")
    assert gateway.detailed()["warnings"] == []
    assert gateway.backend("chat0")["requests"] == 2
    assert {gateway.chat(model="new-name").json()["backend"] for _ in range(4)} == {"first", "second"}
    text = gateway.http.get("/metrics").text
    assert 'infctl_config_reloads_total{outcome="refused"} 1.0' in text
    assert 'infctl_config_reloads_total{outcome="applied"} 1.0' in text


def test_a_reload_takes_a_new_key_from_the_env_file(start, make_stub):
    config = config_for(make_stub()) | {"env_file": ".env"}
    gateway = start(config, {"ADMIN_API_KEY": ADMIN, "GATEWAY_API_KEY": ""})
    assert gateway.process.wait(10) == 3
    until(lambda: b"GATEWAY_API_KEY is not set" in gateway.errors)
    (gateway.folder / ".env").write_text(f"GATEWAY_API_KEY={KEY}\n")
    second = start(
        config | {"env_file": str(gateway.folder / ".env"), "listen": {}}, {"ADMIN_API_KEY": ADMIN}
    )
    second.wait_ready(2)
    assert second.chat().status_code == 200
    (gateway.folder / ".env").write_text("GATEWAY_API_KEY=another\n")
    second.signal(signal.SIGHUP)
    until(lambda: second.events("reloaded"))
    assert second.chat().status_code == 401
    assert second.http.get("/v1/models", headers={"authorization": "Bearer another"}).status_code == 200


def test_reloads_under_load_lose_nothing(start, make_stub):
    first, second = make_stub("first"), make_stub("second")
    with_both, with_one = config_for(first, second), config_for(first)
    gateway = start(with_both).wait_ready(3)
    first.delay_s = second.delay_s = 0.01
    stop, statuses = threading.Event(), list[int]()

    def load():
        while not stop.is_set():
            statuses.append(gateway.chat(stream=True).status_code)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(load)
        for config in (with_one, with_both) * 5:
            gateway.write(config | {"listen": {"port": gateway.port}})
            before = len(gateway.events("reloaded"))
            gateway.signal(signal.SIGHUP)
            until(lambda before=before: len(gateway.events("reloaded")) > before)
        until(lambda: len(statuses) > 20)
        stop.set()
    assert set(statuses) == {200}
    until(lambda: gateway.backend("chat0")["in_flight"] == 0)


# Stopping.


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_streams_finish_and_exits_0(start, make_stub, signum):
    stub = make_stub()
    stub.delay_s = 0.15
    gateway = start(config_for(stub)).wait_ready(2)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(gateway.chat, stream=True) for _ in range(4)]
        until(lambda: stub.active == 4)
        gateway.signal(signum)
        until(lambda: gateway.events("draining"))
        ready = gateway.http.get("/health/ready")
        assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
        assert ready.headers["connection"] == "close"
        replies = [call.result() for call in calls]
    assert all(reply.content.endswith(b"data: [DONE]\n\n") for reply in replies)
    assert gateway.stop() == 0
    assert gateway.events("stopped")[0]["cut"] == 0
    assert gateway.errors == b""


def test_what_outlasts_the_drain_ends_with_an_error_event(start, make_stub):
    stub = make_stub()
    stub.mode = "hang mid"
    config = config_for(stub) | {"timeouts": {"drain_s": 0.5}}
    gateway = start(config).wait_ready(2)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(gateway.chat, stream=True)
        until(lambda: stub.active == 1)
        time.sleep(0.1)
        gateway.signal(signal.SIGTERM)
        content = call.result().content
    last = json.loads(content.rstrip().rpartition(b"data: ")[2])
    assert last["error"]["code"] == "draining"
    assert gateway.process.wait(20) == 0
    assert gateway.events("stopped")[0]["cut"] == 1


def test_a_drain_under_load_loses_nothing(start, make_stub):
    """Whoever is told `connection: close` goes elsewhere; all before have their answers."""
    stub = make_stub()
    stub.delay_s = 0.01
    gateway = start(config_for(stub)).wait_ready(2)
    statuses, lost = list[int](), list[Exception]()

    def load():
        with httpx.Client(base_url=gateway.url, headers=dict(gateway.http.headers)) as http:
            while True:
                body = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}
                try:
                    reply = http.post("/v1/chat/completions", json=body)
                except httpx.HTTPError as error:
                    lost.append(error)
                    return
                statuses.append(reply.status_code)
                if reply.headers.get("connection") == "close":
                    return

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(load)
        until(lambda: len(statuses) > 50)
        gateway.signal(signal.SIGTERM)
    assert gateway.stop() == 0
    assert set(statuses) == {200}
    assert lost == []


# Metrics, documents, the log.


def test_metrics_are_read_by_prometheus_own_parsers(shared, stub):
    shared.chat(stream=True)
    shared.http.post("/v1/chat/completions", json={"model": "x" * 50, "messages": [{"role": "user"}]})
    text = httpx.get(f"{shared.url}/metrics").text
    families = {family.name: family for family in read_text(text)}
    assert {metric.name for metric in METRICS} <= set(families)
    models = {sample.labels.get("model") for family in families.values() for sample in family.samples}
    assert models <= {None, "chat", "embed", "other"}
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    openmetrics = httpx.get(f"{shared.url}/metrics", headers=accept)
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert {metric.name for metric in METRICS} <= {each.name for each in read_openmetrics(openmetrics.text)}
    assert 'infctl_generation_tokens_total{model="chat",tenant="127.0.0.1"}' in text


def test_metrics_are_closed_to_other_networks(start, make_stub):
    gateway = start(config_for(make_stub()) | {"metrics_open_to": ["10.0.0.0/8"]})
    until(lambda: gateway.events("started"))
    assert gateway.http.get("/metrics").status_code == 401
    assert gateway.admin("GET", "/metrics").status_code == 200
    assert httpx.get(f"{gateway.url}/metrics", headers={"x-forwarded-for": "10.1.1.1"}).status_code == 200


def test_the_openapi_document_has_every_route_and_its_schemas_resolve(shared):
    document = httpx.get(f"{shared.url}/openapi.json").json()
    wanted = {(route.path, route.method.lower()) for route in ROUTES if route.kind != "docs"}
    got = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert wanted == got
    for reference in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)):
        assert reference in document["components"]["schemas"]
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert chat["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith(
        "ChatCompletionRequest"
    )


def test_docs_load_nothing_from_elsewhere(shared):
    page = httpx.get(f"{shared.url}/docs")
    assert page.status_code == 200
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert assets
    for asset in assets:
        assert asset.startswith("/docs/")
        assert httpx.get(shared.url + asset).status_code == 200


def test_no_key_and_no_text_is_ever_logged(shared, stub):
    secret = "text-canary"
    shared.chat(messages=[{"role": "user", "content": secret}])
    shared.chat(model=5)
    shared.http.get("/v1/models", headers={"authorization": "Bearer wrong-key-canary"})
    shared.http.get(f"/nope?key={KEY}")
    last = shared.chat(stream=True).headers["x-request-id"]
    shared.request_line(last)
    for canary in (KEY, ADMIN, BACKEND, "wrong-key-canary", secret):
        assert canary.encode() not in shared.text


def test_a_refused_head_is_logged_and_counted(shared):
    with socket.create_connection(("127.0.0.1", shared.port)) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 400")
    line = until(lambda: shared.events("refused"))[0]
    assert (line["status"], line["reason"]) == (400, "invalid_request")


def test_a_body_over_the_limit_is_413(start, make_stub):
    gateway = start(config_for(make_stub()) | {"http": {"body_bytes": 1000}}).wait_ready(2)
    assert gateway.chat(pad="x" * 800).status_code == 200
    reply = gateway.chat(pad="x" * 1000)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "body_too_large")
    assert reply.headers["connection"] == "close"


def test_a_silent_backend_is_a_504(start, make_stub):
    stub = make_stub()
    gateway = start(config_for(stub) | {"timeouts": {"total_s": 0.5}}).wait_ready(2)
    stub.mode = "hang"
    reply = gateway.chat()
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "upstream_timeout")
    stub.mode = "hang mid"
    content = gateway.chat(stream=True).content
    assert b'"upstream_timeout"' in content.rpartition(b"data: ")[2]


def test_a_stopped_reader_of_the_log_stops_no_request(tmp_path, make_stub):
    stub = make_stub()
    config = config_for(stub) | {"listen": {"port": free_port()}}
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps(config))
    argv = [sys.executable, "-m", "gateway", "--config", str(file)]
    env = {"PATH": "/usr/bin:/bin", "GATEWAY_API_KEY": KEY}
    process = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE)
    url = f"http://127.0.0.1:{config['listen']['port']}"
    headers = {"authorization": f"Bearer {KEY}"}
    try:
        with httpx.Client(base_url=url, headers=headers) as http:

            def ready():
                try:
                    return http.get("/health").status_code == 200
                except httpx.HTTPError:
                    return False

            until(ready)
            for _ in range(400):  # about 200 KB of lines; a pipe holds 64
                assert http.get("/v1/models").status_code == 200
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
