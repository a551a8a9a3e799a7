"""A whole platform: order, neighbours, monitoring, names and addresses that are taken, logs, restart."""

from __future__ import annotations

import itertools
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infctl.engine.docker import binds
from infctl.engine.docker.observed import when
from infctl.errors import EngineError
from infctl.stack.containers import Build, Container, Devices, Mount, Port
from tests.docker.host import until
from tests.infctl.engine.docker.conftest import READY, SERVE, Toy, failing, needs

SLOW: dict[str, Any] = {
    "command": (SERVE.replace("touch /tmp/ready", "sleep 1.5; echo loaded; touch /tmp/ready"),),
    "healthcheck": replace(READY, start_period_s=30.0),
}


def span(toy: Toy, service: str) -> tuple[float, float]:
    """From the start of a container to its line `loaded`."""
    begun = toy.seen(service).started_at
    assert begun is not None
    lines = toy.host.client.api.logs(toy.seen(service).id, timestamps=True).decode().splitlines()
    at = [when(line.partition(" ")[0]) for line in lines if line.endswith(" loaded")]
    assert at[-1] is not None
    return begun, at[-1]


def test_neighbours_load_one_after_the_other_and_others_at_once(toy: Toy):
    first = toy.container("chat0", **SLOW)
    second = toy.container("chat1", needs=needs("chat0"), **SLOW)
    third = toy.container("embed", needs=needs("chat1"), **SLOW)
    other = toy.container("other", **SLOW)
    toy.up(first, second, third, other)
    spans = [span(toy, name) for name in ("chat0", "chat1", "embed")]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    alone = span(toy, "other")
    assert alone[0] < spans[0][1], "on another GPU it loads meanwhile"


def test_replaced_neighbours_load_one_after_the_other_too(toy: Toy):
    chat0 = toy.container("chat0", "--flag", "0", **SLOW)
    toy.up(chat0, toy.container("chat1", needs=needs("chat0"), **SLOW))
    toy.docker("stop", f"{toy.name}-chat1-c")
    changed = toy.container("chat0", env=(("A", "1"),), **SLOW)
    toy.up(changed, toy.container("chat1", needs=needs("chat0"), **SLOW))
    assert span(toy, "chat0")[1] <= span(toy, "chat1")[0]


def test_a_one_shot_that_fails_stops_what_needs_it(toy: Toy):
    prepare = toy.one_shot("prepare", "echo cannot read .env; exit 9")
    chat = toy.container("chat", needs=needs("prepare", "service_completed_successfully"))
    with pytest.raises(EngineError, match="prepare did not start: exit code 9") as caught:
        toy.up(prepare, chat)
    assert "cannot read .env" in caught.value.log
    assert [one.service for one in toy.engine._containers()] == ["prepare"]
    fixed = toy.one_shot("prepare", "true")
    toy.up(fixed, chat)
    assert toy.plan(fixed, chat) == ""


def test_a_first_start_that_fails_once_gets_another_try(toy: Toy):
    (toy.folder / "flag").mkdir()
    mount = Mount("bind", str(toy.folder / "flag"), "/flag", read_only=False)
    script = f"test -e /flag/second || {{ touch /flag/second; exit 7; }}; {SERVE}"
    events = toy.up(toy.container("chat", command=(script,), mounts=(mount,), user="0:0"))
    assert [event.kind for event in events if event.kind != "loading"] == ["started", "crashed", "ready"]


def test_a_lasting_cause_is_not_tried_three_times(toy: Toy):
    said = "vllm: error: unrecognized arguments: --nonsense"
    with pytest.raises(EngineError, match="does not know the argument --nonsense"):
        toy.up(toy.container("chat", **failing(said)))
    lines = toy.host.client.api.logs(toy.seen("chat").id).decode().splitlines()
    assert len(lines) < 3


def test_the_monitoring_is_a_project_of_its_own_and_goes_with_the_platform(toy: Toy):
    watching = (toy.container("prometheus", role="monitoring"),)
    chat = toy.container("chat")
    toy.up(chat, watching=watching)
    assert toy.seen("prometheus").project == f"{toy.name}-monitoring"
    assert toy.plan(chat, watching=watching) == ""
    assert toy.plan(chat) == "- prometheus  remove     no longer in the profile"
    list(toy.engine.down(volumes=True))
    assert toy.left() == []


def test_a_monitoring_that_fails_fails_the_up(toy: Toy):
    with pytest.raises(EngineError, match="prometheus did not start"):
        toy.up(
            toy.container("chat"), watching=(toy.container("prometheus", role="monitoring", **failing("x")),)
        )
    assert toy.seen("chat").is_ready


def test_a_name_that_another_project_has_is_refused_before_anything_is_made(toy: Toy):
    name = f"{toy.name}-chat-c"
    toy.docker("create", "--name", name, toy.image, "true")
    try:
        with pytest.raises(EngineError, match=f"not ours: {name}") as caught:
            toy.up(toy.container("chat"))
        assert f"docker rm -f {name}" in caught.value.hint
        assert toy.left() == [name]
    finally:
        toy.docker("rm", "-f", name)


def test_a_port_that_a_process_holds_is_refused_with_its_name(toy: Toy):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        with pytest.raises(EngineError, match=f"127.0.0.1:{port} is held by process") as caught:
            toy.up(toy.container("nginx", role="edge", ports=(Port(port, 8000, "127.0.0.1"),)))
    assert "edge/https_port" in caught.value.hint
    assert toy.left() == []


def test_a_port_that_another_container_holds_is_refused_with_its_name(toy: Toy):
    port = free_port()
    with toy.host.run(toy.image, ["sleep", "60"], ports={"8000/tcp": ("127.0.0.1", port)}) as other:
        with pytest.raises(EngineError, match=f"is held by the container {other.name}"):
            toy.up(toy.container("nginx", role="edge", ports=(Port(port, 8000),)))
        assert toy.left() == []


def test_a_port_of_our_own_that_stays_is_no_obstacle(toy: Toy):
    port = free_port()
    ports = (Port(port, 8000, "127.0.0.1"),)
    toy.up(toy.container("nginx", "--flag", "0", role="edge", ports=ports))
    toy.up(toy.container("nginx", "--flag", "1", role="edge", ports=ports))
    assert toy.seen("nginx").is_ready


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_image_that_is_not_there_and_may_not_be_fetched_is_named(toy: Toy):
    with pytest.raises(EngineError, match="`pull: never` forbids") as caught:
        toy.up(toy.container("chat", image="infctl-test/none:1", pull="never"))
    assert [problem.path for problem in caught.value.problems] == ["infctl-test/none:1"]
    assert toy.left() == []


def test_an_image_that_cannot_be_fetched_is_named_with_what_to_do(toy: Toy):
    with pytest.raises(EngineError, match="the image localhost:9/none:1 cannot be fetched") as caught:
        toy.up(toy.container("chat", image="localhost:9/none:1"))
    assert caught.value.hint
    assert toy.left() == []


def built(toy: Toy, dockerfile: str) -> Container:
    folder = toy.folder / "image"
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(dockerfile)
    return toy.container("gateway", role="gateway", image=f"{toy.name}-gw:1", build=Build(str(folder)))


def test_an_image_is_built_from_its_folder_with_progress(toy: Toy):
    gateway = built(toy, f"FROM {toy.image}\nRUN echo building && echo 1 > /made\n")
    assert toy.engine.preparations(toy.stack(gateway)) == (), "its files are written by then, not now"
    try:
        events = toy.up(gateway)
        said = [event.text for event in events if event.service == f"image {gateway.image}"]
        assert any("RUN echo building" in text for text in said)
        assert toy.docker("exec", f"{toy.name}-gateway-c", "cat", "/made") == "1"
        (about,) = toy.engine.images(toy.stack(gateway))
        assert (about.services, about.digest, about.bytes > 0) == (("gateway",), "", True)
    finally:
        list(toy.engine.down())
        toy.docker("rmi", "-f", gateway.image)


def test_an_image_whose_files_changed_is_built_anew_and_its_containers_replaced(toy: Toy):
    gateway = built(toy, f"FROM {toy.image}\nCOPY a /a\n")
    folder = toy.folder / "image"
    (folder / "a").write_text("one")
    prepare = toy.one_shot("prepare", "cat /a", image=gateway.image)
    try:
        toy.up(prepare, gateway)
        assert toy.plan(prepare, gateway) == ""
        first = toy.seen("gateway").image_id
        digest = {str(folder / "b"): "ab"}
        told = toy.engine.plan(toy.stack(prepare, gateway), {}, coming=digest)
        cause = f"image {gateway.image} is built anew: its files changed"
        assert [action.cause for action in told] == [cause, cause]
        (folder / "a").write_text("two")
        assert f"~ gateway  replace    {cause}" in toy.plan(prepare, gateway)
        toy.up(prepare, gateway)
        assert toy.docker("exec", f"{toy.name}-gateway-c", "cat", "/a") == "two"
        assert toy.seen("gateway").image_id != first
        assert toy.plan(prepare, gateway) == ""
    finally:
        list(toy.engine.down())
        toy.docker("rmi", "-f", gateway.image)


def test_an_image_that_somebody_else_built_is_taken_as_it_is(toy: Toy):
    gateway = built(toy, f"FROM {toy.image}\n")
    toy.docker("tag", toy.image, gateway.image)
    try:
        toy.up(gateway)
        (toy.folder / "image" / "more").write_text("x")
        assert toy.plan(gateway) == ""
    finally:
        list(toy.engine.down())
        toy.docker("rmi", gateway.image)


def test_what_fetches_weights_has_its_image_built_before(toy: Toy):
    gateway = built(toy, f"FROM {toy.image}\n")
    prepare = toy.one_shot("prepare", "true", image=gateway.image)
    done = needs("prepare", "service_completed_successfully")
    weights = toy.one_shot("weights", "echo fetched", role="weights", needs=done)
    try:
        stack = toy.write(toy.stack(prepare, weights, gateway))
        events = list(toy.engine.fetch(stack))
        assert [e.service for e in events if e.kind == "ready"] == [
            f"image {gateway.image}",
            "prepare",
            "weights",
        ]
        assert [one.service for one in toy.engine._containers()] == ["weights", "prepare"]
    finally:
        list(toy.engine.down())
        toy.docker("rmi", gateway.image)


def test_a_build_that_fails_shows_its_last_lines(toy: Toy):
    gateway = built(toy, f"FROM {toy.image}\nRUN echo this is why; exit 3\n")
    with pytest.raises(EngineError, match="cannot be built") as caught:
        toy.up(gateway)
    assert any("this is why" in line for line in caught.value.log)


def test_logs_of_several_are_interleaved_by_time_and_followed(toy: Toy):
    toy.up(toy.container("chat"), toy.container("embed", needs=needs("chat")))
    lines = list(toy.engine.logs(lines=5))
    assert [(line.service, line.text) for line in lines] == [("chat", "serving "), ("embed", "serving ")]
    assert all(line.at is not None for line in lines)
    assert list(toy.engine.logs(["embed"], lines=5)) == lines[1:]
    last = lines[-1].at
    assert last is not None
    assert list(toy.engine.logs(since=last + 1)) == []
    following = toy.engine.logs(lines=1, follow=True, poll_s=0.05)
    assert next(following).text == "serving "
    assert next(following).text == "serving "
    toy.docker("exec", f"{toy.name}-chat-c", "sh", "-c", "echo hello > /proc/1/fd/1")
    assert [(line.service, line.text) for line in itertools.islice(following, 1)] == [("chat", "hello")]
    toy.docker("exec", f"{toy.name}-embed-c", "sh", "-c", "echo again > /proc/1/fd/1")
    assert next(following).text == "again"
    following.close()


def test_following_goes_on_with_a_container_that_was_replaced(toy: Toy):
    toy.up(toy.container("chat", "0"))
    following = toy.engine.logs(lines=1, follow=True, poll_s=0.05)
    assert next(following).text == "serving 0"
    again = toy.another()
    list(again.apply(toy.write(toy.stack(toy.container("chat", "1"))), {}))
    assert next(line.text for line in following if line.text != "stopping") == "serving 1"
    following.close()
    again.client.close()


def test_restart_keeps_containers_and_waits_for_them(toy: Toy):
    chat, embed = toy.container("chat"), toy.container("embed", needs=needs("chat"))
    toy.up(toy.one_shot("prepare", "true"), chat, embed)
    before, starts = toy.ids(), {name: toy.seen(name).started for name in ("chat", "embed", "prepare")}
    events = list(toy.engine.restart(["embed"]))
    assert [event.kind for event in events if event.kind != "loading"] == ["stopped", "started", "ready"]
    assert toy.seen("chat").started == starts["chat"]
    assert toy.seen("embed").started != starts["embed"]
    list(toy.engine.restart())
    assert toy.seen("chat").started != starts["chat"]
    assert toy.seen("prepare").started == starts["prepare"], "it is done"
    assert toy.ids() == before
    with pytest.raises(EngineError, match="there is no service nobody"):
        list(toy.engine.restart(["nobody"]))


def test_restart_of_what_compose_started(toy: Toy):
    toy.write(toy.stack(toy.container("chat")))
    toy.compose("up", "-d", "--wait")
    started = toy.seen("chat").started
    list(toy.engine.restart())
    assert toy.seen("chat").started != started
    assert toy.seen("chat").is_ready


def test_exec_and_usage_speak_of_the_service(toy: Toy):
    toy.up(toy.container("chat"))
    ran = toy.engine.exec("chat", ["sh", "-c", "read x; echo $x; exit 5"], b"in\n")
    assert (ran.code, ran.text) == (5, "in\n")
    used = toy.engine.usage()["chat"]
    assert 0 < used.memory_bytes < 2**28
    assert used.processes >= 1
    with pytest.raises(EngineError, match="nobody does not run"):
        toy.engine.exec("nobody", ["true"])


def test_what_compose_had_started_is_not_taken_down_when_an_up_fails(toy: Toy):
    toy.write(toy.stack(toy.container("chat")))
    toy.compose("up", "-d", "--wait")
    kept = toy.seen("chat").id
    with pytest.raises(EngineError):
        toy.up(toy.container("chat", **failing("no")))
    events = list(toy.engine.revert())
    assert "left as it is" in events[-1].text
    assert toy.seen("chat").id == kept
    assert toy.engine.running() is None
    until(lambda: toy.seen("chat").is_ready, 20, "it is ready again")


def test_a_context_elsewhere_is_asked_whether_it_has_what_is_mounted(toy: Toy, tmp_path: Path):
    far = replace(toy.engine.client, address="ssh://gpu-box")
    there = toy.container("chat", mounts=(Mount("bind", str(tmp_path), "/a"),))
    binds.check(far, toy.stack(there))
    lost = toy.container(
        "embed", mounts=(Mount("bind", "/nowhere/a", "/a"), Mount("bind", "/nowhere/b", "/b"))
    )
    with pytest.raises(
        EngineError, match="2 paths that containers mount are not on the Docker host"
    ) as caught:
        binds.check(far, toy.stack(there, lost))
    assert [problem.path for problem in caught.value.problems] == ["/nowhere/a", "/nowhere/b"]
    assert toy.left() == []


def test_a_gpu_that_the_engine_cannot_hand_out_is_told_with_what_to_do(toy: Toy):
    with pytest.raises(EngineError, match="NVIDIA Container Toolkit is missing") as caught:
        toy.up(toy.container("chat", devices=Devices("nvidia", ("0",))))
    assert caught.value.message.startswith(f"{toy.name}-chat-c cannot be started: ")
    assert "nvidia-ctk" in caught.value.hint


def test_an_image_without_the_program_is_told(toy: Toy):
    with pytest.raises(EngineError, match="its image has no program nothing-like-it"):
        toy.up(toy.container("chat", entrypoint=("nothing-like-it",), command=()))
