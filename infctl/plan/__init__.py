"""What fits where: which replica runs on which GPU, with how many bytes and tokens. Pure.

plan()    with the models' facts: bytes, tokens, vLLM's settings and the reason of each
place()   without them: by count alone
"""

from infctl.plan.model import CardUse, IdleMemory, Plan, Replica, Setting, Where, nowhere
from infctl.plan.placement import place, service_names
from infctl.plan.sized import plan

__all__ = [
    "CardUse",
    "IdleMemory",
    "Plan",
    "Replica",
    "Setting",
    "Where",
    "nowhere",
    "place",
    "plan",
    "service_names",
]
