"""What an action means: tokens and memory before and after, and who is away for how long."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from infctl.cli.consequences import Setting, away, unserved, with_consequences
from infctl.engine.model import Action, Observed, ObservedService, State
from infctl.history.applied import Planned
from infctl.stack import Role, Service, Stack

GIB = 2**30


def service(name: str, role: Role = "engine", *models: str) -> Service:
    return Service(name, role, (name,), models=models)


CHAT0, CHAT1 = service("chat0", "engine", "chat"), service("chat1", "engine", "chat")
SQL = service("text2sql", "engine", "text2sql")
GATEWAY, NGINX = service("gateway", "gateway"), service("nginx", "edge")


def setting(
    *services: Service,
    runtime: Literal["docker", "process"] = "docker",
    states: dict[str, State] | None = None,
    **more: Any,
) -> Setting:
    seen = {s.name: "ready" for s in services} | (states or {})
    return Setting(
        **{
            "stack": Stack("toy", runtime, services),
            "running": None,
            "observed": Observed(
                supervised=True, services=tuple(ObservedService(n, s) for n, s in seen.items())
            ),
            "was": {},
            "will": {},
            "typical_s": {},
            **more,
        }
    )


def one(action: Action, where: Setting) -> Action:
    return with_consequences([action], where)[0]


REPLACE = Action("replace", "chat0", "--max-model-len 8192 -> 16384")


def test_a_replica_whose_twin_serves_on_is_not_away() -> None:
    where = setting(CHAT0, CHAT1, GATEWAY, typical_s={"chat0": 41.0})
    found = one(REPLACE, where)
    assert found.away_s == 0
    assert away(found, where) == "away 0 s (drained, one at a time)"
    assert unserved([found], where) == []


@pytest.mark.parametrize("state", ["stopped", "failed", "starting", "backoff"])
def test_a_twin_that_is_down_covers_nobody(state: State) -> None:
    where = setting(CHAT0, CHAT1, states={"chat1": state}, typical_s={"chat0": 41.0, "chat1": 39.0})
    assert one(REPLACE, where).away_s == 41.0


def test_a_model_with_one_replica_is_away_as_long_as_it_usually_starts() -> None:
    where = setting(SQL, CHAT0, typical_s={"text2sql": 94.0})
    found = one(Action("replace", "text2sql", "x"), where)
    assert found.away_s == 94.0
    assert away(found, where) == "away about 1 min 34 s (one replica)"
    assert unserved([found], where) == ["text2sql is away for about 1 min 34 s"]


def test_how_long_is_said_to_be_unknown_where_it_never_started_here() -> None:
    where = setting(SQL)
    found = one(Action("replace", "text2sql", "x"), where)
    assert found.away_s is None
    assert away(found, where) == "away: not known yet, it has not started here before"
    assert unserved([found], where) == ["text2sql is away: how long is not known yet"]


def test_processes_do_not_roll_so_a_model_is_away_until_its_slowest_replica_is_back() -> None:
    where = setting(CHAT0, CHAT1, runtime="process", typical_s={"chat0": 30.0, "chat1": 35.0})
    found = with_consequences([REPLACE, Action("replace", "chat1", "x")], where)
    assert [action.away_s for action in found] == [35.0, 35.0]
    assert unserved(found, where) == ["chat is away for about 35 s"]


def test_a_gateway_behind_nginx_hands_over_and_a_published_one_does_not() -> None:
    replace = Action("replace", "gateway", "x")
    behind = setting(GATEWAY, NGINX, typical_s={"gateway": 2.0})
    assert one(replace, behind).away_s == 0
    assert away(one(replace, behind), behind) == "away 0 s (the new one takes over first)"
    alone = setting(GATEWAY, typical_s={"gateway": 2.0})
    assert one(replace, alone).away_s == 2.0


def test_a_reload_is_never_away() -> None:
    where = setting(NGINX)
    found = one(Action("reload", "nginx", "nginx.conf changed"), where)
    assert (found.away_s, away(found, where)) == (0, "away 0 s")


def test_a_new_nginx_has_a_gap() -> None:
    where = setting(GATEWAY, NGINX, typical_s={"nginx": 1.2})
    assert one(Action("replace", "nginx", "image a -> b"), where).away_s == 1.2


def test_what_is_removed_is_covered_by_its_twins_or_no_longer_served() -> None:
    where = setting(CHAT0, running=Stack("toy", "docker", (CHAT0, CHAT1, SQL)))
    twin = one(Action("remove", "chat1", "no longer in the profile"), where)
    assert away(twin, where) == "away 0 s (the others serve on)"
    last = one(Action("remove", "text2sql", "no longer in the profile"), where)
    assert (last.away_s, away(last, where)) == (None, "no longer served")


def test_tokens_and_memory_are_told_before_and_after() -> None:
    where = setting(
        CHAT0,
        was={"chat0": Planned("chat0", int(19.8 * GIB), 80_400)},
        will={"chat0": Planned("chat0", int(20.1 * GIB), 79_900)},
    )
    assert one(REPLACE, where).effect == "KV tokens 80,400 -> 79,900, memory 19.8 -> 20.1 GiB"


def test_what_stays_the_same_is_not_told() -> None:
    same = {"chat0": Planned("chat0", 19 * GIB, 80_400)}
    assert one(REPLACE, setting(CHAT0, was=same, will=same)).effect == ""


def test_what_was_is_left_out_where_nobody_knows_it() -> None:
    will = {"chat0": Planned("chat0", 19 * GIB, 80_400)}
    assert one(REPLACE, setting(CHAT0, will=will)).effect == "KV tokens 80,400, memory 19.0 GiB"
    start = Action("start", "chat0", "not running")
    assert one(start, setting(CHAT0, will=will, was=will)).effect == "KV tokens 80,400, memory 19.0 GiB"


def test_an_encoder_has_memory_and_no_tokens() -> None:
    where = setting(CHAT0, will={"chat0": Planned("chat0", 2 * GIB, None)})
    assert one(Action("create", "chat0", "new"), where).effect == "memory 2.0 GiB"
    unsized = setting(CHAT0, will={"chat0": Planned("chat0", None, None)})
    assert one(Action("create", "chat0", "new"), unsized).effect == ""


def test_what_is_removed_frees_its_memory() -> None:
    where = setting(GATEWAY, was={"chat0": Planned("chat0", 19 * GIB, 80_400)})
    assert one(Action("remove", "chat0", "x"), where).effect == "frees 19.0 GiB"


def test_what_the_engine_said_itself_is_left_as_it_is() -> None:
    said = Action("replace", "chat0", "x", "its words", 3.0)
    assert one(said, setting(CHAT0, CHAT1)) == said
