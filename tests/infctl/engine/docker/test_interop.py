"""Compose and infctl take each other's containers for their own: one file, the same labels, one truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infctl.stack.containers import Attachment, Container, Devices, Limit, Mount, Network, Port
from tests.infctl.engine.docker.conftest import Toy, needs

COMPOSE = "com.docker.compose."
OWN = {"Id", "Created", "Name", "Hostname", "ContainerIDFile", "IPAMConfig", "MaskedPaths", "ReadonlyPaths"}
"""Differ from one container to the next, or are the engine's own."""


def platform(toy: Toy) -> tuple[Container, ...]:
    (toy.folder / "conf").mkdir(exist_ok=True)
    (toy.folder / "conf" / "a.conf").write_text("one")
    keys = Mount("volume", "keys", "/keys", read_only=False)
    return (
        toy.one_shot("prepare", "echo key > /keys/backend", mounts=(keys,), user="0:0", cap_add=("CHOWN",)),
        toy.container("chat", needs=needs("prepare", "service_completed_successfully"), mounts=(keys,)),
        toy.reads(
            "gateway",
            toy.folder / "conf" / "a.conf",
            needs=needs("chat"),
            networks=(Attachment("frontend", ("gw",)), Attachment("backend")),
        ),
    )


def test_compose_recreates_nothing_that_infctl_started(toy: Toy):
    toy.up(*platform(toy))
    before = toy.ids()
    said = toy.compose("up", "-d").stderr
    assert "Recreate" not in said, said
    assert toy.ids() == before
    shown = toy.compose("ps", "--all", "--format", "{{.Service}}").stdout.split()
    assert sorted(shown) == ["chat", "gateway", "prepare"]


def test_infctl_has_nothing_to_do_with_what_compose_started(toy: Toy):
    containers = platform(toy)
    toy.write(toy.stack(*containers))
    toy.compose("up", "-d", "--wait", check=False)
    before = toy.ids()
    assert toy.plan(*containers) == ""
    toy.engine.adopt(toy.stack(*containers))
    assert toy.engine.running() == toy.stack(*containers)
    assert toy.up(*containers) == []
    assert toy.ids() == before


def test_compose_takes_networks_and_volumes_for_its_own(toy: Toy):
    toy.up(*platform(toy))
    said = toy.compose("down", "-v").stderr
    assert toy.left() == [], said


def test_down_takes_away_what_compose_started(toy: Toy):
    toy.write(toy.stack(*platform(toy)))
    toy.compose("up", "-d")
    list(toy.engine.down(volumes=True))
    assert toy.left() == []


def test_without_compose_the_containers_say_that_it_would_make_them_anew(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("infctl.engine.docker.compose.find", lambda _environment: None)
    toy.up(toy.container("chat"))
    (note,) = toy.engine.observe().notes
    assert f"would make {toy.name}-chat-c anew" in note


def everything(toy: Toy) -> tuple[Container, ...]:
    """One container for each thing that can be asked for."""
    (toy.folder / "conf").mkdir()
    plain = toy.container(
        "plain",
        env=(("A", "b"), ("EMPTY", ""), ("DOLLAR", "$HOME")),
        user="1000:1000",
        networks=(Attachment("frontend", ("gw", "other")), Attachment("backend")),
        mounts=(
            Mount("volume", "cache", "/cache", read_only=False),
            Mount("volume", "cache", "/cache-ro"),
            Mount("bind", str(toy.folder / "conf"), "/conf"),
            Mount("bind", str(toy.folder / "conf"), "/conf-rw", read_only=False),
        ),
        ports=(Port(18461, 8000, "127.0.0.1"), Port(18462, 8000), Port(18462, 8000, protocol="udp")),
        cap_add=("CHOWN", "DAC_OVERRIDE"),
        shm_bytes=2**27,
        limits=(Limit("stack", 2**26, 2**26), Limit("nofile", 1024, 4096)),
        sysctls=(("net.ipv4.ip_unprivileged_port_start", "0"),),
        memory_bytes=2**28,
        cpus=0.5,
        stop_signal="SIGQUIT",
        init=True,
    )
    gpu = toy.container("gpu", devices=Devices("nvidia", ("GPU-1", "GPU-2")), read_only=False)
    cdi = toy.container("cdi", devices=Devices("cdi", ("nvidia.com/gpu=0",)), security_opt=())
    alone = toy.one_shot("alone", "true", cap_drop=())
    several = toy.container("several", name="", count=2)
    return plain, gpu, cdi, alone, several


def test_both_ask_the_engine_for_the_same(toy: Toy):
    containers = everything(toy)
    stack = toy.write(
        toy.stack(
            *containers,
            networks=(
                Network("frontend", f"{toy.name}_frontend", subnet="10.213.9.0/24"),
                Network("backend", f"{toy.name}_backend", internal=True),
            ),
        )
    )
    toy.compose("create")
    by_compose = inspected(toy)
    networks = {name: about(toy, name) for name in (f"{toy.name}_frontend", f"{toy.name}_backend")}
    list(toy.engine.down(volumes=True))
    create(toy, stack)
    by_us = inspected(toy)
    assert by_us.keys() == by_compose.keys()
    for name, theirs in by_compose.items():
        for part in theirs:
            found = differing(by_us[name][part], theirs[part])
            assert not found, f"{name} {part} {found}"
    for name, theirs in networks.items():
        assert about(toy, name) == theirs


def test_gpus_are_asked_for_by_the_ids_of_the_profile(toy: Toy):
    create(toy, toy.write(toy.stack(*everything(toy)[1:3])))
    asked = {
        service: toy.host.client.api.inspect_container(f"{toy.name}-{service}-c")["HostConfig"][
            "DeviceRequests"
        ]
        for service in ("gpu", "cdi")
    }
    wanted = {"Driver": "nvidia", "Count": 0, "DeviceIDs": ["GPU-1", "GPU-2"], "Capabilities": [["gpu"]]}
    assert asked["gpu"] == [{**wanted, "Options": None}]
    assert [(one["Driver"], one["DeviceIDs"]) for one in asked["cdi"]] == [("cdi", ["nvidia.com/gpu=0"])]


def differing(ours: Any, theirs: Any) -> dict[str, Any]:
    """Key -> both values, where they are not one: so that a failure shows what it is about."""
    if not isinstance(ours, dict):
        return {} if ours == theirs else {"": (ours, theirs)}
    keys = ours.keys() | theirs.keys()
    return {key: (ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)}


def create(toy: Toy, stack: Any) -> None:
    """As `apply` does, without a start: there is no GPU here."""
    from infctl.engine.docker import carry, reconcile

    plan = reconcile.plan(stack, toy.engine._look(stack))
    hands = toy.engine._hands(toy.engine._hashes(stack))
    carry.Carrier(hands, stack, plan, lambda *_: None)._foundations()
    for step in plan.steps:
        if step.kind == "container":
            hands.create(step.project, step.container, number=step.number)


def inspected(toy: Toy) -> dict[str, Any]:
    found = {}
    for one in toy.host.client.containers.list(all=True, ignore_removed=True):
        if one.labels.get(f"{COMPOSE}project") == toy.name:
            attrs = one.attrs
            ends = attrs["NetworkSettings"]["Networks"]
            found[one.name] = {
                "Path": attrs["Path"],
                "Args": attrs["Args"],
                "Image": attrs["Image"],
                "Config": settled(attrs["Config"]),
                "HostConfig": settled(attrs["HostConfig"]),
                "Networks": {
                    name: sorted({*(end["Aliases"] or ())} - {attrs["Id"][:12]}) for name, end in ends.items()
                },
            }  # fmt: skip
    return found


def settled(data: dict[str, Any]) -> dict[str, Any]:
    """Nothing and an empty list are one; lists whose order means nothing are sorted."""
    found = {}
    for key, value in data.items():
        if key in OWN or value in (None, [], {}, "", 0, False):
            continue
        if key in ("Mounts", "Ulimits"):
            value = sorted(({k: v for k, v in one.items() if v} for one in value), key=str)  # noqa: PLW2901
        found[key] = sorted(value) if key in ("Env", "Binds", "CapAdd") else value
    return found


def about(toy: Toy, network: str) -> dict[str, Any]:
    found = dict(toy.host.client.api.inspect_network(network))
    labels = {key: value for key, value in found["Labels"].items() if not key.endswith("config-hash")}
    kept = ("Name", "Driver", "Internal", "Attachable", "EnableIPv6", "Options")
    subnets = [one["Subnet"] for one in found["IPAM"]["Config"]]
    return {
        **{key: found[key] for key in kept},
        "Labels": labels,
        "Subnets": subnets if "front" in network else [],
    }


def test_what_compose_created_and_never_started_is_started(toy: Toy):
    toy.write(toy.stack(toy.container("chat")))
    toy.compose("create")
    assert toy.plan(toy.container("chat")) == "+ chat  start      created, and never started"
    toy.up(toy.container("chat"))
    assert toy.seen("chat").is_ready


def test_a_file_that_is_not_there_is_named_before_anything_is_changed(toy: Toy):
    lost = Path(toy.folder / "lost")
    container = toy.container("chat", mounts=(Mount("bind", str(lost), "/lost"),))
    from infctl.errors import EngineError

    with pytest.raises(EngineError, match=f"{lost} is not here"):
        toy.up(container)
    assert toy.left() == []
