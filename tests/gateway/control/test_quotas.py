"""What the counts of a store and the levels of settings come to, as an admin reads them."""

from __future__ import annotations

from gateway import config
from gateway.config import Figures
from gateway.control import quotas
from gateway.control.quotas import Counts, Rules
from gateway.identify import Gate, Tenancy
from gateway.policy import keys
from gateway.policy.exchange import Overview
from gateway.policy.limits import model_scope, tenant_scope

NOON = 1_795_780_800.0
"""2026-11-27 12:00 UTC."""
TODAY, MONTH = "2026-11-27", "2026-11"


def rules(figures=None, made=(), by_environment=(), **fields) -> Rules:
    parsed = config.parse({"models": [], **fields})
    gate = Gate(parsed, {"GATEWAY_API_KEY": "client"})
    figures = figures or {}
    tenancy = Tenancy(parsed, gate, figures, tuple(made))
    return Rules(parsed, tenancy, figures, tuple(made), by_environment)


def counts(*seen: Overview, **rest) -> Counts:
    return Counts(NOON, quotas.summed(seen), **rest)


def rows(by: Rules, seen: Counts, tenant: str = "acme") -> dict[str, dict]:
    return {row["code"]: row for row in quotas.document(by, seen, tenant, {})["limits"]}


def test_what_is_settled_and_what_is_leased_is_not_left():
    seen = counts(Overview("tokens_per_day|tenant:acme", TODAY, 700, 50, 200))
    row = rows(rules(limits={"tokens_per_day": 1000}), seen)["tokens_per_day"]
    assert row == {
        "code": "tokens_per_day",
        "limit": 1000,
        "per_s": None,
        "level": "profile",
        "settled": 700,
        "leased": 200,
        "unknown": 50,
        "left": 100,
        "resets_at": NOON + 43_200,
        "reset_s": 43_200.0,
    }


def test_a_limit_that_was_lowered_below_what_is_used_leaves_nothing_and_not_less():
    seen = counts(Overview("tokens_per_month|tenant:acme", MONTH, 700, 0, 200))
    assert rows(rules(limits={"tokens_per_month": 500}), seen)["tokens_per_month"]["left"] == 0


def test_a_rate_fills_while_time_goes_and_is_full_at_last():
    by = rules(limits={"requests_per_second": 10, "burst": 20})
    seen = counts(Overview("requests_per_second|tenant:acme", "", 0, 0, 2, 5.0, NOON - 0.5))
    row = rows(by, seen)["requests_per_second"]
    assert (row["left"], row["reset_s"], row["leased"], row["per_s"]) == (10, 0.8, 2, 10.0)
    seen = counts(Overview("requests_per_second|tenant:acme", "", 0, 0, 2, 5.0, NOON - 60))
    assert rows(by, seen)["requests_per_second"]["left"] == 18
    untouched = counts(Overview("requests_per_second|tenant:acme", "", 0, 0, 0))
    assert rows(by, untouched)["requests_per_second"]["left"] == 20


def test_what_one_worker_keeps_to_itself_is_counted_as_well():
    by = rules(limits={"requests_per_second": 10, "burst": 20, "in_flight": 4})
    seen = counts(rates={"requests_per_second|tenant:acme": 3.7}, slots={"in_flight|tenant:acme": 3})
    found = rows(by, seen)
    assert found["requests_per_second"]["left"] == 3
    assert (found["in_flight"]["leased"], found["in_flight"]["left"]) == (3, 1)
    assert found["in_flight"]["resets_at"] is None


def test_each_limit_says_who_has_set_it():
    by = rules(
        {tenant_scope("acme"): Figures(tokens_per_month=9)},
        limits={"requests_per_second": 7, "in_flight": 5},
        tenants={"acme": {"limits": {"tokens_per_day": 8}}},
        by_environment=("in_flight", "tokens_per_day"),
    )
    assert {code: row["level"] for code, row in rows(by, counts()).items()} == {
        "requests_per_second": "profile",
        "in_flight": "environment",
        "requests_per_day": "built_in",
        "tokens_per_day": "tenant",
        "tokens_per_month": "run_time",
    }


def test_no_limit_is_said_and_nothing_is_counted():
    row = rows(rules({tenant_scope("acme"): Figures(tokens_per_day="none")}), counts())["tokens_per_day"]
    assert (row["limit"], row["left"], row["level"]) == (None, None, "run_time")


def test_keys_and_models_with_limits_of_their_own_stand_beside_their_tenant():
    _, key = keys.created("acme", bytes(32), NOON, name="ci", figures=Figures(in_flight=2))
    _, plain = keys.created("acme", bytes(31) + b"x", NOON)
    by = rules({model_scope("acme", "chat"): Figures(tokens_per_day=50)}, (key, plain))
    seen = counts(
        Overview(f"in_flight|key:{key.id}", "", 0, 0, 1),
        Overview(f"tokens_per_day|{model_scope('acme', 'chat')}", TODAY, 40, 0, 0),
    )
    found = quotas.document(by, seen, "acme", {"tokens_per_day": 3})
    [of_key] = found["by_key"]
    assert (of_key["key"], of_key["name"], of_key["limits"][0]["left"]) == (key.id, "ci", 1)
    [of_model] = found["by_model"]
    assert (of_model["model"], of_model["limits"][0]["left"]) == ("chat", 10)
    assert found["refused"] == {"tokens_per_day": 3}


def test_a_key_that_has_ended_is_not_shown_with_limits():
    _, key = keys.created("acme", bytes(32), NOON - 10, expires_s=NOON - 5, figures=Figures(in_flight=2))
    assert quotas.document(rules((), (key,)), counts(), "acme", {})["by_key"] == []


def test_a_tenant_is_known_by_its_settings_keys_and_counts():
    _, key = keys.created("keyed", bytes(32), NOON)
    by = rules(
        {tenant_scope("set"): Figures(in_flight=1), model_scope("a:b", "c:d"): Figures(in_flight=1)},
        (key,),
        tenants={"written": {}},
    )
    seen = counts(
        Overview("in_flight|tenant:2001:db8::1", "", 0, 0, 1),
        Overview("in_flight|key:key_1", "", 0, 0, 1),
        slots={"in_flight|tenant:10.0.0.1": 1},
    )
    assert quotas.names(by, seen) == ["10.0.0.1", "2001:db8::1", "a:b", "keyed", "set", "written"]
    assert quotas.model_of(model_scope("a:b", "c:d")) == ("a:b", "c:d")
    known = {name: quotas.document(by, seen, name, {})["known_by"] for name in ("keyed", "set", "none")}
    assert known == {"keyed": ["key"], "set": ["run_time"], "none": []}


def test_refusals_are_summed_by_the_limit_that_was_met():
    requests = {
        ("acme", "chat", "", "refused", "tokens_per_day"): (3.0,),
        ("acme", "embed", "", "refused", "tokens_per_day"): (2.0,),
        ("acme", "chat", "", "refused", "overloaded"): (7.0,),
        ("acme", "chat", "c", "ok", ""): (9.0,),
        ("b", "chat", "", "refused", "in_flight"): (1.0,),
    }
    assert quotas.refusals(requests) == {"acme": {"tokens_per_day": 5}, "b": {"in_flight": 1}}
