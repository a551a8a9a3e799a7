"""What fits where: which replica runs on which GPU, with how many bytes and tokens. Pure.

plan()    with the models' facts: bytes, tokens, vLLM's settings and the reason of each
place()   without them: by count alone
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infctl.plan.model import CardUse, IdleMemory, Plan, Replica, Setting
from infctl.plan.placement import place, service_names

if TYPE_CHECKING:
    from infctl.plan.sized import plan

__all__ = [
    "CardUse",
    "IdleMemory",
    "Plan",
    "Replica",
    "Setting",
    "place",
    "plan",
    "service_names",
]


def __getattr__(name: str) -> Any:
    """`plan` is imported when it is first asked for: `infctl status` has no use for all of sizing."""
    if name != "plan":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from infctl.plan.sized import plan  # noqa: PLC0415

    return plan
