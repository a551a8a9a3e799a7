"""Counts belong on a disk of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from infctl.doctor.checks.store import file_system, judge, look

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
filer:/home /home nfs4 rw 0 0
/dev/sdb1 /home/me/fast\\040disk xfs rw 0 0
tmpfs /home/me/scratch tmpfs rw 0 0
//box/share /home/me/scratch cifs rw 0 0
odd
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/p/.infctl/p/counts", "ext4"),
        ("/home/me/p", "nfs4"),
        ("/homes", "ext4"),
        ("/home/me/fast disk/p", "xfs"),
        ("/home/me/scratch/p", "cifs"),
    ],
)
def test_the_innermost_and_latest_mount_says_what_a_folder_is_on(path: str, kind: str):
    assert file_system(MOUNTS, Path(path)) == kind


def test_of_nothing_nothing_is_known():
    assert file_system("", Path("/srv")) == ""
    assert judge("/srv", "").verdict == "ok"


def test_another_machines_disk_is_a_warning_that_says_what_to_do():
    found = judge("/home/me/counts", "nfs4")
    assert (found.verdict, found.path) == ("warning", "gateway/store")
    assert "(nfs4)" in found.what
    assert "redis" in found.fix


def test_processes_count_in_the_platforms_folder_and_containers_where_docker_keeps_volumes(case, engine):
    (process,) = look(case())
    assert ".infctl/p/counts" in process.what
    docker = engine(info={"DockerRootDir": "/"})
    (container,) = look(case({"runtime": "docker"}, docker=docker))
    assert container.what.startswith("/: ")
