"""The one-shot before the containers: keys become files of their reader, volumes get their user."""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
from pathlib import Path
from types import ModuleType

import pytest

import gateway

APP = Path(gateway.__file__).parent / "image" / "app"
ME = f"{os.getuid()}:{os.getgid()}"


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    """As in the image, where it is `app.prepare`."""
    spec = importlib.util.spec_from_file_location("app_prepare", APP / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def env(tmp_path: Path) -> Path:
    file = tmp_path / ".env"
    file.write_text('BACKEND_API_KEY="s3cret"\nHF_TOKEN=\n')
    return file


def test_a_key_becomes_a_file_that_its_reader_alone_can_read(prepare, env, tmp_path) -> None:
    key = tmp_path / "backend"
    assert prepare.main(["--env", str(env), "--owner", ME, "--key", f"BACKEND_API_KEY={key}"]) == 0
    assert key.read_text() == "s3cret"
    assert stat.S_IMODE(key.stat().st_mode) == 0o400
    assert sorted(p.name for p in tmp_path.iterdir()) == [".env", "backend"]


def test_what_is_right_already_is_left_alone(prepare, env, tmp_path, capsys) -> None:
    argv = ["--env", str(env), "--owner", ME, "--key", f"BACKEND_API_KEY={tmp_path / 'backend'}"]
    assert prepare.main(argv) == 0
    before = (tmp_path / "backend").stat()
    assert prepare.main(argv) == 0
    after = (tmp_path / "backend").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert capsys.readouterr().out.splitlines()[-1].endswith("backend: unchanged")


def test_a_new_value_is_written_and_no_value_is_shown(prepare, env, tmp_path, capsys) -> None:
    argv = ["--env", str(env), "--owner", ME, "--key", f"BACKEND_API_KEY={tmp_path / 'backend'}"]
    prepare.main(argv)
    env.write_text("BACKEND_API_KEY=an0ther")
    prepare.main(argv)
    assert (tmp_path / "backend").read_text() == "an0ther"
    shown = capsys.readouterr()
    assert "s3cret" not in shown.out + shown.err
    assert "an0ther" not in shown.out + shown.err


def test_a_variable_without_a_value_is_no_file_and_an_old_one_goes(prepare, env, tmp_path, capsys) -> None:
    token = tmp_path / "token"
    token.write_text("from before")
    assert prepare.main(["--env", str(env), "--owner", ME, "--key", f"HF_TOKEN={token}"]) == 0
    assert not token.exists()
    assert capsys.readouterr().out == f"HF_TOKEN is not set: no {token}\n"


def test_a_default_stands_for_a_value_that_is_not_there(prepare, env, tmp_path) -> None:
    file = tmp_path / "password"
    argv = ["--env", str(env), "--owner", ME, "--key", f"GRAFANA_ADMIN_PASSWORD={file}"]
    argv += ["--default", "GRAFANA_ADMIN_PASSWORD=admin"]
    assert prepare.main(argv) == 0
    assert file.read_text() == "admin"
    env.write_text("GRAFANA_ADMIN_PASSWORD=better")
    assert prepare.main(argv) == 0
    assert file.read_text() == "better"


def test_a_secret_of_its_own_file_is_read_from_there(prepare, env, tmp_path) -> None:
    (tmp_path / "secret").write_text("of the file\n")
    argv = ["--env", str(env), "--owner", ME, "--secret", f"BACKEND_API_KEY={tmp_path / 'secret'}"]
    assert prepare.main([*argv, "--key", f"BACKEND_API_KEY={tmp_path / 'backend'}"]) == 0
    assert (tmp_path / "backend").read_text() == "of the file"


def test_a_value_that_has_to_be_there_is_named_with_its_file(prepare, env, capsys) -> None:
    argv = ["--env", str(env), "--owner", ME, "--need", "BACKEND_API_KEY", "--need", "GATEWAY_API_KEY"]
    assert prepare.main(argv) == 3
    said = capsys.readouterr().err
    assert said.startswith("error: GATEWAY_API_KEY has no value in .env: put one there")


def test_without_an_env_file_it_says_where_one_comes_from(prepare, tmp_path, capsys) -> None:
    assert prepare.main(["--env", str(tmp_path / ".env"), "--owner", ME]) == 3
    assert capsys.readouterr().err.endswith("is not there: cp .env.example .env, and fill it in\n")


def test_a_place_that_is_not_mounted_is_named(prepare, env, tmp_path, capsys) -> None:
    assert prepare.main(["--env", str(env), "--owner", ME, "--own", str(tmp_path / "absent")]) == 5
    assert capsys.readouterr().err == f"error: {tmp_path}/absent: No such file or directory\n"
    argv = ["--env", str(env), "--owner", ME, "--key", f"BACKEND_API_KEY={tmp_path}/absent/key"]
    assert prepare.main(argv) == 5
    assert capsys.readouterr().err == f"error: {tmp_path}/absent/.key.part: No such file or directory\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_is_given_with_all_that_is_in_it_and_no_link_is_followed(
    prepare, env, tmp_path, capsys
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("not ours")
    folder = tmp_path / "volume"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "file").touch()
    (folder / "link").symlink_to(outside)
    (folder / "dir").symlink_to(tmp_path)
    argv = ["--env", str(env), "--owner", "1234:4321", "--own", str(folder)]
    assert prepare.main(argv) == 0
    for path in (
        folder,
        folder / "a",
        folder / "a" / "b",
        folder / "a" / "file",
        folder / "link",
        folder / "dir",
    ):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (1234, 4321)
    assert outside.stat().st_uid == 0
    assert tmp_path.stat().st_uid == 0
    capsys.readouterr()
    assert prepare.main(argv) == 0
    assert capsys.readouterr().out == f"{folder}: belongs to 1234:4321\n"


@pytest.mark.parametrize(
    "argv", [["--owner", "root"], ["--owner", ME, "--key", "A"], ["--owner", ME, "--key", "=x"]]
)
def test_an_argument_that_cannot_be_meant_is_refused(prepare, env, argv) -> None:
    with pytest.raises(SystemExit) as stopped:
        prepare.main(["--env", str(env), *argv])
    assert stopped.value.code == 2
