"""What somebody did by hand is found, told in words, and put right."""

from __future__ import annotations

import os
import signal

import pytest

from infctl.stack.containers import Attachment, Mount, Network
from tests.docker.host import until
from tests.infctl.engine.docker.conftest import Toy

SIGN = {"start": "+", "create": "+", "replace": "~", "reload": "↻", "remove": "-"}


def line(kind: str, cause: str, service: str = "chat") -> str:
    return f"{SIGN[kind]} {service}  {kind:<9}  {cause}"


@pytest.fixture
def chat(toy: Toy) -> str:
    """The name of its container, which runs."""
    toy.up(toy.container("chat"))
    return f"{toy.name}-chat-c"


def mended(toy: Toy, kind: str, cause: str) -> None:
    assert toy.plan(toy.container("chat")) == line(kind, cause)
    toy.up(toy.container("chat"))
    assert toy.plan(toy.container("chat")) == ""
    assert toy.seen("chat").is_ready


def test_a_memory_limit_set_by_hand(toy: Toy, chat: str):
    toy.docker("update", "--memory", "128m", "--memory-swap", "256m", chat)
    mended(toy, "replace", "edited by hand: memory limit 128 MiB -> none")


def test_a_restart_policy_set_by_hand(toy: Toy, chat: str):
    toy.docker("update", "--restart", "no", chat)
    mended(toy, "replace", "edited by hand: restart no -> unless-stopped")


def test_cpus_taken_away_by_hand(toy: Toy, chat: str):
    toy.docker("update", "--cpus", "0.5", chat)
    mended(toy, "replace", "edited by hand: CPUs 0.5 -> none")


def test_a_container_disconnected_by_hand_is_connected_as_it_runs(toy: Toy, chat: str):
    before = toy.ids()
    toy.docker("network", "disconnect", f"{toy.name}_backend", chat)
    mended(toy, "reload", f"edited by hand: network {toy.name}_backend added")
    assert toy.ids() == before


def test_a_network_connected_by_hand_is_disconnected(toy: Toy, chat: str):
    toy.docker("network", "create", f"{toy.name}-foreign")
    toy.docker("network", "connect", f"{toy.name}-foreign", chat)
    mended(toy, "reload", f"edited by hand: network {toy.name}-foreign removed")
    toy.docker("network", "rm", f"{toy.name}-foreign")


def test_names_lost_in_a_network_come_back(toy: Toy, chat: str):
    toy.docker("network", "disconnect", f"{toy.name}_backend", chat)
    toy.docker("network", "connect", f"{toy.name}_backend", chat)
    mended(toy, "reload", f"edited by hand: name chat, {chat} in network {toy.name}_backend added")


def test_a_container_stopped_by_hand(toy: Toy, chat: str):
    toy.docker("stop", chat)
    mended(toy, "start", "stopped: exit code 0")


def test_a_container_killed_by_hand(toy: Toy, chat: str):
    toy.docker("kill", chat)
    mended(toy, "start", "stopped: killed by SIGKILL")


def test_a_container_paused_by_hand(toy: Toy, chat: str):
    toy.docker("pause", chat)
    mended(toy, "start", "paused by hand")


def test_a_container_removed_by_hand(toy: Toy, chat: str):
    toy.docker("rm", "-f", chat)
    mended(toy, "create", "not there")


def test_a_container_renamed_by_hand(toy: Toy, chat: str):
    toy.docker("rename", chat, f"{chat}x")
    mended(toy, "replace", f"edited by hand: container {chat}x -> {chat}")


def test_a_process_that_was_killed_is_started_again_by_the_engine_itself(toy: Toy, chat: str):
    pid = toy.seen("chat").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: toy.seen("chat").pid not in (pid, None), 20, "the engine starts it again")
    until(lambda: toy.seen("chat").is_ready, 20, "it is ready again")
    assert toy.plan(toy.container("chat")) == ""


def test_a_container_that_restarts_in_a_loop(toy: Toy):
    flag = toy.folder / "flag"
    flag.mkdir()
    script = "touch /tmp/ready; while :; do test -e /flag/x && exit 4; sleep 0.2; done"
    chat = toy.container("chat", command=(script,), mounts=(Mount("bind", str(flag), "/flag"),))
    toy.up(chat)
    (flag / "x").touch()
    until(lambda: "restarts in a loop" in toy.plan(chat), 20, "it restarts in a loop")
    (flag / "x").unlink()
    toy.up(chat)
    assert toy.seen("chat").is_ready


def test_an_unhealthy_container_is_replaced(toy: Toy, chat: str):
    toy.docker("exec", chat, "rm", "/tmp/ready")
    until(lambda: toy.seen("chat").health == "unhealthy", 20, "it is unhealthy")
    assert toy.plan(toy.container("chat")).startswith(line("replace", "unhealthy: "))
    toy.up(toy.container("chat"))
    assert toy.seen("chat").is_ready


def test_a_network_removed_by_hand_is_made_and_its_containers_connected(toy: Toy, chat: str):
    toy.docker("network", "disconnect", f"{toy.name}_backend", chat)
    toy.docker("network", "rm", f"{toy.name}_backend")
    text = toy.plan(toy.container("chat"))
    assert text.splitlines()[0] == "+ network backend  create     not there"
    toy.up(toy.container("chat"))
    assert toy.plan(toy.container("chat")) == ""


def test_a_network_with_another_subnet_is_made_anew_under_running_containers(toy: Toy, chat: str):
    before = toy.ids()
    networks = (Network("backend", f"{toy.name}_backend", internal=True, subnet="10.214.7.0/24"),)
    text = toy.plan(toy.container("chat"), networks=networks)
    assert text.startswith("~ network backend  replace    subnet ")
    assert text.endswith("-> 10.214.7.0/24")
    toy.up(toy.container("chat"), networks=networks)
    assert toy.plan(toy.container("chat"), networks=networks) == ""
    assert toy.ids() == before


def test_a_network_that_got_a_way_out_is_made_anew(toy: Toy):
    networks = (Network("backend", f"{toy.name}_backend"),)
    toy.up(toy.container("chat"), networks=networks)
    assert toy.plan(toy.container("chat")) == ("~ network backend  replace    it has a way out -> has none")


def test_another_image_under_the_same_name_is_noticed(toy: Toy):
    name = f"{toy.name}-image:1"
    toy.docker("tag", toy.image, name)
    toy.up(toy.container("chat", image=name))
    with toy.host.run(toy.image, ["true"]) as container:
        container.wait(timeout=20)
        container.commit(repository=name.partition(":")[0], tag="1")
    try:
        assert toy.plan(toy.container("chat", image=name)) == line("replace", f"image {name} was made anew")
        toy.up(toy.container("chat", image=name))
        assert toy.plan(toy.container("chat", image=name)) == ""
    finally:
        list(toy.engine.down())
        toy.docker("rmi", "-f", name)


def test_a_container_that_is_no_longer_wanted_goes_with_its_network(toy: Toy):
    extra = toy.container("extra", networks=(Attachment("other"),))
    toy.up(toy.container("chat"), extra)
    told = [text.split() for text in toy.plan(toy.container("chat")).splitlines()]
    assert [words[:2] for words in told] == [["-", "extra"], ["-", "network"]]
    toy.up(toy.container("chat"))
    assert [one.service for one in toy.engine._containers()] == ["chat"]
    assert f"{toy.name}_other" not in toy.left()
