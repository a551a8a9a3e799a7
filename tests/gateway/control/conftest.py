"""A gateway that counts, with tenants of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.process import ADMIN, BACKEND, KEY, Gateway, config_for, until

ACME = "acme-key-canary"
ENV = {
    "GATEWAY_API_KEY": KEY,
    "ADMIN_API_KEY": ADMIN,
    "BACKEND_API_KEY": BACKEND,
    "ACME_KEY": ACME,
}
TENANTS = {"acme": {"key_envs": ["ACME_KEY"], "limits": {"tokens_per_day": 5000, "in_flight": 8}}}
LIMITS = {"requests_per_day": 1000, "tokens_per_day": 50_000}

Counting = Callable[..., Gateway]


def asked(gateway: Gateway, method: str, path: str, body: Any = None, **rest: Any) -> httpx.Response:
    """By the admin."""
    headers = {"authorization": f"Bearer {ADMIN}"}
    if body is not None:
        rest["json"] = body
    return gateway.http.request(method, path, headers=headers, **rest)


def limits_of(gateway: Gateway, tenant: str) -> dict[str, dict[str, Any]]:
    """By code."""
    reply = asked(gateway, "GET", f"/admin/quota/{tenant}")
    assert reply.status_code == 200, reply.text
    return {row["code"]: row for row in reply.json()["limits"]}


def call(gateway: Gateway, key: str = ACME, *, fresh: bool = False, **fields: Any) -> httpx.Response:
    """One chat with a tenant's key. `fresh`: on a connection of its own, so that any worker may get it."""
    body = {"model": "chat", "messages": [{"role": "user", "content": "capital?"}], "max_tokens": 8} | fields
    headers = {"authorization": f"Bearer {key}"}
    if fresh:
        return httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers, trust_env=False)
    return gateway.http.post("/v1/chat/completions", json=body, headers=headers)


@pytest.fixture
def counting(start: Callable[..., Gateway], make_stub: Callable[..., Any], tmp_path: Path) -> Counting:
    """Starts a gateway with a store; `workers`: so many."""

    def go(workers: int = 1, env: dict[str, str] | None = None, **extra: Any) -> Gateway:
        store = {"kind": "sqlite", "path": str(tmp_path / "counts.db")}
        config = config_for(make_stub(), tenants=TENANTS, limits=LIMITS, store=store, workers=workers)
        gateway = start(config | extra, ENV | (env or {}))
        until(lambda: gateway.events("started"), 60)
        return gateway.wait_ready(2 * workers)

    return go
