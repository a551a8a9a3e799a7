"""Wanted x found = plan: the plan's text is what is compared."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infctl.engine.docker import reconcile
from infctl.engine.docker.observed import Seen, Snapshot
from infctl.engine.docker.reconcile import News
from infctl.engine.reconcile import describe
from infctl.stack import Stack
from infctl.stack.containers import (
    Attachment,
    Build,
    Container,
    Devices,
    Healthcheck,
    Limit,
    Mount,
    Needs,
    Network,
    Port,
    Project,
    Volume,
)
from tests.examples import examples
from tests.infctl.engine.docker import simulated

CHAT = Container(
    "chat",
    "engine",
    "vllm:1",
    name="vllm-chat",
    entrypoint=("python3", "/infctl/start.py"),
    command=(
        "--lock",
        "/l/gpu0",
        "--",
        "python3",
        "-m",
        "vllm",
        "--max-model-len",
        "8192",
        "--enforce-eager",
    ),
    env=(("A", "1"),),
    user="1000:1000",
    networks=(Attachment("backend"),),
    mounts=(Mount("volume", "keys", "/keys"), Mount("bind", "/srv/p/engine", "/infctl")),
    healthcheck=Healthcheck(("CMD", "true")),
    devices=Devices("nvidia", ("GPU-1",)),
    memory_bytes=4 * 2**30,
)
PREPARE = Container("prepare", "prepare", "gw:1", restart="no", command=("run",), read_only=False)


def project(*containers: Container, name: str = "p", **fields: Any) -> Project:
    keys = dict.fromkeys(at.network for one in containers for at in one.networks)
    volumes = dict.fromkeys(m.source for one in containers for m in one.mounts if m.kind == "volume")
    settled: dict[str, Any] = {
        "networks": tuple(Network(key, f"{name}_{key}", internal=key == "backend") for key in keys),
        "volumes": tuple(Volume(key, f"{name}_{key}") for key in volumes),
    }
    return Project(name, "docker-compose.yml", "/srv/p", containers, **{**settled, **fields})


def stack(*containers: Container, **fields: Any) -> Stack:
    return Stack("p", "docker", (), projects=(project(*containers, **fields),))


def plan(wanted: Stack, found: Snapshot, news: dict[str, News] | None = None) -> str:
    return describe(reconcile.plan(wanted, found, news or {}, ours=("p", "p-monitoring")).actions)


def changed(container: Container = CHAT, /, **fields: Any) -> str:
    """The cause, when this much changes in the profile."""
    text = plan(stack(replace(container, **fields)), simulated.snapshot(stack(container)))
    first = next(line for line in text.splitlines() if line.split()[1] == container.service)
    return first.split(None, 3)[3]


def with_chat(**state: Any) -> Snapshot:
    """Found: the chat in another state."""
    found = simulated.snapshot(stack(CHAT))
    return replace(found, containers=(simulated.seen(stack(CHAT).projects[0], CHAT, **state),))


def edited(**fields: Any) -> str:
    """The plan, when somebody edited the running container."""
    found = simulated.snapshot(stack(CHAT))
    (one,) = found.containers
    mine = replace(one, fields=replace(one.fields, **fields))
    return plan(stack(CHAT), replace(found, containers=(mine,)))


def test_nothing_to_do_is_an_empty_plan():
    assert plan(stack(PREPARE, CHAT), simulated.snapshot(stack(PREPARE, CHAT))) == ""


def test_on_an_empty_host_everything_is_made():
    assert plan(stack(PREPARE, CHAT), Snapshot()).splitlines() == [
        "+ network backend  create     not there",
        "+ volume keys      create     not there",
        "+ prepare          create     not there",
        "+ chat             create     not there",
    ]


def test_a_changed_flag_is_named_with_both_values():
    command = (*CHAT.command[:7], "16384", "--enforce-eager")
    assert changed(command=command) == "--max-model-len 8192 -> 16384"


LOG = "log json-file, max-file=5, max-size=10485760 -> json-file, max-file=3, max-size=10485760"


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"command": CHAT.command[:-1]}, "--enforce-eager removed"),
        ({"command": (*CHAT.command, "--dtype", "auto")}, "--dtype auto added"),
        ({"image": "vllm:2"}, "image vllm:1 -> vllm:2"),
        ({"env": (("A", "2"),)}, "A 1 -> 2"),
        ({"env": ()}, "A removed"),
        ({"env": (("A", "1"), ("PATH", "/x"))}, "PATH /bin -> /x"),
        ({"user": "1:1"}, "user 1000:1000 -> 1:1"),
        ({"user": ""}, "user 1000:1000 -> app"),
        ({"devices": Devices("nvidia", ("GPU-2",))}, "GPU GPU-1 -> GPU-2"),
        ({"devices": None}, "GPU GPU-1 -> none"),
        ({"memory_bytes": 8 * 2**30}, "memory limit 4 GiB -> 8 GiB"),
        ({"memory_bytes": None}, "memory limit 4 GiB -> none"),
        ({"cpus": 1.5}, "CPUs none -> 1.5"),
        ({"pids_limit": 64}, "process limit none -> 64"),
        ({"shm_bytes": 2**30}, "shared memory 64 MiB -> 1 GiB"),
        ({"read_only": False}, "read-only root yes -> no"),
        ({"init": True}, "init no -> yes"),
        ({"cap_drop": ()}, "dropped capability ALL removed"),
        ({"cap_add": ("CHOWN",)}, "capability CHOWN added"),
        ({"security_opt": ()}, "security option no-new-privileges:true removed"),
        ({"tmpfs": (("/tmp", "size=1"),)}, "tmpfs /tmp:size=1 added"),
        ({"limits": (Limit("stack", 1, 2),)}, "limit stack none -> 1:2"),
        ({"sysctls": (("a.b", "0"),)}, "sysctl a.b none -> 0"),
        ({"stop_signal": "SIGQUIT"}, "stop signal SIGTERM -> SIGQUIT"),
        ({"stop_grace_s": 60.0}, "stop time-out 10 s -> 60 s"),
        ({"log_keep": 3}, LOG),
        ({"ports": (Port(80, 8000),)}, "port 0.0.0.0:80->8000/tcp added"),
        ({"mounts": (*CHAT.mounts, Mount("bind", "/x", "/y"))}, "mount /x:/y:ro added"),
        ({"mounts": CHAT.mounts[1:]}, "mount p_keys:/keys:ro removed"),
        ({"networks": (*CHAT.networks, Attachment("front"))}, "network p_front added"),
        ({"networks": (Attachment("backend", ("gw",)),)}, "name gw in network p_backend added"),
        ({"name": "other"}, "container vllm-chat -> other"),
        ({"labels": (("io.infctl.role", "engine"),)}, "its definition changed"),
    ],
)  # fmt: skip
def test_each_change_is_told_in_the_owners_words(fields: dict[str, Any], cause: str):
    told = changed(**fields)
    # Whoever is renamed or connected otherwise has other names in its networks too.
    assert told == cause or told.startswith(f"{cause}, ")


def test_a_changed_health_check_is_named():
    told = changed(healthcheck=Healthcheck(("CMD", "false")))
    assert told == "health check CMD false added, health check CMD true removed"


def test_order_reasons_and_how_an_image_comes_here_change_nothing():
    same = replace(
        CHAT,
        needs=(Needs("prepare", "service_healthy"),),
        reasons=(("user", "x"),),
        build=Build("/b"),
        pull="always",
    )
    assert plan(stack(same), simulated.snapshot(stack(CHAT))) == ""


def test_many_causes_are_cut():
    told = changed(env=tuple((f"V{n}", "1") for n in range(9)))
    assert told.endswith("and 4 more")


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"memory": 0}, "memory limit none -> 4 GiB"),
        ({"restart": "no"}, "restart no -> unless-stopped"),
        ({"cpu_set": "0"}, "CPU set 0 -> none"),
        ({"privileged": True}, "privileged yes -> no"),
        ({"env": (("A", "9"), ("LANG", "C"), ("PATH", "/bin"))}, "A 9 -> 1"),
    ],
)
def test_hand_edits_are_told_apart_from_changes_of_the_profile(fields: dict[str, Any], cause: str):
    assert edited(**fields) == f"~ chat  replace    edited by hand: {cause}"


def test_what_a_daemon_adds_on_its_own_is_no_edit():
    assert edited(limits=("nofile=1024:4096",)) == ""
    assert edited(sysctls=("net.ipv4.x=1",)) == ""


def test_a_container_out_of_its_network_is_connected_as_it_runs():
    assert edited(networks=()) == "↻ chat  reload     edited by hand: network p_backend added"


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ({"Status": "exited", "ExitCode": 0}, "+ chat  start      stopped: exit code 0"),
        ({"Status": "exited", "ExitCode": 137}, "+ chat  start      stopped: killed by SIGKILL"),
        ({"Status": "exited", "ExitCode": 137, "OOMKilled": True},
         "+ chat  start      stopped: killed by SIGKILL: out of memory"),
        ({"Status": "exited", "ExitCode": 139}, "+ chat  start      stopped: killed by signal 11"),
        ({"Status": "created"}, "+ chat  start      created, and never started"),
        ({"Status": "paused"}, "+ chat  start      paused by hand"),
        ({"Status": "restarting", "ExitCode": 1},
         "+ chat  start      restarts in a loop (0 times): exit code 1"),
        ({"Status": "dead", "ExitCode": 1}, "~ chat  replace    the engine could not remove it whole"),
        ({"Health": {"Status": "unhealthy", "Log": [{"ExitCode": 1, "Output": "refused"}]}},
         "~ chat  replace    unhealthy: refused"),
        ({"Health": {"Status": "starting"}}, ""),
    ],
)  # fmt: skip
def test_what_does_not_run_well_is_started_or_replaced(state: dict[str, Any], line: str):
    assert plan(stack(CHAT), with_chat(**state)) == line


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ({}, ""),
        ({"Status": "running"}, ""),
        ({"Status": "exited", "ExitCode": 1}, "+ prepare  start      failed before: exit code 1"),
        ({"Status": "created", "StartedAt": "0001-01-01T00:00:00Z"}, "+ prepare  start      has not run yet"),
    ],
)
def test_a_one_shot_is_run_until_it_ended_well(state: dict[str, Any], line: str):
    wanted = stack(PREPARE)
    found = simulated.snapshot(wanted)
    one = simulated.seen(wanted.projects[0], PREPARE, **state)
    assert plan(wanted, replace(found, containers=(one,))) == line


def test_a_one_shot_with_another_definition_is_made_anew():
    assert changed(PREPARE, command=("walk",)) == "run -> walk" or "init" in changed(
        PREPARE, command=("walk",)
    )


def test_news_of_mounted_files_ask_for_a_reload_and_those_of_keys_for_a_replace():
    found = simulated.snapshot(stack(CHAT))
    (one,) = found.containers
    assert plan(stack(CHAT), found, {one.id: News(reload=("a changed", "b changed"))}) == (
        "↻ chat  reload     a changed, b changed"
    )
    assert plan(stack(CHAT), found, {one.id: News(("a changed",), ("secret K changed",))}) == (
        "~ chat  replace    secret K changed"
    )


def test_a_stopped_service_with_changed_files_is_only_started():
    found = with_chat(Status="exited", ExitCode=0)
    (one,) = found.containers
    assert plan(stack(CHAT), found, {one.id: News(reload=("a changed",))}) == (
        "+ chat  start      stopped: exit code 0"
    )


def test_what_is_not_wanted_goes_but_volumes_stay():
    found = simulated.snapshot(stack(PREPARE, CHAT))
    told = plan(stack(PREPARE), found).splitlines()
    assert [line.split()[:3] for line in told] == [["-", "chat", "remove"], ["-", "network", "p_backend"]]


def test_the_monitoring_goes_when_it_is_switched_off():
    watching = project(replace(CHAT, service="prometheus", name="prometheus"), name="p-monitoring")
    both = Stack("p", "docker", (), projects=(project(CHAT), watching))
    assert plan(both, simulated.snapshot(both)) == ""
    assert "- prometheus" in plan(stack(CHAT), simulated.snapshot(both))


def test_another_platform_on_the_same_host_is_never_touched():
    theirs = simulated.snapshot(Stack("q", "docker", (), projects=(project(CHAT, name="q"),)))
    found = simulated.snapshot(stack(CHAT))
    both = replace(
        found,
        containers=(*found.containers, *theirs.containers),
        networks=(*found.networks, *theirs.networks),
        volumes=(*found.volumes, *theirs.volumes),
    )
    assert plan(stack(CHAT), both) == ""


def test_an_image_that_was_deleted_is_no_reason_to_replace_what_runs_from_it():
    found = replace(simulated.snapshot(stack(CHAT)), images={})
    assert plan(stack(CHAT), found) == ""


def test_an_image_that_was_made_anew_is():
    found = simulated.snapshot(stack(CHAT))
    moved = {**found.images, "vllm:1": replace(found.images["vllm:1"], id="sha256:two")}
    assert plan(stack(CHAT), replace(found, images=moved)) == (
        "~ chat  replace    image vllm:1 was made anew"
    )


def test_of_several_each_is_looked_at():
    several = replace(CHAT, name="", count=3)
    found = simulated.snapshot(stack(several))
    assert plan(stack(several), found) == ""
    fewer = replace(found, containers=found.containers[:2])
    assert plan(stack(several), fewer) == "+ chat  create     not there"
    assert plan(stack(replace(several, count=2)), found) == "- chat  remove     no longer in the profile"


def test_a_network_of_somebody_else_under_our_name_is_made_ours():
    found = simulated.snapshot(stack(CHAT))
    theirs = replace(found.networks[0], project="")
    assert plan(stack(CHAT), replace(found, networks=(theirs,))) == (
        "~ network backend  replace    it belongs to nobody -> p"
    )


WORDS = st.text("abcXYZ-=:/. $\"'é", min_size=1, max_size=8)
NAMES = st.text("abcdef", min_size=1, max_size=6)
COUNTS = st.none() | st.integers(1, 2**34)


def several(values: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, max_size=most, unique_by=str).map(tuple)


MOUNTS = st.builds(Mount, st.just("volume"), NAMES, NAMES.map("/{}".format), st.booleans()) | st.builds(
    Mount, st.just("bind"), NAMES.map("/{}".format), NAMES.map("/{}".format), st.booleans()
)
CONTAINERS = st.builds(
    Container,
    service=NAMES,
    role=st.sampled_from(["engine", "gateway", "edge", "monitoring", "prepare"]),
    image=NAMES.map("{}:1".format),
    name=st.just(""),
    count=st.integers(1, 3),
    entrypoint=several(WORDS),
    command=several(WORDS, 6),
    env=st.dictionaries(NAMES, WORDS, max_size=3).map(lambda env: tuple(env.items())),
    user=st.sampled_from(["", "1:1", "0:0"]),
    networks=st.lists(
        st.builds(Attachment, st.sampled_from(["front", "backend"]), several(NAMES)),
        max_size=2, unique_by=lambda at: at.network,
    ).map(tuple),
    mounts=several(MOUNTS),
    ports=several(st.builds(Port, st.integers(1, 65535), st.integers(1, 65535),
                            st.sampled_from(["0.0.0.0", "127.0.0.1"]), st.sampled_from(["tcp", "udp"]))),
    healthcheck=st.none() | st.builds(Healthcheck, st.just(("CMD", "x")), st.integers(1, 60).map(float)),
    devices=st.none() | st.builds(Devices, st.sampled_from(["nvidia", "cdi"]), several(WORDS).filter(bool)),
    read_only=st.booleans(),
    cap_drop=st.sampled_from([(), ("ALL",), ("CHOWN", "KILL")]),
    cap_add=st.sampled_from([(), ("CHOWN",)]),
    security_opt=st.sampled_from([(), ("no-new-privileges:true",)]),
    pids_limit=COUNTS,
    shm_bytes=COUNTS,
    tmpfs=st.dictionaries(NAMES.map("/{}".format), WORDS, max_size=2).map(lambda t: tuple(t.items())),
    limits=st.dictionaries(NAMES, st.integers(-1, 9), max_size=2).map(
        lambda all_: tuple(Limit(name, value, value) for name, value in all_.items())
    ),
    sysctls=st.dictionaries(NAMES, NAMES, max_size=2).map(lambda s: tuple(s.items())),
    memory_bytes=COUNTS,
    cpus=st.none() | st.sampled_from([0.5, 1.0, 2.25]),
    stop_signal=st.sampled_from(["", "SIGQUIT"]),
    stop_grace_s=st.integers(0, 300).map(float),
    restart=st.sampled_from(["unless-stopped", "no"]),
    log_max_bytes=st.integers(1, 2**30),
    init=st.booleans(),
)  # fmt: skip
STACKS = st.lists(CONTAINERS, min_size=1, max_size=4, unique_by=lambda one: one.service).map(
    lambda containers: stack(*containers)
)


@settings(max_examples=examples(150), deadline=None)
@given(STACKS)
def test_after_apply_there_is_nothing_to_do(wanted: Stack):
    assert reconcile.plan(wanted, simulated.snapshot(wanted), ours=("p",)).actions == ()


@settings(max_examples=examples(150), deadline=None)
@given(STACKS, st.data())
def test_whatever_changes_in_a_container_it_alone_is_replaced(wanted: Stack, data: st.DataObject):
    (here,) = wanted.projects
    index = data.draw(st.integers(0, len(here.containers) - 1))
    other = data.draw(CONTAINERS)
    kept = {"service", "role", "image", "name", "count", "networks", "mounts", "restart", "needs", "reasons"}
    names = [
        f.name for f in dataclasses.fields(Container) if f.name not in {*kept, "build", "pull", "labels"}
    ]
    name = data.draw(st.sampled_from(names))
    before = here.containers[index]
    after = replace(before, **{name: getattr(other, name)})
    if after == before:
        return
    containers = (*here.containers[:index], after, *here.containers[index + 1 :])
    found = reconcile.plan(stack(*containers), simulated.snapshot(wanted), ours=("p",)).actions
    assert [(action.kind, action.service) for action in found] == [("replace", after.service)] * after.count
    assert all(action.cause for action in found)


def test_it_is_known_of_each_container_what_it_is():
    one: Seen = simulated.seen(stack(CHAT).projects[0], CHAT)
    assert (one.service, one.number, one.role, one.spec_hash != "") == ("chat", 1, "", True)
