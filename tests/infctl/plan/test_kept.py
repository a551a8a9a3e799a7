"""Engines are not replaced for a few MiB."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infctl.plan import Plan
from infctl.plan.model import GATE, KV_BYTES

Planned = Callable[..., Plan]
MIB = 2**20
CHAT: dict[str, Any] = {"chat": {"max_model_len": 8192}}


def flags(plan: Plan) -> dict[str, str]:
    return {setting.flag: setting.value for setting in plan.replicas[0].settings}


def moved(flags: dict[str, str], mib: int, share: float = 0.0) -> dict[str, str]:
    return {
        KV_BYTES: str(int(flags[KV_BYTES]) + mib * MIB),
        GATE: f"{round(float(flags[GATE]) + share, 3):g}",
    }


def test_what_runs_stays_where_it_is_as_good(planned: Planned) -> None:
    fresh = flags(planned(CHAT, "1xL4"))
    for mib, share in ((-100, 0.004), (100, -0.004), (0, 0.0)):
        now = moved(fresh, mib, share)
        plan = planned(CHAT, "1xL4", running={"chat": now})
        assert flags(plan) == now
        assert plan.replicas[0].need is not None
        assert plan.replicas[0].need.kv_bytes.expected == int(now[KV_BYTES])
        assert plan.uses[0].used.high <= plan.uses[0].gpu.memory_bytes


def test_what_is_far_from_the_plan_is_replaced(planned: Planned) -> None:
    fresh = flags(planned(CHAT, "1xL4"))
    for now in (moved(fresh, -1000, -0.05), moved(fresh, 500, 0.02), {KV_BYTES: "many", GATE: "most"}, {}):
        assert flags(planned(CHAT, "1xL4", running={"chat": now})) == fresh


def test_neighbours_do_not_add_up_to_more_than_the_margin(planned: Planned) -> None:
    tiny = {"source": "qwen-0.5b", "max_model_len": 8192, "gpu": {"share": "one"}}
    models = {"a": tiny, "b": tiny}
    fresh = planned(models, "1xL4")
    more = {r.service: moved({s.flag: s.value for s in r.settings}, 100) for r in fresh.replicas}
    plan = planned(models, "1xL4", running=more)
    assert [r.settings[0].value for r in plan.replicas] == [r.settings[0].value for r in fresh.replicas]
