"""Which of six levels holds, as tables; and what may not be set."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.levels import (
    BUILT_IN,
    LEVELS,
    BadSetting,
    Figures,
    figures,
    key_limits,
    model_limits,
    models_allowed,
    resolved,
    tenant_limits,
    tenant_name,
)


@pytest.mark.parametrize(
    "said", [set(one) for n in range(6) for one in itertools.combinations(LEVELS[:5], n)]
)
def test_the_highest_level_that_says_something_holds(said: set[str]):
    levels = {level: Figures(tokens_per_day=1000 + LEVELS.index(level)) for level in said}
    held = resolved(levels)["tokens_per_day"]
    highest = next((level for level in LEVELS if level in said), "built_in")
    assert held.level == highest
    assert held.value == (1000 + LEVELS.index(highest) if said else BUILT_IN.tokens_per_day)


def test_each_figure_is_looked_up_by_itself():
    held = resolved({"run_time": Figures(in_flight=7), "profile": Figures(in_flight=9, tokens_per_day=5)})
    assert (held["in_flight"].value, held["in_flight"].level) == (7, "run_time")
    assert (held["tokens_per_day"].value, held["tokens_per_day"].level) == (5, "profile")


def test_a_tenants_own_figure_may_be_above_the_default():
    limits = {
        one.code: one for one in tenant_limits("a", {"tenant": Figures(requests_per_second=200.0, burst=400)})
    }
    assert limits["requests_per_second"].amount == 400
    assert limits["requests_per_second"].per_s == 200


def test_none_lifts_a_limit():
    limits = tenant_limits("a", {"run_time": Figures(tokens_per_month="none", requests_per_second="none")})
    assert {one.code for one in limits} == {"in_flight", "tokens_per_day", "requests_per_day"}


def test_a_key_is_counted_for_itself_and_never_widens_its_tenant():
    tenant = tenant_limits("a", {})
    said = Figures(tokens_per_day=99_000_000, in_flight=3, tokens_per_minute=500)
    limits = {one.code: one for one in key_limits(tenant, "key_1", said, "a's key key_1")}
    assert set(limits) == {"tokens_per_day", "in_flight", "tokens_per_minute"}
    assert limits["tokens_per_day"].amount == 10_000_000
    assert limits["in_flight"].amount == 3
    assert limits["in_flight"].counter == "in_flight|key:key_1"


def test_a_tenants_figures_do_not_come_from_its_key():
    assert tenant_limits("a", {"key": Figures(in_flight=1)}) == tenant_limits("a", {})


def test_a_model_of_a_tenant_has_counters_of_its_own():
    tenant = tenant_limits("a", {})
    one = model_limits(tenant, "a:b", "c", Figures(in_flight=3), "a:b on c")
    other = model_limits(tenant, "a", "b:c", Figures(in_flight=3), "a on b:c")
    assert one[0].counter != other[0].counter


@given(st.integers(1, 10**9), st.integers(1, 10**9), st.floats(0.1, 1000), st.floats(0.1, 1000))
def test_no_figure_of_a_key_is_above_its_tenants(top: int, own: int, top_rate: float, own_rate: float):
    tenant = tenant_limits("a", {"tenant": Figures(tokens_per_day=top, requests_per_second=top_rate)})
    for one in key_limits(tenant, "k", Figures(tokens_per_day=own, requests_per_second=own_rate), "k"):
        parent = next(limit for limit in tenant if limit.code == one.code)
        assert one.amount <= parent.amount
        assert one.per_s <= parent.per_s


def test_models_of_a_key_are_some_of_its_tenants():
    assert models_allowed({}, None) is None
    assert models_allowed({"tenant": Figures(models=("a", "b"))}, None) == {"a", "b"}
    assert models_allowed({"tenant": Figures(models=("a", "b"))}, Figures(models=("b", "c"))) == {"b"}


@pytest.mark.parametrize(
    "data",
    [
        {"tokens_per_day": 0},
        {"tokens_per_day": -1},
        {"tokens_per_day": 10**16},
        {"tokens_per_day": 1.5},
        {"tokens_per_day": "many"},
        {"tokens_per_day": True},
        {"requests_per_second": 0},
        {"requests_per_second": float("nan")},
        {"requests_per_second": float("inf")},
        {"requests_per_second": -3.0},
        {"burst": 0},
        {"tokens_per_week": 5},
        [],
        None,
    ],
)
def test_what_is_no_limit_is_refused(data: object):
    with pytest.raises(BadSetting):
        figures(data)


def test_what_is_a_limit_is_taken():
    assert figures({"tokens_per_day": 5, "in_flight": "none"}) == Figures(tokens_per_day=5, in_flight="none")


@pytest.mark.parametrize(
    "name", ["", "a/b", "../a", "a\nb", "a b", "ü", "a" * 129, "x" * 10_000, "-a", "a\x00", "a,b"]
)
def test_what_is_no_tenants_name_is_refused_in_few_words(name: str):
    with pytest.raises(BadSetting) as caught:
        tenant_name(name)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["data-team", "10.1.4.7", "::1", "fe80::1", "unknown", "a@b", "A_1.x"])
def test_words_and_addresses_are_names(name: str):
    assert tenant_name(name) == name
