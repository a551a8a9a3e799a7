"""What `infctl up` learns from started engines: asked of a real server, kept in a file, told in a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from infctl.calibration import key, load, model_name
from infctl.cli import fetch, measure
from infctl.cli.actual import Start
from infctl.figure import ZERO, exactly
from infctl.plan import Plan, Replica
from infctl.profile.schema import Profile
from infctl.sizing import Card, KvCapacity, Measured, MemoryNeed
from infctl.stack import Layout, Readiness, Service, Stack
from tests.infctl.settled import settled

from .conftest import KEY, Gateway

GOLDEN = Path(__file__).parents[2] / "golden" / "vllm"
GIB = 2**30
RESOLVED = settled(
    2048,
    max_num_seqs=128,
    kv_cache_memory_bytes=GIB,
    dtype="float32",
    kv_dtype="float32",
    block_size=128,
    compiled=False,
    async_scheduling=False,
)
CPU = Card("cpu", 16 * GIB, cpu=True)


def need(tokens: int, blocks: int) -> MemoryNeed:
    return MemoryNeed(
        resolved=RESOLVED,
        card=CPU,
        budget_bytes=GIB,
        weights=ZERO,
        activation=ZERO,
        serving=ZERO,
        cudagraphs=ZERO,
        non_torch=ZERO,
        context=ZERO,
        kv_bytes=exactly(GIB),
        kv=KvCapacity(blocks, 128, 1, 16, tokens, tokens / 2048, fits=True, longest=2048),
        kv_tokens=exactly(tokens),
        fate="fits",
        reason="",
        max_model_len_that_fits=2048,
    )


PROFILE = Profile.model_validate(
    {
        "version": 1,
        "name": "toy",
        "runtime": "process",
        "gpus": "cpu",
        "models": {"chat": {"source": {"path": "weights"}, "task": "chat"}},
        "gateway": {"keys": {"shared": "${GATEWAY_API_KEY}"}},
    }
)
SECRETS = {"BACKEND_API_KEY": KEY}
NAME = model_name(PROFILE.models["chat"].source)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path, tmp_path / ".infctl" / "toy")
    made.logs.mkdir(parents=True)
    (made.logs / "chat.log").write_bytes((GOLDEN / "cpu-chat.log").read_bytes())
    return made


@pytest.fixture
def engine(gateway: Gateway) -> Gateway:
    """The server of the other tests here, in the part of vLLM."""
    gateway.answers["/version"] = (200, {"version": "0.32.0"})
    gateway.answers["/metrics"] = (200, (GOLDEN / "cpu-chat.metrics").read_bytes())
    return gateway


def service(url: str) -> Service:
    return Service(
        "chat",
        "engine",
        ("python",),
        secret_env=(("VLLM_API_KEY", "BACKEND_API_KEY"),),
        ready=Readiness(f"{url}/health", 60),
        models=("chat",),
    )


def look(service: Service, layout: Layout, secrets: dict[str, str]) -> measure.Seen:
    return measure.look([service], secrets, measure.here(layout))[service.name]


def learn(engine: Gateway, layout: Layout, tokens: int = 23_296, **more: object) -> measure.Learned:
    plan = Plan((Replica("chat", "chat", need=need(tokens, tokens // 128)),))
    stack = Stack("toy", "process", (service(engine.url),))
    options = {"started": {"chat"}, "now": 5.0, **more}
    return measure.learn(stack, plan, PROFILE, layout, SECRETS, **options)  # type: ignore[arg-type]


def test_a_start_is_told_beside_its_plan_and_kept_for_the_next(engine: Gateway, layout: Layout) -> None:
    learned = learn(engine, layout)
    assert learned.warnings == ()
    assert list(measure.lines(learned.starts)) == ["chat: KV tokens 23,296 (planned 23,296)"]
    known = load(layout.base / ".infctl" / "calibration.json")
    entry = known.entry(key(NAME, RESOLVED, CPU, "0.32"))
    assert entry is not None
    assert (entry.measured.num_gpu_blocks, entry.measured.kv_available_bytes) == (182, GIB)
    assert (entry.vllm, entry.at, entry.planned_tokens, entry.planned_blocks) == ("0.32.0", 5.0, 23_296, 182)


def test_the_key_reaches_the_engine_and_no_file(engine: Gateway, layout: Layout) -> None:
    learn(engine, layout)
    assert KEY not in layout.calibration.read_text()
    assert "answered 401" in look(service(engine.url), layout, {}).why


def test_a_look_at_what_runs_counts_as_no_start(engine: Gateway, layout: Layout) -> None:
    learn(engine, layout)
    before = layout.calibration.read_bytes()
    learn(engine, layout, started=set(), now=9.0)
    assert layout.calibration.read_bytes() == before
    learn(engine, layout, now=9.0)
    found = load(layout.calibration).find(key(NAME, RESOLVED, CPU, "0.32"))
    assert found is not None
    assert found.starts == 2


def test_a_plan_that_was_wrong_by_more_than_5_per_cent_is_told(engine: Gateway, layout: Layout) -> None:
    learned = learn(engine, layout, tokens=20_000)
    assert list(measure.lines(learned.starts)) == ["chat: KV tokens 23,296 (planned 20,000)"]
    assert learned.warnings[0].startswith("chat holds 16 % more KV tokens than planned")
    assert learn(engine, layout, tokens=23_000).warnings == ()


def test_an_encoder_keeps_no_cache_and_says_so(engine: Gateway, layout: Layout) -> None:
    engine.answers["/metrics"] = (200, (GOLDEN / "cpu-embed.metrics").read_bytes())
    said = look(service(engine.url), layout, SECRETS)
    start = Start("embed", caches=False, planned_tokens=None, planned_blocks=None, measured=said.measured)
    assert list(measure.lines([start])) == ["embed: no KV cache"]


def test_an_engine_that_was_not_sized_is_told_and_not_kept(engine: Gateway, layout: Layout) -> None:
    stack = Stack("toy", "process", (service(engine.url),))
    plan = Plan((Replica("chat", "chat"),))
    learned = measure.learn(stack, plan, PROFILE, layout, SECRETS, started={"chat"}, now=1.0)
    assert list(measure.lines(learned.starts)) == ["chat: KV tokens 23,296"]
    assert not layout.calibration.exists()


def test_another_vllm_than_the_one_planned_for_is_named(engine: Gateway, layout: Layout) -> None:
    engine.answers["/version"] = (200, {"version": "0.33.1"})
    assert learn(engine, layout).warnings == (
        "chat runs vLLM 0.33.1, and plans are made for 0.32: what it measured is not used",
    )


def redirect(handler: object) -> None:
    handler.send_response(302)  # type: ignore[attr-defined]
    handler.send_header("location", "http://192.0.2.1/")  # type: ignore[attr-defined]
    handler.send_header("content-length", "0")  # type: ignore[attr-defined]
    handler.end_headers()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("page", "answer", "why"),
    [
        ("/metrics", (500, {}), "/metrics answered 500"),
        ("/metrics", (200, b"\xff\x00vllm:cache_config_info{"), "/metrics has no vllm:cache_config_info"),
        ("/metrics", (200, b"x" * (fetch.BODY_BYTES_MAX + 1)), "/metrics: an answer of over 8,388,608 bytes"),
        ("/metrics", redirect, "/metrics answered 302"),
        ("/version", (200, b"<html>"), "Expecting value"),
        ("/version", (200, b"[" * 100_000), "recursion"),
    ],
)
def test_an_engine_that_does_not_say_is_a_warning_and_nothing_more(
    engine: Gateway, layout: Layout, page: str, answer: object, why: str
) -> None:
    engine.answers[page] = answer
    learned = learn(engine, layout)
    assert learned.starts[0].measured is None
    assert len(learned.warnings) == 1
    assert learned.warnings[0].startswith(f"chat does not say what it measured: {engine.url}")
    assert why in learned.warnings[0]
    assert list(measure.lines(learned.starts)) == []


def test_an_engine_that_is_gone_is_a_warning_too(
    engine: Gateway, layout: Layout, free_port: Callable[[], int]
) -> None:
    engine.port = free_port()
    assert learn(engine, layout).warnings[0].startswith("chat does not say what it measured: ")


def test_a_file_of_a_newer_infctl_is_left_alone_and_told(engine: Gateway, layout: Layout) -> None:
    text = json.dumps({"version": 7, "writer": "9.0.0"})
    layout.calibration.write_text(text)
    learned = learn(engine, layout)
    assert "not kept: " in learned.warnings[0]
    assert "written by infctl 9.0.0" in learned.warnings[0]
    assert layout.calibration.read_text() == text
    assert list(measure.lines(learned.starts)) == ["chat: KV tokens 23,296 (planned 23,296)"]


def test_a_damaged_file_is_told_and_begun_again(engine: Gateway, layout: Layout) -> None:
    layout.calibration.write_text("{")
    assert "was damaged" in learn(engine, layout).warnings[0]
    assert len(load(layout.calibration).entries) == 1


def test_the_log_is_read_across_its_rotation_and_never_whole(engine: Gateway, layout: Layout) -> None:
    lines = (GOLDEN / "gpu-share-0.32.log").read_bytes().splitlines(keepends=True)
    log = layout.logs / "chat.log"
    log.with_name("chat.log.1").write_bytes(b"x" * (2 * measure.LOG_BYTES_MAX) + b"\n" + b"".join(lines[:7]))
    log.write_bytes(b"".join(lines[7:]))
    said = look(service(engine.url), layout, SECRETS).measured
    assert said is not None
    assert said.weights_bytes == int(14.25 * GIB)
    assert said.num_gpu_blocks == 182, "of the metrics"
    log.write_bytes(b"".join(lines) + b"x" * (2 * measure.LOG_BYTES_MAX))
    said = look(service(engine.url), layout, SECRETS).measured
    assert said is not None
    assert said.weights_bytes is None


def test_without_a_log_the_metrics_speak_alone(engine: Gateway, layout: Layout) -> None:
    (layout.logs / "chat.log").unlink()
    said = look(service(engine.url), layout, SECRETS).measured
    assert said == Measured(
        kv_available_bytes=GIB, num_gpu_blocks=182, block_size=128, kv_tokens=23_296, concurrency=11.375
    )


def test_two_replicas_alike_are_one_engine_that_started_twice(engine: Gateway, layout: Layout) -> None:
    replicas = tuple(Replica(f"chat{n}", "chat", need=need(23_296, 182)) for n in (0, 1))
    services = tuple(replace(service(engine.url), name=f"chat{n}") for n in (0, 1))
    stack = Stack("toy", "process", services)
    measure.learn(stack, Plan(replicas), PROFILE, layout, SECRETS, started={"chat0", "chat1"}, now=1.0)
    (entry,) = load(layout.calibration).entries
    assert entry.measured.starts == 2
