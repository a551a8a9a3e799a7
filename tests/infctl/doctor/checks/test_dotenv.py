"""`.env`: there, private, and as the containers will read it. No value of it is ever told."""

from __future__ import annotations

from pathlib import Path

import pytest

from infctl.doctor.checks.dotenv import Seen, judge, seen

FILE = Path("/p/.env")
SECRET = "a-secret-that-nobody-may-see"


def look(found: Seen, *, used=("KEY",), generated=(), shell=None, in_containers=True):
    return list(judge(found, used=used, generated=generated, shell=shell or {}, in_containers=in_containers))


def test_a_private_file_that_holds_the_keys_is_one_line():
    (found,) = look(Seen(FILE, values={"KEY": SECRET}))
    assert (found.verdict, found.what) == ("ok", "/p/.env sets 1 of 1 secrets")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o666])
def test_one_that_others_may_read_is_a_warning(mode):
    found = look(Seen(FILE, mode=mode, values={"KEY": SECRET}))
    assert [one.verdict for one in found] == ["warning", "ok"]
    assert found[0].fix == "chmod 600 /p/.env"


def test_the_containers_own_group_may_read_it_and_not_write_it():
    def at(mode: int, gid: int):
        found = Seen(FILE, mode=mode, gid=gid, values={"KEY": SECRET})
        return [
            one.verdict
            for one in judge(found, used=("KEY",), generated=(), shell={}, in_containers=True, readers={7})
        ]

    assert at(0o640, 7) == ["ok"]
    assert at(0o640, 8) == ["warning", "ok"]
    assert at(0o660, 7) == ["warning", "ok"]
    assert at(0o644, 7) == ["warning", "ok"]


def test_containers_need_it_and_processes_only_where_the_environment_has_no_key():
    missing = Seen(FILE, exists=False)
    assert [one.verdict for one in look(missing)] == ["failure"]
    assert [one.verdict for one in look(missing, shell={"KEY": SECRET})] == ["failure"]
    assert [one.verdict for one in look(missing, shell={"KEY": SECRET}, in_containers=False)] == ["skipped"]
    assert [one.verdict for one in look(missing, in_containers=False)] == ["failure"]
    assert [one.verdict for one in look(missing, generated=("KEY",))] == ["ok"]


def test_a_key_of_the_shell_that_the_file_does_not_have_is_not_seen_by_containers():
    (found, _) = look(Seen(FILE, values={}), shell={"KEY": SECRET})
    assert (found.verdict, found.what) == ("warning", "KEY is set in this shell and is not set in /p/.env")
    (found, _) = look(Seen(FILE, values={"KEY": "other"}), shell={"KEY": SECRET})
    assert "has another value" in found.what
    assert len(look(Seen(FILE, values={"KEY": SECRET}), shell={"KEY": SECRET})) == 1
    # Processes get what infctl has.
    assert len(look(Seen(FILE, values={}), shell={"KEY": SECRET}, in_containers=False)) == 1


def test_lines_that_set_nothing_are_named_by_number(tmp_path: Path):
    file = tmp_path / ".env"
    file.write_text(f"# keys\n\nKEY={SECRET}\nexport OTHER='x'\nKEY : value\nnonsense\n")
    file.chmod(0o600)
    found = seen(file)
    assert (found.mode, found.not_understood) == (0o600, (5, 6))
    told = look(found)
    assert "line 5, 6 sets nothing" in told[0].what
    assert not any(SECRET in f"{one}" for one in told)


def test_a_file_that_cannot_be_read_is_a_failure(tmp_path: Path):
    assert not seen(tmp_path / "none").exists
    folder = tmp_path / ".env"
    folder.mkdir()
    (found,) = look(seen(folder))
    assert (found.verdict, "Is a directory" in found.what) == ("failure", True)
    odd = tmp_path / "odd"
    odd.write_bytes(b"KEY=\xff\n")
    (found,) = look(seen(odd))
    assert "no UTF-8" in found.what
