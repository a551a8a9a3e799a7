"""Which metrics there are: the gateway's from its table, vLLM's from its own code."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path

from gateway.exposition import ALIASES
from gateway.metrics import METRICS
from infctl.monitoring.counters import NAMES as DCGM

SUFFIXES = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",), "gauge": ("",)}
OF_EVERY_TARGET = frozenset({"up"})
OF_PROCESSES = frozenset({"process_start_time_seconds"})
"""prometheus_client's own, which vLLM's server tells (with one API server)."""
OF_PROMETHEUS = frozenset(
    {"prometheus_rule_evaluation_failures_total", "prometheus_notifications_errors_total"}
)


def series(name: str, kind: str) -> frozenset[str]:
    if kind == "counter":
        name = name.removesuffix("_total")
    return frozenset(name + suffix for suffix in SUFFIXES[kind])


def of_gateway() -> frozenset[str]:
    told = [(metric.name, metric.kind) for metric in METRICS]
    told += [(name, metric.kind) for metric, name, _ in ALIASES]
    return frozenset[str]().union(*(series(name, kind) for name, kind in told))


def of_vllm() -> frozenset[str]:
    """Every `..._counter_cls(name="vllm:...")` and its like in the installed vLLM, without importing it."""
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    found: set[str] = set()
    for file in (Path(spec.origin).parent / "v1").rglob("*.py"):
        text = file.read_text("utf-8")
        if "vllm:" in text:
            for node in ast.walk(ast.parse(text)):
                found |= _made(node)
    return frozenset(found)


def _made(node: ast.AST) -> frozenset[str]:
    if not isinstance(node, ast.Call):
        return frozenset()
    made_by = ast.unparse(node.func).lower()
    kind = next((kind for kind in SUFFIXES if kind in made_by), None)
    named = [each.value for each in node.keywords if each.arg == "name"] + node.args[:1]
    for value in named:
        if kind and isinstance(value, ast.Constant) and str(value.value).startswith("vllm:"):
            return series(str(value.value), kind)
    return frozenset()


@cache
def everything() -> frozenset[str]:
    return of_gateway() | of_vllm() | DCGM | OF_EVERY_TARGET | OF_PROCESSES | OF_PROMETHEUS
