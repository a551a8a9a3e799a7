"""A reload: whole or not at all, told to whoever asked for it, and nothing under way notices."""

from __future__ import annotations

import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from tests.gateway.process import KEY, config_for, until


def reload(gateway, config):
    gateway.write(config | {"listen": {"port": gateway.port}})
    done = gateway.admin("POST", "/admin/reload")
    assert done.status_code == 200, done.text
    return done.json()


def test_the_control_plane_reloads_and_says_what_is_gone(start, make_stub):
    first, second = make_stub("first"), make_stub("second")
    both, one = config_for(first, second), config_for(first)
    gateway = start(both).wait_ready(3)
    for _ in range(2):
        assert reload(gateway, one) == {"reloaded": True, "gone": ["chat1"], "warnings": []}
        assert {gateway.chat().json()["backend"] for _ in range(4)} == {"first"}
        assert reload(gateway, both)["gone"] == []
        until(lambda: gateway.backend("chat1")["state"] == "ready")
    assert {gateway.chat().json()["backend"] for _ in range(4)} == {"first", "second"}
    moved = both | {"listen": {"port": gateway.port, "host": "127.0.0.2"}}
    gateway.write(moved)
    assert "takes a restart" in gateway.admin("POST", "/admin/reload").json()["warnings"][0]


def test_only_an_admin_reloads(shared):
    assert shared.http.post("/admin/reload").status_code == 401
    assert shared.http.get("/admin/reload").status_code == 405
    assert not shared.events("reloaded")


REFUSED = [
    ("models: [", "did not find expected node content"),
    ("models: []\ncolour: 1", "colour"),
    ("models: []\nkeys: {shared_env: NOT_THERE}", "NOT_THERE is not set"),
    ("models: []\nbreaker: {failures: 0}", "breaker.failures"),
]


def test_a_refused_reload_changes_nothing_and_every_operator_is_told_why(start, make_stub):
    gateway = start(config_for(make_stub())).wait_ready(2)
    before = gateway.detailed()
    for text, says in REFUSED:
        gateway.lines.clear()
        gateway.file.write_text(text)
        refused = gateway.admin("POST", "/admin/reload")
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (422, "invalid_configuration")
        assert says in error["message"]
        gateway.signal(signal.SIGHUP)
        until(lambda: len(gateway.events("reload_refused")) == 2)
        assert all(says in line["problems"][0] for line in gateway.events("reload_refused"))
        after = gateway.detailed()
        assert says in after["warnings"][-1]
        assert [each["id"] for each in after["backends"]] == [each["id"] for each in before["backends"]]
        assert gateway.chat().status_code == 200
    assert 'infctl_config_reloads_total{outcome="refused"} 8.0' in gateway.http.get("/metrics").text
    assert reload(gateway, gateway.config)["warnings"] == []  # and what was refused is forgotten
    assert gateway.detailed()["warnings"] == []


def test_who_waits_for_a_place_keeps_its_time_and_its_turn(start, make_stub):
    stub = make_stub()
    stub.mode = "hang"
    config = config_for(stub, queue={"timeout_s": 30.0})
    config["models"][0]["backends"][0]["concurrency"] = 1
    gateway = start(config).wait_ready(2)
    with ThreadPoolExecutor(2) as pool:
        held = socket.create_connection(("127.0.0.1", gateway.port))
        body = b'{"model":"chat","messages":[{"role":"user","content":"x"}]}'
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        held.sendall(head.encode() + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        until(lambda: stub.active == 1)
        waiter = pool.submit(gateway.chat)
        until(lambda: gateway.detailed()["models"][0]["waiting"] == 1)
        reload(gateway, config | {"queue": {"timeout_s": 0.2}})
        late = gateway.chat()  # who comes now has the new time
        assert (late.status_code, late.json()["error"]["code"]) == (503, "queue_timeout")
        assert not waiter.done()  # which has waited for longer
        stub.mode = "plain"
        held.close()
        assert waiter.result().status_code == 200
    until(lambda: gateway.backend("chat0")["in_flight"] == 0)


def test_a_waiter_is_served_by_a_backend_that_a_reload_brings(start, make_stub):
    stub, other = make_stub("a"), make_stub("b")
    stub.mode = "hang"
    config = config_for(stub, queue={"timeout_s": 30.0})
    config["models"][0]["backends"][0]["concurrency"] = 1
    gateway = start(config).wait_ready(2)
    with ThreadPoolExecutor(2) as pool:
        pool.submit(gateway.chat)
        until(lambda: stub.active == 1)
        waiter = pool.submit(gateway.chat)
        until(lambda: gateway.detailed()["models"][0]["waiting"] == 1)
        config["models"][0]["backends"].append({"id": "chat1", "url": other.url})
        reload(gateway, config)
        assert waiter.result().json()["backend"] == "b"
        stub.stop()


def test_an_open_stream_keeps_its_time_outs_and_its_backend(start, make_stub):
    """The backend pauses longer than the new time-out allows, and is gone from the new configuration."""
    leaves, stays = make_stub("leaves"), make_stub("stays")
    leaves.delay_s = 1.3
    gateway = start(config_for(stays, leaves)).wait_ready(3)
    gateway.admin("POST", "/admin/backends/chat0/drain")
    call = {"model": "chat", "messages": [{"role": "user", "content": "x"}], "stream": True}
    with gateway.http.stream("POST", "/v1/chat/completions", json=call) as reply:
        events = filter(None, reply.iter_lines())
        next(events)
        reload(gateway, config_for(stays, timeouts={"stream_idle_s": 0.3, "total_s": 0.5, "drain_s": 5.0}))
        until(lambda: [line for line in gateway.events("reloaded") if line["gone"] == ["chat1"]])
        for _ in range(2):
            assert "choices" in next(events)
        leaves.delay_s = 0.0
        assert list(events)[-1] == "data: [DONE]"
    until(lambda: not leaves.connections)  # its pool is closed behind the last call
    gateway.admin("POST", "/admin/backends/chat0/undrain")
    stays.mode = "hang mid"
    assert b"upstream_timeout" in gateway.chat(stream=True).content


def test_the_pool_of_a_backend_that_goes_is_closed_and_that_of_one_that_stays_is_not(start, make_stub):
    stays, goes = make_stub("stays"), make_stub("goes")
    gateway = start(config_for(stays, goes, upstream={"idle_s": 60.0})).wait_ready(3)
    assert {gateway.chat().json()["backend"] for _ in range(4)} == {"stays", "goes"}
    kept = set(stays.connections)
    assert goes.connections
    reload(gateway, config_for(stays, upstream={"idle_s": 60.0}))
    until(lambda: not goes.connections)
    assert kept & set(stays.connections)


def test_breaker_counts_and_drain_of_a_backend_that_stays_are_kept(start, make_stub):
    stubs = [make_stub("a"), make_stub("b")]
    breaker = {"failures": 2, "recovery_s": 600.0}
    gateway = start(config_for(*stubs, breaker=breaker)).wait_ready(3)
    stubs[1].mode = "500"
    until(lambda: gateway.chat().content and gateway.events("breaker_open"))
    gateway.admin("POST", "/admin/backends/embed/drain")
    before = {each: gateway.backend(each) for each in ("chat0", "chat1", "embed")}
    reload(gateway, config_for(*stubs, breaker=breaker | {"failures": 7}, cache={"enabled": False}))
    for name, was in before.items():
        now = gateway.backend(name)
        same = ("state", "in_flight", "requests", "errors")
        assert {each: now[each] for each in same} == {each: was[each] for each in same}
        assert now["breaker"]["state"] == was["breaker"]["state"]
        assert now["breaker"]["opened"] == was["breaker"]["opened"]
    assert before["chat1"]["breaker"]["state"] == "open"
    assert before["embed"]["state"] == "drained"
    assert {gateway.chat().json()["backend"] for _ in range(4)} == {"a"}


def test_the_cache_follows_its_new_settings_and_is_emptied_when_switched_off(start, make_stub):
    stub = make_stub()
    config = config_for(stub)
    gateway = start(config).wait_ready(2)

    def ask(text):
        answer = gateway.http.post("/v1/embeddings", json={"model": "embed", "input": text})
        return answer.headers.get("x-cache")

    assert [ask("a"), ask("a")] == ["miss", "hit"]
    reload(gateway, config | {"timeouts": {"total_s": 50.0}})
    assert ask("a") == "hit"  # what changed has nothing to do with it
    reload(gateway, config | {"cache": {"entries": 1}})
    assert [ask("a"), ask("b"), ask("a")] == ["hit", "miss", "miss"]
    reload(gateway, config | {"cache": {"ttl_s": 0.05}})
    time.sleep(0.06)
    assert ask("a") == "miss"
    reload(gateway, config | {"cache": {"enabled": False}})
    assert [ask("a"), ask("a")] == [None, None]
    assert "infctl_cache_entries 0.0" in gateway.http.get("/metrics").text
    reload(gateway, config)
    assert [ask("a"), ask("a")] == ["miss", "hit"]
