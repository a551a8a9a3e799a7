"""Replaces that go wrong on a real engine: two stand-ins for vLLM, the real gateway, a real nginx, load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from infctl.engine.docker import rollout_edge
from infctl.engine.docker.engine import DockerEngine
from infctl.engine.docker.hands import Hands
from infctl.errors import EngineError
from tests.docker.host import DockerHost
from tests.e2e import rolling
from tests.e2e.load import Tally, under_load
from tests.e2e.rolling import Rolling

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
ALL = {"vllm-swap0", "vllm-swap1", "inference-gateway", "inference-nginx"}
BOTH = {"vllm-swap0": "ready", "vllm-swap1": "ready"}


@pytest.fixture(scope="module")
def running(
    docker_host: DockerHost,
    stand_in_image: str,
    gateway_image: str,
    nginx_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rolling]:
    folder = tmp_path_factory.mktemp("rollout")
    folder.chmod(0o755)
    images = {"engines": stand_in_image, "gateway": gateway_image, "edge": nginx_image}
    with rolling.platform(docker_host, folder, {"swap": rolling.stand_in(folder)}, images) as platform:
        yield platform


@pytest.fixture
def platform(running: Rolling) -> Rolling:
    """With everything as it should be, whatever the test before left."""
    running.change("models/swap/env", {})
    running.change("gateway/image", running.images["gateway"])
    running.up()
    assert running.names() == ALL
    for backend, state in running.backends().items():
        if state in ("drained", "draining"):
            running.admin("POST", f"/{backend}/undrain")
    return running


@contextmanager
def unnoticed(platform: Rolling) -> Iterator[None]:
    """Under load; no request fails while the block runs."""
    with under_load(platform.target(), limit_s=240) as load:
        yield
    tally: Tally = load.tally
    assert tally.streams
    assert (tally.failed, tally.broken) == (0, 0), tally.failures


def test_a_new_engine_that_does_not_start_makes_way_for_the_old_one(platform):
    before = platform.ids("engine")
    platform.change(
        "models/swap/env", {"STAND_IN_FAIL": "ValueError: No available memory for the cache blocks."}
    )
    with unnoticed(platform), pytest.raises(EngineError) as told:
        platform.up()
    assert "vllm-swap0 runs as it did before" in told.value.message
    assert any("No available memory for the cache blocks" in line for line in told.value.log)
    assert platform.ids("engine") == before
    assert platform.names() == ALL
    assert platform.backends() == BOTH


def test_a_new_engine_that_is_healthy_and_answers_nothing_makes_way_for_the_old_one(platform):
    before = platform.ids("engine")
    platform.change("models/swap/env", {"STAND_IN_WRONG": "1"})
    with unnoticed(platform), pytest.raises(EngineError) as told:
        platform.up()
    assert "swap0 is healthy, and answers no request: /v1/completions answered 500" in told.value.message
    assert platform.ids("engine") == before
    assert platform.backends() == BOTH


def test_the_last_replica_that_answers_is_not_taken_away(platform):
    before = platform.ids("engine")
    platform.admin("POST", "/vllm-swap1/drain")
    platform.change("models/swap/env", {"A": "1"})
    with pytest.raises(EngineError, match="vllm-swap0 is the last of swap: vllm-swap1 is drained"):
        platform.up()
    assert platform.ids("engine") == before
    assert platform.backends() == {"vllm-swap0": "ready", "vllm-swap1": "drained"}


def test_a_new_gateway_knows_what_an_operator_drained(platform):
    platform.admin("POST", "/vllm-swap1/drain")
    before = platform.ids("gateway")
    platform.change("hardening/memory", platform.profile.get("hardening", {}).get("memory", 2**30) + 2**20)
    with unnoticed(platform):
        platform.up()
    assert not platform.ids("gateway") & before
    assert platform.backends() == {"vllm-swap0": "ready", "vllm-swap1": "drained"}


def test_a_new_gateway_that_does_not_start_leaves_the_old_one_serving(platform, gateway_image):
    before, file = platform.ids("gateway"), platform.folder / "nginx" / "upstream.conf"
    text, changed = file.read_bytes(), file.stat().st_mtime_ns
    broken, images = f"{gateway_image}-broken", platform.host.images
    code = b"raise SystemExit('it is broken')\n"
    images.build(
        broken, f"FROM {gateway_image}\nCOPY main /app/gateway/__main__.py\n", [("main", code, 0o644)]
    )
    platform.change("gateway/image", broken)
    with unnoticed(platform), pytest.raises(EngineError) as told:
        platform.up()
    platform.host.client.images.remove(broken, force=True)
    assert f"inference-gateway{platform.mark} serves as it did before" in told.value.message
    assert "it is broken" in told.value.log
    assert platform.ids("gateway") == before
    assert (file.read_bytes(), file.stat().st_mtime_ns) == (text, changed)
    assert platform.names() == ALL


def test_a_replica_that_is_no_longer_wanted_ends_its_requests_first(platform):
    platform.change("models/swap/replicas", 3)
    platform.up()
    assert platform.names() == {*ALL, "vllm-swap2"}
    platform.change("models/swap/replicas", 2)
    with unnoticed(platform):
        platform.up()
    assert platform.names() == ALL
    assert platform.backends() == BOTH


def test_a_new_nginx_is_away_for_a_moment_and_says_for_how_long(platform, nginx_image):
    platform.host.images.build(f"{nginx_image}-new", f"FROM {nginx_image}\nLABEL new=1\n", [])
    platform.change("edge/image", f"{nginx_image}-new")
    told = [event for event in platform.up() if event.service == "nginx" and event.kind == "ready"]
    platform.change("edge/image", nginx_image)
    platform.up()
    platform.host.client.images.remove(f"{nginx_image}-new", force=True)
    (ready,) = told
    assert float(ready.text.removeprefix("away for ").removesuffix(" s")) < 20
    assert platform.plan() == []


def test_files_that_nginx_refuses_change_nothing_and_are_told_in_its_words(platform):
    project, stack = rolling.written(platform.folder)
    hands = Hands(DockerEngine(project.layout).client, {})
    edge = rollout_edge.running(hands, stack.projects)
    conf = platform.folder / "nginx" / "nginx.conf"
    good, upstream = conf.read_text(), edge.file.read_text()
    conf.write_text(good.replace("gzip ", "gzipp ", 1))
    try:
        with unnoticed(platform):
            for refused in (edge.check, edge.reload, lambda: edge.point(["10.0.0.1"])):
                with pytest.raises(EngineError) as told:
                    refused()
                assert any('unknown directive "gzipp"' in line for line in told.value.log)
        assert edge.file.read_text() == upstream
    finally:
        conf.write_text(good)
        hands.client.close()
    assert platform.plan() == []


def test_a_new_nginx_that_does_not_start_gives_way_to_the_old_one(platform, nginx_image, stand_in_image):
    before = platform.host.client.containers.get(f"inference-nginx{platform.mark}").id
    platform.change("edge/image", stand_in_image)
    with pytest.raises(EngineError, match="nginx"):
        platform.up()
    platform.change("edge/image", nginx_image)
    assert platform.host.client.containers.get(f"inference-nginx{platform.mark}").id == before
    assert platform.names() == ALL
    with unnoticed(platform):
        assert platform.plan() == []


# Each other step: make proof-rolling.


def test_a_replace_of_an_engine_that_is_killed_is_put_right_by_the_next_up(platform):
    before = platform.ids("engine")
    platform.change("models/swap/max_model_len", platform.profile["models"]["swap"]["max_model_len"] - 1)
    with unnoticed(platform):
        platform.killed_after("set aside")
        platform.up()
    assert not platform.ids("engine") & before
    assert platform.names() == ALL
    assert platform.backends() == BOTH
    assert platform.plan() == []


def test_a_replace_of_a_gateway_that_is_killed_is_put_right_by_the_next_up(platform):
    before = platform.ids("gateway")
    platform.change("hardening/memory", platform.profile.get("hardening", {}).get("memory", 2**30) + 2**20)
    with unnoticed(platform):
        platform.killed_after("end")
        platform.up()
    assert not platform.ids("gateway") & before
    assert platform.names() == ALL
    assert platform.plan() == []
