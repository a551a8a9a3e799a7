"""Who asks, and which addresses are believed."""

from __future__ import annotations

import pytest

from gateway import config
from gateway.config import ConfigError
from gateway.identify import Gate
from gateway.refusal import Refusal

ENV = {"GATEWAY_API_KEY": "client", "ADMIN_API_KEY": "admin", "BACKEND_API_KEY": "backend"}


def gate(env=None, **fields):
    return Gate(config.parse({"models": [], **fields}), ENV if env is None else env)


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
    assert gate().caller(sent, "t").tenant == "t"
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
        gate().caller(sent, "t")


def test_no_key_opens_all_where_none_is_asked_for():
    open_gate = gate({}, keys={"shared_env": None})
    assert open_gate.caller(None, "t").key_id is None
    assert open_gate.admin(None, "t")
    closed_admin = gate({"ADMIN_API_KEY": "admin"}, keys={"shared_env": None})
    with pytest.raises(Refusal):
        closed_admin.admin(None, "t")


def test_an_empty_key_is_no_key():
    with pytest.raises(ConfigError, match="GATEWAY_API_KEY is not set"):
        gate({"GATEWAY_API_KEY": ""})


def test_a_key_that_no_header_can_carry_is_refused_at_start():
    with pytest.raises(ConfigError, match="no header can carry"):
        gate(ENV | {"BACKEND_API_KEY": "schlüssel"})
    with pytest.raises(ConfigError, match="no header can carry"):
        gate(ENV | {"BACKEND_API_KEY": "a\r\nx: y"})


def test_the_key_id_gives_nothing_of_the_key_away():
    key_id = gate().caller(b"Bearer client", "t").key_id
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
