"""The control plane of tenants, asked over the wire: quotas, usage, who there is."""

from __future__ import annotations

import pytest

from gateway.config import Figures
from gateway.control.tenant_schemas import Limits
from tests.gateway.control.conftest import Counting, asked, call, limits_of
from tests.gateway.process import Gateway, config_for, until


def code(reply) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


def settled(gateway: Gateway, tenant: str, of: str = "tokens_per_day") -> int:
    return int(limits_of(gateway, tenant)[of]["settled"])


def test_the_reference_platforms_two_paths_tell_who_has_used_what(counting: Counting):
    gateway = counting(env={"MAX_RPS_PER_IP": "100"})
    assert call(gateway).status_code == 200
    assert gateway.chat(max_tokens=8).status_code == 200
    until(lambda: settled(gateway, "acme") == settled(gateway, "127.0.0.1") == 12)
    listed = asked(gateway, "GET", "/admin/quotas").json()
    assert [each["tenant"] for each in listed["quotas"]] == ["127.0.0.1", "acme"]
    assert listed["next"] is None
    one = asked(gateway, "GET", "/admin/quota/192.168.1.100").json()
    levels = {row["code"]: row["level"] for row in one["limits"]}
    assert levels["requests_per_second"] == "environment"
    assert levels["tokens_per_day"] == "profile"
    assert levels["in_flight"] == "built_in"
    acme = limits_of(gateway, "acme")
    assert (acme["tokens_per_day"]["limit"], acme["tokens_per_day"]["level"]) == (5000, "tenant")
    day = acme["tokens_per_day"]
    assert day["left"] == day["limit"] - day["settled"] - day["leased"]
    assert acme["requests_per_day"]["settled"] == 1
    usage = asked(gateway, "GET", "/admin/usage", params={"tenant": "acme"}).json()["usage"]
    assert [(use["model"], use["requests"], use["total_tokens"]) for use in usage] == [("chat", 1, 12)]
    tenants = asked(gateway, "GET", "/admin/tenants").json()["tenants"]
    assert [(each["tenant"], each["keys"]) for each in tenants] == [("127.0.0.1", 0), ("acme", 1)]


def test_lists_come_in_pages(counting: Counting):
    gateway = counting()
    for n in range(5):
        reply = gateway.http.post(
            "/v1/chat/completions",
            json={"model": "chat", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1},
            headers={"x-forwarded-for": f"10.0.0.{n}"},
        )
        assert reply.status_code == 200, reply.text
    for path, field in (("/admin/quotas", "quotas"), ("/admin/tenants", "tenants")):
        names: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = asked(gateway, "GET", path, params={"limit": 2, **after}).json()
            assert len(page[field]) <= 2
            names += [each["tenant"] for each in page[field]]
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        assert names == [*(f"10.0.0.{n}" for n in range(5)), "acme"]
    until(lambda: len(asked(gateway, "GET", "/admin/usage").json()["usage"]) == 5)
    first = asked(gateway, "GET", "/admin/usage", params={"limit": 3}).json()
    rest = asked(gateway, "GET", "/admin/usage", params={"limit": 3, "after": first["next"]}).json()
    assert [use["tenant"] for use in first["usage"] + rest["usage"]] == [f"10.0.0.{n}" for n in range(5)]
    assert rest["next"] is None


@pytest.mark.parametrize("workers", [2])
def test_refusals_and_calls_of_all_workers_are_counted(counting: Counting, workers: int):
    gateway = counting(
        workers, tenants={"acme": {"key_envs": ["ACME_KEY"], "limits": {"requests_per_day": 6}}}
    )
    replies = [call(gateway, fresh=True).status_code for _ in range(12)]
    assert sorted(replies) == [200] * 6 + [429] * 6
    until(lambda: settled(gateway, "acme", "requests_per_day") == 6)
    quota = asked(gateway, "GET", "/admin/quota/acme").json()
    assert quota["refused"] == {"requests_per_day": 6}
    assert {row["code"]: row["left"] for row in quota["limits"]}["requests_per_day"] == 0


BAD = [
    "/admin/quota/a%2Fb",
    "/admin/quota/a%0Ab",
    "/admin/quota/acme%0A",
    "/admin/quota/%C3%A4",
    "/admin/quota/" + "x" * 10_000,
    "/admin/quotas?limit=0",
    "/admin/quotas?limit=NaN",
    "/admin/quotas?limit=1001",
    "/admin/usage?since=2026-02-30",
    "/admin/usage?since=yesterday",
    "/admin/usage?since=2026-02-02&until=2026-02-01",
    "/admin/usage?after=x",
    "/admin/usage?tenant=a%2Fb",
]


def test_what_cannot_be_asked_is_refused_in_our_shape(counting: Counting):
    gateway = counting()
    for path in BAD:
        reply = asked(gateway, "GET", path)
        assert code(reply) == (400, "invalid_request"), (path, reply.text)
        assert len(reply.content) < 1000
    assert not gateway.events("internal_error")


def test_only_an_admin_may_look(counting: Counting):
    gateway = counting()
    for path in ("/admin/quotas", "/admin/quota/acme", "/admin/usage", "/admin/tenants"):
        assert code(gateway.http.get(path)) == (401, "invalid_api_key")
    assert asked(gateway, "GET", "/admin/usage").json()["usage"] == []


def test_a_gateway_without_a_store_says_what_to_do(start, make_stub):
    gateway = start(config_for(make_stub())).wait_ready(2)
    reply = asked(gateway, "GET", "/admin/quotas")
    assert code(reply) == (409, "no_store")
    assert "store: {kind: sqlite" in reply.json()["error"]["message"]


def test_the_schema_has_every_figure_there_is():
    assert tuple(Limits.model_fields) == Figures.__struct_fields__


def test_an_admin_sees_in_the_health_who_has_nearly_used_up_a_quota_and_no_client_does(counting: Counting):
    limited = {"acme": {"key_envs": ["ACME_KEY"], "limits": {"requests_per_day": 20}}}
    gateway = counting(tenants=limited)
    for _ in range(19):
        assert call(gateway).status_code == 200
    [row] = asked(gateway, "GET", "/health/detailed").json()["near_limits"]
    assert (row["tenant"], row["code"], row["limit"]) == ("acme", "requests_per_day", 20)
    assert row["left"] <= 2
    assert 0 < row["reset_s"] <= 86_400
    assert "near_limits" not in gateway.detailed()
