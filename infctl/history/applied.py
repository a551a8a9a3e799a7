"""What was applied, whole: the stack, its files by digest, what was planned, how it is reached. Pure.

Enough to apply it again without its profile, and to ask whether it answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from infctl.engine import codec
from infctl.stack import Stack


@dataclass(frozen=True, slots=True)
class SecretPlace:
    """Where a secret's value is found, now as then. Never the value."""

    name: str
    variable: str
    """In the environment or `.env`."""
    file: str | None = None
    """Absolute; comes before the variable."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """One rendered file; its text is kept by digest."""

    path: str
    """Relative to the folder of the rendered files."""
    mode: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Planned:
    """What the plan said of one engine."""

    service: str
    memory_bytes: int | None
    """Of one GPU, or of the machine, everything counted; None: it was not sized."""
    kv_tokens: int | None
    """None: it was not sized, or keeps no KV cache."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How the running platform is reached from the machine that runs infctl."""

    gateway: str
    """`http://127.0.0.1:8000`."""
    key_name: str
    """The secret that clients send; empty: none."""
    edge: str = ""
    """`https://localhost:443`; empty: there is no nginx whose name this machine would know."""
    trust: str | None = None
    """The certificate to trust for it, where infctl made one."""


@dataclass(frozen=True, slots=True)
class Applied:
    stack: Stack
    reach: Reach
    files: tuple[KeptFile, ...] = ()
    secrets: tuple[SecretPlace, ...] = ()
    planned: tuple[Planned, ...] = ()

    def plan_of(self, service: str) -> Planned | None:
        return next((one for one in self.planned if one.service == service), None)


def to_json(applied: Applied) -> dict[str, Any]:
    """Plain dicts and lists."""
    return asdict(applied)


def from_json(data: Mapping[str, Any]) -> Applied:
    """Raises KeyError, TypeError or ValueError where `data` is none."""
    return Applied(
        stack=codec.stack_from_json(data["stack"]),
        reach=Reach(**data["reach"]),
        files=tuple(KeptFile(**file) for file in data["files"]),
        secrets=tuple(SecretPlace(**place) for place in data["secrets"]),
        planned=tuple(Planned(**one) for one in data["planned"]),
    )
