"""Whether each service's user can read what is mounted for it."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from infctl.doctor.checks.mounts import Entry, Mounted, Reader, entries, judge, look, reader_of
from infctl.render import RenderedFile
from infctl.stack import Stack
from infctl.stack.containers import Container, Mount, Project

USER = Reader(10001, 10001)
FOLDER = stat.S_IFDIR | 0o755
FILE = stat.S_IFREG | 0o644


def mounted(*found: Entry, reader=USER, needed=(), read_only=True, made=False, named=None) -> Mounted:
    mount = Mount("bind", "/p/nginx", "/etc/nginx", read_only)
    return Mounted("nginx", mount, reader, found, frozenset(needed), named or {}, made)


def root(mode: int = 0o755, *, owner=(0, 0)) -> Entry:
    return Entry("/p/nginx", stat.S_IFDIR | mode, *owner)


def file(mode: int, *, owner=(0, 0), name: str = "nginx.conf") -> Entry:
    return Entry(f"/p/nginx/{name}", stat.S_IFREG | mode, *owner)


def told(*found: Mounted):
    return list(judge(found))


@pytest.mark.parametrize(
    "entry",
    [
        file(0o644),
        file(0o600, owner=(10001, 0)),
        file(0o640, owner=(0, 10001)),
        # The first class that fits decides: the owner may, whatever the others may.
        file(0o400, owner=(10001, 10001)),
    ],
)
def test_what_the_user_may_read_is_well(entry):
    (found,) = told(mounted(root(), entry))
    assert (found.verdict, found.what) == ("ok", "1 mounted files and folders can be read by their services")


@pytest.mark.parametrize(
    "entry",
    [
        file(0o600),
        file(0o640, owner=(0, 7)),
        # Its owner has no right, although all others have: the kernel does not look further.
        file(0o044, owner=(10001, 0)),
        file(0o604, owner=(0, 10001)),
    ],
)
def test_what_it_may_not_read_is_a_failure_with_who_owns_it(entry):
    (found,) = told(mounted(root(), entry))
    assert (found.verdict, found.path) == ("failure", "hardening/user")
    assert found.what == "/p/nginx/nginx.conf cannot be read by nginx, which runs as 10001:10001"
    assert f"mode {stat.S_IMODE(entry.mode):04o}" in found.why


def test_what_infctl_up_mends_itself_is_a_warning_with_the_same_by_hand():
    (found,) = told(replace(mounted(root(), file(0o600)), mended=frozenset({"/p/nginx/nginx.conf"})))
    assert (found.verdict, found.fix.startswith("infctl up does it")) == ("warning", True)
    assert "chgrp 10001 /p/nginx/nginx.conf && sudo chmod g+r" in found.fix


def test_a_folder_has_to_be_entered_as_well():
    (found,) = told(mounted(root(0o744), file(0o644)))
    assert found.what.startswith("/p/nginx cannot be read by nginx")
    assert told(mounted(root(0o711)))[0].verdict == "failure"


def test_a_folder_that_is_written_needs_the_right_to_write():
    writes = mounted(root(0o755), read_only=False)
    (found,) = told(writes)
    assert (found.verdict, "cannot be written by nginx" in found.what) == ("failure", True)
    assert told(mounted(root(0o700, owner=(10001, 0)), read_only=False))[0].verdict == "ok"


def test_of_a_folder_that_is_another_s_only_what_is_named_counts():
    private = file(0o600, name="other.key")
    assert told(mounted(root(), file(0o644), private, needed=["/p/nginx/nginx.conf"]))[0].verdict == "ok"
    assert told(mounted(root(), file(0o644), private, needed=["/p/nginx/other.key"]))[0].verdict == "failure"
    # A folder on the way to it counts too.
    shut = Entry("/p/nginx/sub", stat.S_IFDIR | 0o700, 0, 0)
    assert told(mounted(root(), shut, needed=["/p/nginx/sub/a.conf"]))[0].verdict == "failure"


@pytest.mark.parametrize(
    ("link", "verdict"),
    [
        ("nginx.conf", "ok"),
        ("./sub/../nginx.conf", "ok"),
        ("../../archive/fullchain1.pem", "failure"),
        ("/p/nginx/nginx.conf", "failure"),
        ("..", "failure"),
    ],
)
def test_a_link_out_of_the_mounted_folder_leads_nowhere_inside(link, verdict):
    entry = Entry("/p/nginx/fullchain.pem", stat.S_IFLNK | 0o777, 0, 0, link)
    found = told(mounted(root(), file(0o644), entry, named={entry.path: "edge/tls/certificate"}))
    assert found[0].verdict == verdict
    if verdict == "failure":
        assert found[0].path == "edge/tls/certificate"
        assert "readlink -f" in found[0].fix


def test_a_mounted_path_that_is_itself_a_link_is_followed_by_docker():
    assert told(mounted(Entry("/p/nginx", FOLDER, 0, 0, "/elsewhere")))[0].verdict == "ok"


def test_root_with_its_rights_reads_everything_and_without_them_nothing_more():
    container = Container("prepare", "prepare", "i:1", user="0:0", cap_add=("CHOWN", "DAC_OVERRIDE"))
    assert reader_of(container) == Reader(0, 0, overrides=True)
    assert told(mounted(root(), file(0o600, owner=(5, 5)), reader=reader_of(container)))[0].verdict == "ok"
    bare = reader_of(Container("x", "edge", "i:1", user="0:0"))
    assert bare == Reader(0, 0)
    assert told(mounted(root(), file(0o600, owner=(5, 5)), reader=bare))[0].verdict == "failure"


def test_a_user_by_name_is_not_known():
    assert reader_of(Container("x", "edge", "i:1", user="nginx")) is None
    assert reader_of(Container("x", "edge", "i:1")) is None
    assert reader_of(Container("x", "edge", "i:1", user="1000")) == Reader(1000, 0)
    assert told(mounted(root(0o700), reader=None))[0].verdict == "ok"


def test_what_is_not_there_is_a_failure_unless_infctl_makes_it():
    assert [one.verdict for one in told(mounted())] == ["failure"]
    (found,) = told(mounted(made=True))
    assert (found.verdict, "infctl up writes them: nginx" in found.why) == ("skipped", True)


def test_a_real_folder_is_walked_with_its_links(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.conf").write_text("x")
    (tmp_path / "a" / "c").symlink_to("b.conf")
    (tmp_path / "a" / "b.conf").chmod(0o640)
    found = {entry.path.removeprefix(str(tmp_path)): entry for entry in entries(tmp_path / "a")}
    assert set(found) == {"/a", "/a/b.conf", "/a/c"}
    assert stat.S_IMODE(found["/a/b.conf"].mode) == 0o640
    assert found["/a/c"].link == "b.conf"
    assert list(entries(tmp_path / "none")) == []


@pytest.fixture
def platform(case, engine, tmp_path: Path):
    """A platform with a rendered folder, `.env` and a certificate, and who reads them."""

    def make(user: str, docker=None):
        for name in ("nginx", "tls"):
            (tmp_path / name).mkdir()
            (tmp_path / name).chmod(0o755)
        for name in ("nginx/nginx.conf", "tls/c.pem", "tls/k.pem", "tls/other.pem", ".env"):
            (tmp_path / name).write_text("x")
            (tmp_path / name).chmod(0o644)
        binds = [("nginx", "/etc/nginx"), ("tls", "/etc/nginx/tls"), (".env", "/run/infctl/.env")]
        mounts = tuple(Mount("bind", str(tmp_path / name), target) for name, target in binds)
        stack = Stack(
            "p",
            "docker",
            (),
            projects=(
                Project(
                    "p", "f", str(tmp_path), (Container("nginx", "edge", "n:1", user=user, mounts=mounts),)
                ),
            ),
        )
        return case(
            {"runtime": "docker", "edge": {"tls": {"certificate": "tls/c.pem", "key": "tls/k.pem"}}},
            docker=docker or engine(),
            stack=stack,
            rendered=(RenderedFile("nginx/nginx.conf", "x"),),
        )

    return make


def test_a_whole_platform_is_looked_at(platform, tmp_path: Path):
    made = platform("54321:54321")
    (found,) = look(made)
    assert found.what == "3 mounted files and folders can be read by their services"
    # Nobody serves it, so nobody has to read it.
    (tmp_path / "tls" / "other.pem").chmod(0o600)
    assert [one.verdict for one in look(made)] == ["ok"]
    (tmp_path / "tls" / "k.pem").chmod(0o600)
    bad, _ = look(made)
    assert (bad.verdict, bad.path) == ("failure", "edge/tls/key")
    assert "tls/k.pem cannot be read by nginx, which runs as 54321:54321" in bad.what
    # Where they are missing, the checks env and certificate say so.
    (tmp_path / "tls" / "k.pem").chmod(0o644)
    (tmp_path / ".env").unlink()
    assert [one.verdict for one in look(made)] == ["ok"]


def test_a_certificate_of_infctls_own_has_to_be_read_too(platform, case, tmp_path: Path, monkeypatch):
    made = platform("54321:54321")
    (tmp_path / "nginx" / "tls").mkdir()
    for name in ("certificate.pem", "key.pem"):
        (tmp_path / "nginx" / "tls" / name).write_text("x")
    (tmp_path / "nginx" / "tls" / "key.pem").chmod(0o600)
    own = replace(made, loaded=case({"runtime": "docker", "edge": {}}).loaded)
    for root_, verdict in ((True, "warning"), (False, "failure")):
        monkeypatch.setattr("infctl.doctor.checks.mounts._is_root", lambda root_=root_: root_)
        found = next(iter(look(own)))
        assert (found.verdict, "nginx/tls/key.pem" in found.what) == (verdict, True)


def test_the_owner_of_a_key_may_read_it(platform, tmp_path: Path):
    made = platform(f"{os.getuid()}:{os.getgid()}")
    (tmp_path / "tls" / "k.pem").chmod(0o400)
    assert [one.verdict for one in look(made)] == ["ok"]


def test_on_another_docker_host_nothing_is_seen(platform, engine):
    (found,) = look(platform("1:1", engine(is_local=False)))
    assert found.verdict == "skipped"
