"""What fits where: which replica runs on which GPU, with how many bytes and tokens. Pure."""

from infctl.plan.model import CardUse, IdleMemory, Plan, Replica, Setting, Where, nowhere
from infctl.plan.placement import place, service_names

__all__ = [
    "CardUse",
    "IdleMemory",
    "Plan",
    "Replica",
    "Setting",
    "Where",
    "nowhere",
    "place",
    "service_names",
]
