"""Who holds an address: the kernel's tables read as a person would."""

from __future__ import annotations

import os
import socket

import pytest

from infctl.engine import ports, procfs
from infctl.errors import EngineError
from infctl.stack import Service


@pytest.fixture
def held():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "", "localhost"])
def test_a_held_port_is_told_whatever_way_the_same_address_is_written(held, host):
    service = Service("gateway", "gateway", ("g",), listen=((host, held),))
    with pytest.raises(
        EngineError, match=f"gateway: {host}:{held} is held by process {os.getpid()}"
    ) as caught:
        ports.check([service], set)
    assert "gateway/listen/port" in caught.value.hint


def test_another_address_of_the_same_port_is_free(held):
    ports.check([Service("x", "engine", ("x",), listen=(("127.0.0.2", held),))], set)


def test_what_we_hold_ourselves_is_no_conflict(held):
    ports.check([Service("x", "engine", ("x",), listen=(("127.0.0.1", held),))], lambda: {os.getpid()})


def test_several_held_ports_are_told_at_once(held):
    services = [Service(name, "engine", ("x",), listen=(("127.0.0.1", held),)) for name in "ab"]
    with pytest.raises(EngineError, match="2 addresses are held") as caught:
        ports.check(services, set)
    assert [p.path for p in caught.value.problems] == ["a", "b"]


def test_listeners_of_both_families_are_found_with_their_process():
    with socket.socket(socket.AF_INET6) as server:
        server.bind(("::1", 0))
        server.listen()
        port = server.getsockname()[1]
        (found,) = [x for x in procfs.listeners() if x.port == port]
        assert found.address == "::1"
        assert procfs.holder_of(found.inode) == os.getpid()


@pytest.mark.parametrize(
    ("hexed", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("00000000", "0.0.0.0"),
        ("00000000000000000000000000000000", "::"),
        ("00000000000000000000000001000000", "::1"),
        ("0000000000000000FFFF00000100007F", "127.0.0.1"),
        ("B80D0120000000000000000001000000", "2001:0db8:0000:0000:0000:0000:0000:0001"),
    ],
)
def test_the_kernels_way_to_write_addresses(hexed, address):
    assert procfs._address(hexed) == address


def test_a_process_whose_name_holds_brackets_is_read():
    found = procfs.look(os.getpid())
    assert found is not None
    assert (found.pid, found.parent, found.is_alive) == (os.getpid(), os.getppid(), True)
    assert procfs.look(2**22 + 1) is None
    assert procfs.environment(2**22 + 1) == {}
