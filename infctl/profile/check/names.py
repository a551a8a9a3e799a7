"""Names of models, aliases and services; tasks."""

from __future__ import annotations

from collections.abc import Iterator

from infctl.profile.check.finding import Finding
from infctl.profile.schema import Model, Profile

RESERVED = frozenset(
    {"gateway", "nginx", "edge", "prometheus", "grafana", "dcgm-exporter", "redis", "prepare", "weights"}
)
"""Services of the platform itself."""
_POOLED = frozenset({"embed", "rerank"})


def services(name: str, model: Model) -> tuple[str, ...]:
    """chat0, chat1 ... where replicas is written, else the model's own name."""
    if model.replicas is None:
        return (name,)
    return tuple(f"{name}{number}" for number in range(model.replicas))


def check(profile: Profile) -> Iterator[Finding]:
    yield from _aliases(profile)
    yield from _services(profile)
    yield from _tasks(profile)


def _aliases(profile: Profile) -> Iterator[Finding]:
    owner: dict[str, str] = {}
    for name, model in profile.models.items():
        for alias in model.alias:
            path = f"models/{name}/alias"
            if alias == name:
                yield Finding(
                    path, f'"{alias}" is the model\'s own name', "an alias is a further name: leave it out"
                )
            elif alias in profile.models:
                yield Finding(
                    path, f'"{alias}" is the name of another model', "clients must mean one: rename one"
                )
            elif alias in owner:
                other = "this model" if owner[alias] == name else owner[alias]
                yield Finding(
                    path, f'"{alias}" is already an alias of {other}', "clients must mean one: keep one"
                )
            owner.setdefault(alias, name)


def _services(profile: Profile) -> Iterator[Finding]:
    owner: dict[str, str] = {}
    for name, model in profile.models.items():
        if name in RESERVED:
            yield Finding(
                f"models/{name}", f'"{name}" is a service of the platform itself', f"for example {name}-model"
            )
        for service in services(name, model):
            if service in owner:
                message = f"its service {service} is also one of {owner[service]}"
                yield Finding(f"models/{name}", message, "rename one of the two models")
            owner.setdefault(service, name)


def _tasks(profile: Profile) -> Iterator[Finding]:
    sql: str | None = None
    for name, model in profile.models.items():
        path = f"models/{name}/task"
        if len(set(model.task)) != len(model.task):
            yield Finding(path, "a task is named twice", "each once")
        pooled = _POOLED.intersection(model.task)
        if pooled and pooled != set(model.task):
            hint = "chat and text2sql go together, embed and rerank go together"
            yield Finding(path, f"one engine cannot {' and '.join(model.task)}", hint)
        elif model.runner in {"generate", "pooling"} and (model.runner == "pooling") != bool(pooled):
            right = "pooling" if pooled else "generate"
            yield Finding(
                f"models/{name}/runner",
                f"{model.runner} does not serve {model.task[0]}",
                f"{right}, or leave it out",
            )
        if "text2sql" in model.task:
            if sql is not None:
                hint = "/v1/text2sql has one model: take the task from one of them"
                yield Finding(path, f"text2sql is already the task of {sql}", hint)
            sql = sql or name
