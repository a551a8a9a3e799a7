"""What containers mount is there, and can be read by the user they run as."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from infctl.cli import mounts
from infctl.profile.schema import Profile
from infctl.stack import Layout

USER = (10001, 10001)
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def layout(folder: Path) -> Layout:
    return Layout(folder, folder / ".infctl" / "p", beside=True)


def profile(**rest: Any) -> Profile:
    models = {"chat": {"source": "a/b", "task": "chat"}}
    return Profile.model_validate({"name": "p", "models": models, **rest})


def access(path: Path) -> tuple[int, int, str]:
    found = path.stat()
    return found.st_uid, found.st_gid, f"{found.st_mode & 0o777:o}"


def test_roots_private_env_gets_the_group_that_containers_run_as(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("A=1")
    env.chmod(0o600)
    mounts.make_ready(profile(edge={"enabled": False}), layout(tmp_path))
    assert access(env) == (0, USER[1], "640")
    mounts.make_ready(profile(edge={"enabled": False}), layout(tmp_path))
    assert access(env) == (0, USER[1], "640")


def test_what_everybody_reads_or_the_user_owns_stays_as_it_is(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("A=1")
    env.chmod(0o644)
    mounts.make_ready(profile(edge={"enabled": False}), layout(tmp_path))
    assert access(env) == (0, 0, "644")
    env.chmod(0o600)
    os.chown(env, *USER)
    mounts.make_ready(profile(edge={"enabled": False}), layout(tmp_path))
    assert access(env) == (*USER, "600")


def test_the_folder_of_weights_is_made_for_that_user(tmp_path: Path) -> None:
    mounts.make_ready(profile(edge={"enabled": False}), layout(tmp_path))
    assert access(tmp_path / "hf-cache")[:2] == USER
    os.chown(tmp_path / "hf-cache", 7, 7)
    mounts.make_ready(profile(edge={"enabled": False}), layout(tmp_path))
    assert access(tmp_path / "hf-cache")[:2] == (7, 7), "one that is there is a person's"


def test_a_self_signed_pair_and_its_folder_can_be_read(tmp_path: Path) -> None:
    tls = tmp_path / "nginx" / "tls"
    tls.mkdir(parents=True, mode=0o700)
    for name in ("certificate.pem", "key.pem"):
        (tls / name).write_text("x")
        (tls / name).chmod(0o600)
    mounts.make_ready(profile(), layout(tmp_path))
    assert access(tls) == (0, USER[1], "750")
    assert access(tls / "key.pem") == (0, USER[1], "640")


def test_processes_need_none_of_it(tmp_path: Path) -> None:
    mounts.make_ready(profile(runtime="process", gpus="cpu"), layout(tmp_path))
    assert list(tmp_path.iterdir()) == []
