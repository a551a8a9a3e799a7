"""Docker on another machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from infctl.doctor.checks.remote import LABEL, judge, look, missing_on_host
from infctl.doctor.docker import look as look_at_docker
from infctl.stack import Stack
from tests.docker.host import DockerHost

BINDS = ["/p/.env", "/p/gateway"]


def test_a_local_engine_needs_no_look(case, engine):
    (found,) = look(case({"runtime": "docker"}, docker=engine(), stack=Stack("p", "docker", ())))
    assert (found.verdict, found.what) == ("ok", "Docker runs on this machine")


def test_what_the_other_machine_lacks_is_listed():
    found = judge("ssh://box", BINDS, ["/p/.env"])
    assert (found.verdict, found.what) == ("failure", "ssh://box does not have /p/.env")
    assert "rsync" in found.fix
    many = judge("ssh://box", BINDS, [f"/p/{n}" for n in range(9)])
    assert many.what.endswith("and 4 more")


def test_with_everything_there_it_is_well_and_unseen_it_is_a_warning():
    assert judge("ssh://box", BINDS, []).verdict == "ok"
    assert judge("ssh://box", [], None).verdict == "ok"
    assert judge("ssh://box", BINDS, None).verdict == "warning"


def test_the_engine_itself_is_asked_and_nothing_is_left(
    docker_host: DockerHost, base_image: str, tmp_path: Path
):
    docker = look_at_docker(os.environ)
    assert docker.client is not None
    with contextlib.closing(docker.client):
        found = missing_on_host(docker, base_image, [str(tmp_path), str(tmp_path / "none")])
        assert found == [str(tmp_path / "none")]
        assert docker.client.api.containers(all=True, filters={"label": f"{LABEL}=remote"}) == []
