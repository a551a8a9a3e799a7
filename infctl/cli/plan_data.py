"""A Plan as data, for `infctl plan --json`. Pure."""

from __future__ import annotations

from typing import Any

from infctl.cli.need_data import figure_data, need_data
from infctl.errors import Problem
from infctl.plan import Plan, Replica


def plan_data(name: str, plan: Plan, *, memory_bytes: int | None = None) -> dict[str, Any]:
    """Keys as in shapes.PLAN, without `actual`."""
    return {
        "name": name,
        "gpus": [_card(plan, number) for number in range(len(plan.gpus))],
        "cpu": {"memory_bytes": memory_bytes} if any(not r.gpus for r in plan.replicas) else None,
        "models": _models(plan),
        "engines": [_engine(replica) for replica in plan.replicas],
        "idle_memory": [
            {
                "gpu": idle.gpu.index,
                "free_bytes": idle.free_bytes,
                "model": idle.model,
                "kv_tokens": idle.tokens,
                "change": idle.change,
                "says": idle.says,
            }
            for idle in plan.idle_memory
        ],
        "notes": [_problem(problem) for problem in plan.notes],
        "warnings": [_problem(problem) for problem in plan.warnings],
    }


def _card(plan: Plan, number: int) -> dict[str, Any]:
    gpu = plan.gpus[number]
    use = next((use for use in plan.uses if use.gpu.index == gpu.index), None)
    return {
        "index": gpu.index,
        "name": gpu.name,
        "uuid": gpu.uuid,
        "memory_bytes": gpu.memory_bytes or None,
        "nominal": gpu.nominal,
        "engines": list(use.services) if use else [r.service for r in plan.replicas if gpu in r.gpus],
        "used_bytes": figure_data(use.used) if use else None,
        "kept_bytes": use.headroom_bytes if use else None,
        "unused_bytes": use.free_bytes if use else None,
    }


def _models(plan: Plan) -> list[dict[str, Any]]:
    """A row a model; its replicas are alike but for what a neighbour leaves them."""
    rows = []
    for name in dict.fromkeys(replica.model for replica in plan.replicas):
        replicas = [replica for replica in plan.replicas if replica.model == name]
        needs = [replica.need for replica in replicas if replica.need is not None]
        caching = [need for need in needs if need.kv is not None]
        facts = plan.facts.get(name)
        rows.append(
            {
                "name": name,
                "architecture": facts.architecture if facts else None,
                "facts_from": facts.origin if facts else None,
                "replicas": len(replicas),
                "max_model_len": needs[0].resolved.max_model_len if needs else None,
                "kv_tokens": sum(need.kv_tokens.expected for need in caching) if caching else None,
                "max_concurrency": round(sum(need.kv.concurrency for need in caching if need.kv), 4)
                if caching
                else None,
            }
        )
    return rows


def _engine(replica: Replica) -> dict[str, Any]:
    return {
        "service": replica.service,
        "model": replica.model,
        "gpus": [gpu.index for gpu in replica.gpus],
        "starts_after": replica.starts_after,
        "settings": [
            {"flag": setting.flag, "value": setting.value, "why": setting.why} for setting in replica.settings
        ],
        "need": need_data(replica.need) if replica.need is not None else None,
    }


def _problem(problem: Problem) -> dict[str, Any]:
    where = problem.where
    return {
        "message": problem.message,
        "path": problem.path,
        "file": where.file if where else None,
        "line": where.line if where else None,
        "column": where.column if where else None,
        "hint": problem.hint,
    }
