"""Grafana's dashboards, as plain data. Pure.

Plain, and not made by grafana-foundation-sdk: boards are rendered where infctl runs, from the profile, and
the SDK would be a dependency of every user for what is a few nested dictionaries. What Grafana reads is this
JSON either way.

    service   is it well, for users          models   vLLM's own figures       tenants   who uses what
    gateway   the proxy and its backends     gpus     cards beside the engines on them
"""

from __future__ import annotations

from infctl.monitoring.boards import gateway, gpus, models, service, tenants
from infctl.monitoring.boards.board import Board
from infctl.monitoring.terms import Terms

__all__ = ["Board", "boards"]


def boards(terms: Terms, *, gpus_watched: bool) -> tuple[Board, ...]:
    found = (service.board(terms), gateway.board(terms), models.board(terms), tenants.board(terms))
    return (*found, gpus.board(terms)) if gpus_watched else found
