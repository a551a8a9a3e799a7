"""What an action means for those who are served: tokens and memory before and after, seconds away. Pure.

    effect    KV tokens 80,400 -> 79,900, memory 19.8 -> 19.9 GiB
    away_s    0: nobody notices; None: it is not known how long

Rolled replicas, reloads and a gateway behind nginx are not away; whoever is alone is, for as long as its
start usually takes here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from infctl.cli.figures import gib
from infctl.cli.text import duration, number
from infctl.engine.model import Action, Observed
from infctl.history.applied import Planned
from infctl.stack import Service, Stack

READY = "ready"


@dataclass(frozen=True, slots=True)
class Setting:
    """Before and after, as far as it is known."""

    stack: Stack
    """As wanted."""
    running: Stack | None
    observed: Observed
    was: Mapping[str, Planned]
    """Of what runs, where it is known; by service."""
    will: Mapping[str, Planned]
    typical_s: Mapping[str, float]
    """How long each service's last start took."""

    @property
    def rolls(self) -> bool:
        """Replicas are replaced one at a time, and the gateway beside its successor."""
        return self.stack.runtime == "docker"


def with_consequences(actions: Sequence[Action], setting: Setting) -> tuple[Action, ...]:
    """What an engine has said of itself already is left as it is."""
    return tuple(
        replace(
            action,
            effect=action.effect or _effect(action, setting),
            away_s=action.away_s if action.away_s is not None else _away_s(action, setting),
        )
        for action in actions
    )


def away(action: Action, setting: Setting) -> str:
    """`away 0 s (drained, one at a time)`; empty where there is nothing to say."""
    service = _service(action.service, setting)
    if service is None or action.kind not in ("replace", "reload", "remove"):
        return ""
    if action.kind == "remove":
        return "away 0 s (the others serve on)" if action.away_s == 0 else "no longer served"
    if action.away_s == 0:
        return f"away 0 s{_how(action, service)}"
    if action.away_s is None:
        return "away: not known yet, it has not started here before"
    alone = " (one replica)" if service.role == "engine" and _is_alone(service, setting) else ""
    return f"away about {duration(action.away_s)}{alone}"


def unserved(actions: Sequence[Action], setting: Setting) -> list[str]:
    """Who will be away, in a sentence each: `chat is away for about 41 s`."""
    told: dict[str, str] = {}
    for action in actions:
        service = _service(action.service, setting)
        if action.kind != "replace" or action.away_s == 0 or service is None:
            continue
        what = ", ".join(service.models) or service.name
        long = "how long is not known yet" if action.away_s is None else f"about {duration(action.away_s)}"
        told[what] = f"{what} is away: {long}" if action.away_s is None else f"{what} is away for {long}"
    return list(told.values())


# Private


def _effect(action: Action, setting: Setting) -> str:
    before, after = setting.was.get(action.service), setting.will.get(action.service)
    if action.kind == "remove":
        freed = before.memory_bytes if before is not None else None
        return f"frees {gib(freed)} GiB" if freed else ""
    if action.kind not in ("create", "start", "replace") or after is None:
        return ""
    if action.kind != "replace":
        before = None  # nothing of it runs: what it was says nothing
    parts = [_tokens(before, after), _memory(before, after)]
    return ", ".join(part for part in parts if part)


def _tokens(before: Planned | None, after: Planned) -> str:
    now, then = after.kv_tokens, before.kv_tokens if before is not None else None
    if now is None or then == now:
        return ""
    return f"KV tokens {number(now)}" if then is None else f"KV tokens {number(then)} -> {number(now)}"


def _memory(before: Planned | None, after: Planned) -> str:
    now, then = after.memory_bytes, before.memory_bytes if before is not None else None
    if now is None or (then is not None and gib(then) == gib(now)):
        return ""
    return f"memory {gib(now)} GiB" if then is None else f"memory {gib(then)} -> {gib(now)} GiB"


def _away_s(action: Action, setting: Setting) -> float | None:
    service = _service(action.service, setting)
    if service is None or action.kind in ("create", "start", "supervise"):
        return None
    if action.kind == "reload":
        return 0.0
    if action.kind == "remove":
        return 0.0 if service.role == "engine" and not _is_alone(service, setting) else None
    if setting.rolls and service.role == "engine" and _others_ready(service, setting):
        return 0.0
    if setting.rolls and service.role == "gateway" and _has_edge(setting.stack):
        return 0.0
    return _start_s(service, setting)


def _start_s(service: Service, setting: Setting) -> float | None:
    """Of a model, its slowest replica's: which of them is back first is not known."""
    names = [service.name, *(_others(service, setting) if service.role == "engine" else ())]
    return max((setting.typical_s[name] for name in names if name in setting.typical_s), default=None)


def _how(action: Action, service: Service) -> str:
    if action.kind == "reload":
        return ""
    return " (drained, one at a time)" if service.role == "engine" else " (the new one takes over first)"


def _service(name: str, setting: Setting) -> Service | None:
    stacks = (setting.stack, setting.running)
    found = (s for stack in stacks if stack is not None for s in stack.services if s.name == name)
    return next(found, None)


def _others(service: Service, setting: Setting) -> list[str]:
    """The model's further replicas that stay or come."""
    return [s.name for s in setting.stack.services if s.models == service.models and s.name != service.name]


def _is_alone(service: Service, setting: Setting) -> bool:
    return not _others(service, setting)


def _others_ready(service: Service, setting: Setting) -> bool:
    """Somebody serves the model while this one is replaced."""
    seen = (setting.observed.service(name) for name in _others(service, setting))
    return any(one is not None and one.state == READY for one in seen)


def _has_edge(stack: Stack) -> bool:
    return any(service.role == "edge" for service in stack.services)
