"""Changed contents of mounted files: reloaded where that is enough, never missed, and never twice."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from infctl.stack import ConfigFile, Service
from infctl.stack.containers import Container, Mount
from tests.docker.host import until
from tests.infctl.engine.docker.conftest import Toy, needs

RELOAD = "↻ gateway  reload     a.conf changed"


@pytest.fixture
def conf(toy: Toy) -> Path:
    (toy.folder / "conf").mkdir()
    file = toy.folder / "conf" / "a.conf"
    file.write_text("one")
    return file


def read(toy: Toy) -> str:
    return toy.docker("exec", f"{toy.name}-gateway-c", "cat", "/tmp/loaded")


def test_a_changed_file_is_reloaded_not_restarted(toy: Toy, conf: Path):
    gateway = toy.reads("gateway", conf)
    toy.up(gateway)
    before = toy.ids()
    conf.write_text("two")
    assert toy.plan(gateway) == RELOAD
    events = toy.up(gateway)
    assert [event.kind for event in events] == ["reloaded"]
    until(lambda: read(toy) == "two", 10, "the new file was taken in")
    assert toy.plan(gateway) == ""
    assert toy.ids() == before


def test_a_file_that_is_about_to_be_written_counts_as_changed(toy: Toy, conf: Path):
    gateway = toy.reads("gateway", conf)
    toy.up(gateway)
    toy.services["gateway"] = Service(
        "gateway", "gateway", (), files=(ConfigFile(str(conf), "ab" * 32, "reload"),), reload_signal="HUP"
    )
    assert toy.plan(gateway) == RELOAD


def test_of_a_container_that_compose_started_an_older_file_counts_as_read(toy: Toy, conf: Path):
    gateway = toy.reads("gateway", conf)
    toy.write(toy.stack(gateway))
    toy.compose("up", "-d", "--wait")
    assert toy.plan(gateway) == ""
    conf.write_text("two")
    os.utime(conf, (2e9, 2e9))
    assert toy.plan(gateway) == RELOAD
    toy.up(gateway)
    assert toy.plan(gateway) == ""


def test_a_container_that_was_restarted_by_hand_has_read_what_lay_there(toy: Toy, conf: Path):
    gateway = toy.reads("gateway", conf)
    toy.up(gateway)
    conf.write_text("two")
    os.utime(conf, (1e9, 1e9))
    toy.docker("restart", f"{toy.name}-gateway-c")
    until(lambda: toy.seen("gateway").is_ready, 20, "it is ready again")
    assert toy.plan(gateway) == ""


def with_env(toy: Toy) -> Container:
    env = toy.layout.env_file
    if not env.exists():
        env.write_text("BACKEND_API_KEY=old\n")
    toy.services["gateway"] = Service(
        "gateway", "gateway", (), files=(ConfigFile(str(env), "", "reload"),), reload_signal="HUP"
    )
    return toy.container("gateway", role="gateway", mounts=(Mount("bind", str(env), "/run/infctl/.env"),))


def test_a_single_file_edited_in_place_is_reloaded(toy: Toy):
    gateway = with_env(toy)
    toy.up(gateway)
    with toy.layout.env_file.open("a") as file:
        file.write("MORE=1\n")
    assert toy.plan(gateway) == "↻ gateway  reload     .env changed"
    toy.up(gateway)
    assert toy.plan(gateway) == ""


def test_a_single_file_that_was_replaced_needs_a_new_container(toy: Toy):
    gateway = with_env(toy)
    toy.up(gateway)
    fresh = toy.folder / "fresh"
    fresh.write_text("BACKEND_API_KEY=new\n")
    fresh.replace(toy.layout.env_file)
    assert toy.plan(gateway) == ("~ gateway  replace    .env changed, and the container has the old one")
    toy.up(gateway)
    assert toy.plan(gateway) == ""
    assert "new" in toy.docker("exec", f"{toy.name}-gateway-c", "cat", "/run/infctl/.env")


def keyed(toy: Toy) -> tuple[Container, ...]:
    env = Mount("bind", str(toy.layout.env_file), "/run/infctl/.env")
    keys = Mount("volume", "keys", "/keys", read_only=False)
    script = ". /run/infctl/.env; echo $BACKEND_API_KEY > /keys/backend"
    prepare = toy.one_shot("prepare", script, mounts=(env, keys), user="0:0")
    prepare = replace(prepare, command=(script, "--key", "BACKEND_API_KEY=/keys/backend"))
    chat = toy.container(
        "chat",
        "--key-file",
        "/keys/backend",
        mounts=(keys,),
        needs=needs("prepare", "service_completed_successfully"),
    )
    return prepare, chat


def test_a_changed_key_is_written_again_and_its_engine_replaced(toy: Toy):
    toy.layout.env_file.write_text("BACKEND_API_KEY=old\nOTHER=1\n")
    containers = keyed(toy)
    toy.up(*containers)
    assert toy.plan(*containers) == ""
    toy.layout.env_file.write_text("BACKEND_API_KEY=new\nOTHER=1\n")
    assert toy.plan(*containers).splitlines() == [
        "+ prepare  start      secret BACKEND_API_KEY changed",
        "~ chat     replace    secret BACKEND_API_KEY changed",
    ]
    toy.up(*containers)
    assert toy.docker("exec", f"{toy.name}-chat-c", "cat", "/keys/backend") == "new"
    assert toy.plan(*containers) == ""
    books = [path.read_text() for path in toy.layout.state.glob("*") if path.is_file()]
    assert not [text for text in books if '"new"' in text], "no value of a secret is in the books"


def test_another_variable_of_env_concerns_no_engine(toy: Toy):
    toy.layout.env_file.write_text("BACKEND_API_KEY=old\nOTHER=1\n")
    containers = keyed(toy)
    toy.up(*containers)
    toy.layout.env_file.write_text("BACKEND_API_KEY=old\nOTHER=2\n")
    assert toy.plan(*containers) == ""


def test_a_one_shot_that_ended_well_is_not_run_again(toy: Toy):
    toy.layout.env_file.write_text("BACKEND_API_KEY=old\n")
    containers = keyed(toy)
    toy.up(*containers)
    ran = toy.seen("prepare").started
    toy.up(*containers)
    assert toy.seen("prepare").started == ran


def test_prometheus_reloads_its_rules_and_grafana_is_replaced(toy: Toy):
    folder = toy.folder / "conf"
    folder.mkdir()
    (folder / "a.conf").write_text("one")
    mount = (Mount("bind", str(folder), "/conf"),)
    watching = (
        toy.container("prometheus", role="monitoring", mounts=mount),
        toy.container("grafana", role="monitoring", mounts=mount),
    )
    chat = toy.container("chat")
    toy.up(chat, watching=watching)
    assert toy.plan(chat, watching=watching) == ""
    (folder / "a.conf").write_text("two")
    assert toy.plan(chat, watching=watching).splitlines() == [
        "↻ prometheus  reload     a.conf changed",
        "~ grafana     replace    a.conf changed",
    ]
    toy.up(chat, watching=watching)
    assert toy.plan(chat, watching=watching) == ""


def test_a_monitoring_file_that_is_about_to_be_written_is_in_the_plan(toy: Toy):
    folder = toy.folder / "conf"
    folder.mkdir()
    (folder / "a.yml").write_text("one")
    watching = (
        toy.container("prometheus", role="monitoring", mounts=(Mount("bind", str(folder), "/conf"),)),
    )
    stack = toy.stack(toy.container("chat"), watching=watching)
    toy.apply(stack)
    digests = {text: hashlib.sha256(text.encode()).hexdigest() for text in ("one", "two")}
    same = {str(folder / "a.yml"): digests["one"], "/elsewhere/b.yml": "ab"}
    assert toy.engine.plan(stack, {}, coming=same) == ()
    other = {str(folder / "a.yml"): digests["two"], str(folder / "new.yml"): "ab"}
    (action,) = toy.engine.plan(stack, {}, coming=other)
    assert (action.kind, action.service) == ("reload", "prometheus")
    assert action.cause == "a.yml changed, new.yml changed"
