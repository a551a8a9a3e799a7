"""A replica that does worse than the others is passed over, comes back, and is never the last to go."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.gateway.process import config_for, until

OUTLIERS = {"enabled": True, "interval_s": 0.5, "requests": 5, "eject_s": 0.5, "eject_max_s": 2.0}


@pytest.fixture
def load():
    """Calls from four clients, until the test is over."""
    stop, answers = threading.Event(), []
    with ThreadPoolExecutor(4) as pool:

        def go(gateway):
            def ask():
                while not stop.is_set():
                    answers.append(gateway.chat().json().get("backend"))

            for _ in range(4):
                pool.submit(ask)
            return answers

        yield go
        stop.set()


def watched(*stubs, **extra):
    return config_for(*stubs, breaker={"enabled": False}, outliers=OUTLIERS | extra)


def test_who_fails_more_than_the_others_is_passed_over_and_comes_back(start, make_stub, load):
    stubs = [make_stub(name) for name in "abc"]
    for stub in stubs:
        stub.delay_s = 0.02
    gateway = start(watched(*stubs)).wait_ready(4)
    stubs[2].mode = "500"
    answers = load(gateway)
    [line] = until(lambda: gateway.events("backend_ejected")[:1])
    assert (line["backend"], line["why"], line["value"], line["others"]) == ("chat2", "failures", 1.0, 0.0)
    assert line["pause_s"] == 0.5
    assert gateway.backend("chat2")["breaker"]["state"] != "closed"
    assert 'reason="failures"} ' in gateway.http.get("/metrics").text.replace('outcome="ejected",', "")
    stubs[2].mode = "plain"
    until(lambda: gateway.events("breaker_closed"))
    since = len(answers)
    until(lambda: "c" in answers[since:])


def test_who_is_slower_than_the_others_is_passed_over(start, make_stub, load):
    stubs = [make_stub(name) for name in "abc"]
    for stub in stubs:
        stub.delay_s = 0.02
    stubs[0].delay_s = 0.3
    gateway = start(watched(*stubs, failures=1.0, interval_s=3.0)).wait_ready(4)
    load(gateway)
    [line] = until(lambda: gateway.events("backend_ejected")[:1], 30)
    assert (line["backend"], line["why"]) == ("chat0", "slow")
    assert line["value"] > 4 * line["others"]


def test_the_last_fit_one_is_kept_whatever_it_does(start, make_stub, load):
    stubs = [make_stub(name) for name in "ab"]
    for stub in stubs:
        stub.delay_s = 0.02
    gateway = start(watched(*stubs, eject_s=600.0, eject_max_s=600.0)).wait_ready(3)
    answers = load(gateway)
    stubs[1].mode = "500"
    until(lambda: gateway.events("backend_ejected"))
    stubs[0].mode = "500"
    since = len(answers)
    until(lambda: len(answers) > since + 60)
    assert gateway.backend("chat0")["breaker"]["state"] == "closed"
    assert len(gateway.events("backend_ejected")) == 1


def test_nobody_is_compared_where_it_is_off(start, make_stub, load):
    stubs = [make_stub(name) for name in "ab"]
    gateway = start(watched(*stubs, enabled=False)).wait_ready(3)
    stubs[1].mode = "500"
    answers = load(gateway)
    until(lambda: len(answers) > 200)
    assert not gateway.events("backend_ejected")
