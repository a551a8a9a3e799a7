"""The screen of `infctl status`, as an operator sees it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from infctl.api import Backend, Health
from infctl.cli import facts, status_screen
from infctl.cli.load import Load
from infctl.cli.processes import Process
from infctl.engine.model import Observed, ObservedService
from infctl.history.applied import Planned
from infctl.stack import Service, Stack
from infctl.stack.containers import Container, Project

NOW = 1_000_000.0
GIB = 2**30


def service(name: str, role: Any, port: int, **more: Any) -> Service:
    return Service(name=name, role=role, argv=("x",), listen=(("127.0.0.1", port),), **more)


STACK = Stack(
    name="local-platform",
    runtime="process",
    services=(
        service("chat", "engine", 8101, models=("chat",)),
        service("embed", "engine", 8102, models=("embed",), gpu="3"),
        service("gateway", "gateway", 8000),
        service("nginx", "edge", 8443),
    ),
)
OBSERVED = Observed(
    supervised=True,
    services=(
        ObservedService("chat", "ready", pid=100, started_at=NOW - 532_800, ready_at=NOW - 532_700),
        ObservedService("embed", "backoff", restarts=3, last_exit="exit code 1", next_start_at=NOW + 4.2),
        ObservedService("gateway", "ready", pid=200, started_at=NOW - 60),
        ObservedService("nginx", "ready", pid=300, started_at=NOW - 60),
    ),
)
HEALTH = Health(
    status="degraded",
    version="0.1.0",
    uptime_s=60,
    draining=False,
    warnings=("quotas are not enforced by this version",),
    models=(),
    backends=(
        Backend("chat", "chat", "http://127.0.0.1:8101", "ready", 3, 12_411, 0, 1.0, ""),
        Backend("embed", "embed", "http://127.0.0.1:8102", "down", 0, 22, 2, 1.0, "connection refused"),
    ),
)
RUNNING = {
    100: Process(100, 1, 100, 100, GIB),
    101: Process(101, 100, 101, 101, 2 * GIB),
    200: Process(200, 1, 200, 200, 45 * 2**20),
    300: Process(300, 1, 300, 300, 9 * 2**20),
    50: Process(50, 1, 50, 50, 14 * 2**20),
}
USES = facts.Uses(running=RUNNING, supervisors=(50,))


def merged(asked: Any = HEALTH, observed: Observed = OBSERVED, stack: Stack = STACK) -> facts.PlatformFacts:
    return facts.merge(
        stack,
        observed,
        asked,
        USES,
        gateway_url="http://127.0.0.1:8000",
        warnings=("quotas are not enforced by this version",),
        now=NOW,
    )


def screen(known: facts.PlatformFacts, width: int) -> str:
    """Without the title, whose clock is in the machine's own zone."""
    return "\n".join(status_screen.lines(known, width)[1:])


WIDE = """\
service     models  state    pid  on      memory  in flight  requests  errors  restarts       up
chat        chat    ready    100  CPU    3.0 GiB          3    12,411       0         0  6 d 4 h
embed       embed   backoff    -  GPU 3        -          0        22       2         3        -
gateway     -       ready    200  -       45 MiB          3    12,433       2         0    1 min
nginx       -       ready    300  -        9 MiB          -         -       -         0    1 min
supervisor  -       ready     50  -       14 MiB          -         -       -         0        -

embed: exit code 1, next try in 4.2 s

warning: quotas are not enforced by this version"""

NARROW = """\
service     state     memory  in flight  requests  errors  restarts       up
chat        ready    3.0 GiB          3    12,411       0         0  6 d 4 h"""


def test_the_narrow_screen_keeps_what_matters() -> None:
    assert screen(merged(), 80).startswith(NARROW)


def test_the_wide_screen_says_everything_and_a_warning_once() -> None:
    assert screen(merged(), 120) == WIDE


@pytest.mark.parametrize("width", [60, 72, 80, 100, 120])
def test_no_line_of_the_table_is_wider_than_the_window(width: int) -> None:
    table = status_screen.lines(merged(), width)[:7]
    assert all(len(line) <= width for line in table), "\n".join(table)


def test_the_title_counts_what_is_ready() -> None:
    title = status_screen.lines(merged(), 80)[0]
    assert title.startswith("local-platform · 3 of 4 ready")
    assert "up 6 d 4 h" in title
    assert len(title) == 80


def test_without_the_gateway_the_rest_is_still_shown_and_the_loss_is_named() -> None:
    text = screen(merged("nothing answers at http://127.0.0.1:8000: connection refused"), 120)
    assert "chat        chat    ready    100  CPU    3.0 GiB          -         -" in text
    assert "gateway: its counts are missing, nothing answers at" in text


def test_a_drained_server_is_drained_although_its_process_is_well() -> None:
    drained = replace(HEALTH.backends[0], state="drained", why="by an operator")
    known = merged(replace(HEALTH, backends=(drained, HEALTH.backends[1])))
    assert (known.services[0].state, known.services[0].why) == ("drained", "by an operator")


def test_an_open_breaker_is_told_with_when_it_is_tried() -> None:
    broken = replace(HEALTH.backends[0], breaker="open", retry_in_s=12.0)
    known = merged(replace(HEALTH, backends=(broken, HEALTH.backends[1])))
    assert known.services[0].why == "its breaker is open, tried again in 12 s"


def test_what_others_say_cannot_reach_the_terminal() -> None:
    lost = replace(HEALTH.backends[0], state="down", why="x\x1b[2J\n" + "y" * 10_000)
    near = {
        "tenant": "a\x1b[2J" + "b" * 10_000,
        "code": "tokens_per_day",
        "limit": 9,
        "left": 0,
        "reset_s": 1,
    }
    text = screen(merged(replace(HEALTH, backends=(lost,), near_limits=(near,))), 120)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 320


def test_a_platform_that_never_ran_is_all_stopped_and_says_so() -> None:
    known = merged("nothing answers", Observed(supervised=False))
    assert {row.state for row in known.services} == {"stopped"}
    assert "not running" in status_screen.lines(known, 80)[0]


def test_a_service_that_left_the_profile_is_told_of() -> None:
    old = ObservedService("rerank", "ready", pid=100, started_at=NOW - 5)
    known = merged(observed=replace(OBSERVED, services=(*OBSERVED.services, old)))
    assert "rerank: no longer in the profile" in screen(known, 120)


def test_services_without_a_supervisor_are_told_of() -> None:
    known = merged(observed=replace(OBSERVED, supervised=False))
    assert "nobody restarts what crashes" in screen(known, 120)


def test_colour_adds_nothing_but_colour() -> None:
    plain = status_screen.lines(merged(), 120)
    painted = status_screen.lines(merged(), 120, lambda text, style: f"<{style}>{text}</>")
    assert [line.replace("</>", "").split("<")[0] for line in painted[3:4]] != plain[3:4]
    stripped = [__import__("re").sub(r"<[a-z]+>|</>", "", line) for line in painted]
    assert stripped == plain


KEYS = {
    "": [
        "name", "runtime", "supervised", "supervisor", "now", "gateway", "services", "warnings", "notes",
        "near_limits",
    ],
    "gateway": ["url", "reachable", "status", "version", "draining", "why"],
    "services": [
        "name", "role", "models", "state", "pid", "device", "memory_bytes", "in_flight",
        "requests", "errors", "restarts", "started_at", "why", "container", "image", "memory_of",
        "planned_bytes", "kv_use", "waiting", "tokens_per_s", "backend", "breaker", "capacity",
        "expected_in_s",
    ],
}  # fmt: skip


def test_tenants_near_a_limit_are_named_with_when_it_comes_back() -> None:
    near = {"tenant": "data-team", "code": "tokens_per_day", "limit": 100, "left": 9, "reset_s": 35_820.0}
    known = merged(replace(HEALTH, near_limits=(near, near | {"tenant": "search", "left": 4})))
    assert (
        "\ntenants near a limit  data-team 91 % of tokens today (resets in 9 h 57 min)\n"
        "                      search 96 % of tokens today (resets in 9 h 57 min)\n"
    ) in screen(known, 120)
    assert known.as_data()["near_limits"] == [near, near | {"tenant": "search", "left": 4}]
    assert "near a limit" not in screen(merged(), 120)


def test_the_json_keys_are_a_promise() -> None:
    told = json.loads(json.dumps(merged().as_data()))
    assert list(told) == KEYS[""]
    assert list(told["gateway"]) == KEYS["gateway"]
    assert all(list(row) == KEYS["services"] for row in told["services"])
    assert told["services"][0] == {
        "name": "chat", "role": "engine", "models": ["chat"], "state": "ready", "pid": 100, "device": "CPU",
        "memory_bytes": 3 * GIB, "in_flight": 3, "requests": 12411, "errors": 0, "restarts": 0,
        "started_at": NOW - 532_800, "why": "", "container": "", "image": "", "memory_of": "main",
        "planned_bytes": None, "kv_use": None, "waiting": None, "tokens_per_s": None, "backend": "chat",
        "breaker": "closed", "capacity": None, "expected_in_s": None,
    }  # fmt: skip


# Containers


def container(service: str, role: Any, image: str, **more: Any) -> Container:
    return Container(service, role, image, name=f"{service}-c", **more)


DOCKER = Stack(
    name="inference-platform",
    runtime="docker",
    services=(
        Service("chat0", "engine", ("x",), models=("chat",), gpu="0"),
        Service("chat1", "engine", ("x",), models=("chat",), gpu="1"),
        Service("gateway", "gateway", ("x",)),
    ),
    projects=(
        Project("p", "f", "/", (container("weights", "weights", "vllm:1"),)),
        Project("p-monitoring", "f", "/", (container("prometheus", "monitoring", "prom:1"),)),
    ),
)


def contained(
    name: str, state: Any = "ready", image: str = "vllm:1@sha256:ab", **more: Any
) -> ObservedService:
    return ObservedService(
        name, state, pid=7, started_at=NOW - 60, container=f"vllm-{name}", image=image, **more
    )


def of_containers(*found: ObservedService, **uses: Any) -> facts.PlatformFacts:
    said = Health(
        status="ok",
        version="1",
        uptime_s=1,
        draining=False,
        warnings=(),
        models=(),
        backends=(
            Backend("vllm-chat0", "chat", "http://vllm-chat0:8000", "ready", 8, 4100, 0, 1.0, ""),
            Backend("vllm-chat1", "chat", "http://vllm-chat1:8000", "draining", 7, 3900, 0, 1.0, "operator"),
        ),
    )
    return facts.merge(
        DOCKER,
        Observed(supervised=True, services=found, notes=("a note of the engine",)),
        said,
        facts.Uses(**uses),
        gateway_url="http://127.0.0.1:8000",
        warnings=(),
        now=NOW,
    )


def test_containers_are_shown_with_what_was_planned_and_what_vllm_says() -> None:
    known = of_containers(
        contained("chat0"),
        contained("chat1"),
        contained("gateway", image="gw:1"),
        contained("prometheus", image="prom:1"),
        contained("weights", "failed", last_exit="exit code 1"),
        main_bytes={"chat0": 3 * GIB, "gateway": 45 * 2**20},
        gpu_bytes={"chat0": int(19.6 * GIB)},
        loads={"chat0": Load(kv_use=0.71, running=8, waiting=0, tokens_per_s=412.2)},
        planned={name: Planned(name, int(19.8 * GIB), 80_400) for name in ("chat0", "chat1")},
    )
    rows = {row.name: row for row in known.services}
    assert "supervisor" not in rows
    assert (rows["chat0"].requests, rows["chat0"].memory_of) == (4100, "gpu")
    assert (rows["chat1"].state, rows["chat1"].why) == ("draining", "operator")
    assert rows["chat1"].planned_bytes is None, "its GPU's memory is not known: nothing to compare"
    assert (rows["prometheus"].role, rows["prometheus"].why) == ("monitoring", "")
    assert rows["weights"].why == "exit code 1"
    text = screen(known, 200)
    first = text.splitlines()[1].split()
    assert first == [
        "chat0", "chat", "ready", "GPU", "0", "19.6/19.8", "GiB", "71", "%", "8", "0", "412", "4,100", "0",
        "0", "1", "min", "vllm-chat0", "vllm:1",
    ]  # fmt: skip
    assert "a note of the engine" in text
    assert json.loads(json.dumps(known.as_data()))["supervisor"]["state"] == "ready"


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_no_line_of_containers_is_wider_than_the_window(width: int) -> None:
    known = of_containers(
        contained("chat0"),
        loads={"chat0": Load(kv_use=0.7, waiting=3, tokens_per_s=1.0)},
        gpu_bytes={"chat0": 19 * GIB},
        planned={"chat0": Planned("chat0", 20 * GIB, 1)},
    )
    table = status_screen.lines(known, width)[:5]
    assert all(len(line) <= max(width, 62) for line in table), "\n".join(table)
    assert "19.0/20.0 GiB" in "\n".join(table)
