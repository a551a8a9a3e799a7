"""Who asks, and which addresses are believed."""

from __future__ import annotations

import pytest

from gateway import config
from gateway.config import ConfigError, Figures
from gateway.identify import SHARED, Gate, Tenancy
from gateway.policy import keys
from gateway.refusal import Refusal

ENV = {"GATEWAY_API_KEY": "client", "ADMIN_API_KEY": "admin", "BACKEND_API_KEY": "backend"}


def gate(env=None, **fields):
    return Gate(config.parse({"models": [], **fields}), ENV if env is None else env)


def tenancy(env=None, made=(), said=None, **fields):
    parsed = config.parse({"models": [], **fields})
    return Tenancy(parsed, Gate(parsed, ENV if env is None else env), said, tuple(made))


def who(of, sent, address="t", clock_s=1000.0):
    return Tenancy(config.parse({"models": []}), of).caller(sent, address, clock_s)


PROXIES = ["127.0.0.1/32", "10.0.0.0/8", "2001:db8::/32"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", b"203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", b"1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", b"1.1.1.1, 203.0.113.9, 10.0.0.7", "203.0.113.9"),
        ("127.0.0.1", b"203.0.113.9,10.0.0.7", "203.0.113.9"),
        ("203.0.113.9", b"1.1.1.1", "203.0.113.9"),
        ("127.0.0.1", b"10.1.1.1", "10.1.1.1"),
        ("127.0.0.1", b"evil\x00, 10.1.1.1", "10.1.1.1"),
        ("127.0.0.1", b"not an address", "127.0.0.1"),
        ("127.0.0.1", b"2001:DB8::1, 2a00::0:1", "2a00::1"),
        ("", None, "unknown"),
    ],
)
def test_a_forwarded_address_is_believed_as_far_as_our_proxies_reach(peer, forwarded, address):
    assert gate(trusted_proxies=PROXIES).address(forwarded, peer) == address


@pytest.mark.parametrize("sent", [b"Bearer client", b"bearer client", b"Bearer  client "])
def test_the_shared_key_opens_the_data_plane_only(sent):
    assert who(gate(), sent).tenant == "t"
    with pytest.raises(Refusal) as refused:
        gate().admin(sent, "t")
    assert (refused.value.status, refused.value.code) == (401, "invalid_api_key")


def test_the_shared_key_is_the_admin_key_until_there_is_one():
    shared_only = gate({"GATEWAY_API_KEY": "client"})
    assert shared_only.shared_is_admin
    assert shared_only.admin(b"Bearer client", "t").key_id == "admin"
    assert not gate().shared_is_admin
    assert gate().admin(b"Bearer admin", "t")


@pytest.mark.parametrize(
    "sent", [None, b"", b"client", b"Basic client", b"Bearer", b"Bearer clienT", b"Bearer \xff"]
)
def test_everything_else_is_refused(sent):
    with pytest.raises(Refusal):
        who(gate(), sent)


def test_no_key_opens_all_where_none_is_asked_for():
    open_gate = gate({}, keys={"shared_env": None})
    assert who(open_gate, None).key_id is None
    assert open_gate.admin(None, "t")
    closed_admin = gate({"ADMIN_API_KEY": "admin"}, keys={"shared_env": None})
    with pytest.raises(Refusal):
        closed_admin.admin(None, "t")


@pytest.mark.parametrize("env", [{}, {"TEAM_KEY": "team"}], ids=["their key is not set", "their key is set"])
def test_where_tenants_have_keys_of_their_own_nobody_else_gets_in(env):
    """Without a shared key nothing is open: not to who sends none, not to an empty one, not /admin."""
    closed = gate(env, keys={"shared_env": None}, tenants={"team": {"key_envs": ["TEAM_KEY"]}})
    for sent in (None, b"", b"Bearer ", b"Bearer x"):
        with pytest.raises(Refusal):
            who(closed, sent)
        with pytest.raises(Refusal):
            closed.admin(sent, "t")
    if env:
        assert who(closed, b"Bearer team").tenant == "team"


def test_only_a_gateway_that_asks_for_some_key_may_be_reached_from_elsewhere():
    elsewhere = {"models": [], "keys": {"shared_env": None}, "listen": {"host": "0.0.0.0"}}
    with pytest.raises(ConfigError, match="loopback only"):
        config.parse(elsewhere)
    assert config.parse({**elsewhere, "tenants": {"team": {"key_envs": ["TEAM_KEY"]}}}).has_tenants_keys


def test_an_empty_key_is_no_key():
    with pytest.raises(ConfigError, match="GATEWAY_API_KEY is not set"):
        gate({"GATEWAY_API_KEY": ""})


def test_a_key_that_no_header_can_carry_is_refused_at_start():
    with pytest.raises(ConfigError, match="no header can carry"):
        gate(ENV | {"BACKEND_API_KEY": "schlüssel"})
    with pytest.raises(ConfigError, match="no header can carry"):
        gate(ENV | {"BACKEND_API_KEY": "a\r\nx: y"})


def test_the_key_id_gives_nothing_of_the_key_away():
    key_id = who(gate(), b"Bearer client").key_id
    assert key_id is not None
    assert "client" not in key_id
    assert len(key_id) == 8


@pytest.mark.parametrize(
    ("address", "opened"),
    [("192.168.1.1", True), ("::ffff:10.0.0.1", True), ("8.8.8.8", False), ("unknown", False)],
)
def test_metrics_are_open_to_private_addresses(address, opened):
    assert gate().reads_metrics(address) is opened


def test_a_long_forwarded_header_is_read_and_not_remembered():
    guard = gate(trusted_proxies=PROXIES)
    forwarded = b"1.2.3.4, " + b", ".join([b"10.0.0.1"] * 1000)
    assert guard.address(forwarded, "10.0.0.1") == gate(trusted_proxies=PROXIES).address(
        b"1.2.3.4, 10.0.0.1", "10.0.0.1"
    )
    assert guard._behind.cache_info().currsize == 0


TENANTS = {
    "acme": {"key_envs": ["ACME_KEY", "ACME_NEXT"], "limits": {"tokens_per_day": 5000}},
    "lab": {"addresses": ["10.1.0.0/16", "10.1.4.0/24"]},
    "desk": {"addresses": ["10.1.4.7/32"]},
}
OWN = ENV | {"ACME_KEY": "acme-one", "ACME_NEXT": "acme-two"}


@pytest.mark.parametrize("sent", [b"Bearer acme-one", b"Bearer acme-two"])
def test_a_tenants_own_key_is_that_tenants_from_any_address(sent):
    found = tenancy(OWN, tenants=TENANTS).caller(sent, "10.1.4.7", 0.0)
    assert found.tenant == "acme"
    assert found.key is not None
    assert found.key_id == found.key.id


def test_a_key_that_is_not_set_lets_nobody_in():
    with pytest.raises(Refusal):
        tenancy(ENV, tenants=TENANTS).caller(b"Bearer ", "10.1.4.7", 0.0)


@pytest.mark.parametrize(
    ("address", "tenant"),
    [("10.1.4.7", "desk"), ("10.1.4.8", "lab"), ("10.2.0.1", "10.2.0.1"), ("unknown", "unknown")],
)
def test_with_the_shared_key_the_smallest_network_around_the_address_says_who(address, tenant):
    assert tenancy(OWN, tenants=TENANTS).caller(b"Bearer client", address, 0.0).tenant == tenant


@pytest.mark.parametrize(
    ("by", "sent", "tenant"),
    [
        ("key", b"Bearer client", SHARED),
        ("key", b"Bearer acme-one", "acme"),
        ("shared", b"Bearer client", SHARED),
        ("shared", b"Bearer acme-one", SHARED),
    ],
)
def test_whose_a_call_is_can_be_set(by, sent, tenant):
    found = tenancy(OWN, tenants=TENANTS, keys={"tenant": by}).caller(sent, "10.1.4.7", 0.0)
    assert found.tenant == tenant


def test_one_key_belongs_to_one_tenant():
    with pytest.raises(ConfigError, match="ACME_NEXT holds the key of every client"):
        tenancy(OWN | {"ACME_NEXT": "client"}, tenants=TENANTS)
    two = {"a": {"key_envs": ["A"]}, "b": {"key_envs": ["B"]}}
    with pytest.raises(ConfigError, match=r"tenants\.b: B holds the key of a"):
        tenancy(ENV | {"A": "same", "B": "same"}, tenants=two)
    with pytest.raises(ConfigError, match="A is the key of a already"):
        tenancy(ENV, tenants={"a": {"key_envs": ["A"]}, "b": {"key_envs": ["A"]}})


def test_a_key_of_run_time_holds_until_it_expires_or_is_revoked():
    text, key = keys.created("acme", bytes(32), 1000.0, expires_s=2000.0)
    sent = b"Bearer " + text.encode()
    assert tenancy(made=[key]).caller(sent, "t", 1999.0).tenant == "acme"
    for made, clock_s in (((key,), 2000.0), ((keys.revoked(key, 1500.0),), 1600.0), ((), 1600.0)):
        with pytest.raises(Refusal) as refused:
            tenancy(made=made).caller(sent, "t", clock_s)
        assert (
            refused.value.message
            == "The key is not valid here. Send `Authorization: Bearer KEY` with your API key."
        )


def amounts(found, caller, model="m"):
    return {limit.counter: limit.amount for limit in found.terms(caller, model).limits}


def test_the_terms_are_those_of_tenant_key_and_model():
    text, key = keys.created("acme", bytes(32), 0.0, figures=Figures(tokens_per_day=100, models=("qwen",)))
    found = tenancy(
        OWN, [key], {"model:4:acme:m": Figures(in_flight=2)}, tenants=TENANTS, limits={"in_flight": 9},
        models=[{"name": "m", "served_name": "m", "aliases": ["qwen"], "tasks": ["chat"], "backends": [
            {"id": "a", "url": "http://127.0.0.1:1"}]}],
    )  # fmt: skip
    caller = found.caller(b"Bearer " + text.encode(), "t", 0.0)
    held = amounts(found, caller)
    assert held["tokens_per_day|tenant:acme"] == 5000
    assert held[f"tokens_per_day|key:{key.id}"] == 100
    assert held["in_flight|tenant:acme"] == 9
    assert held["in_flight|model:4:acme:m"] == 2
    assert found.terms(caller, "m").models == {"m"}
    assert found.terms(caller, "m") is found.terms(caller, "m")
    other = amounts(found, found.caller(b"Bearer client", "10.9.9.9", 0.0))
    assert other["tokens_per_day|tenant:10.9.9.9"] == 10_000_000
    assert other["in_flight|tenant:10.9.9.9"] == 9


def test_what_was_set_at_run_time_comes_before_the_profile():
    found = tenancy(OWN, said={"tenant:acme": Figures(tokens_per_day=7)}, tenants=TENANTS)
    caller = found.caller(b"Bearer acme-one", "t", 0.0)
    assert amounts(found, caller)["tokens_per_day|tenant:acme"] == 7
    assert set(found.levels("acme")) == {"run_time", "tenant", "profile"}
