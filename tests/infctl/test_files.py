"""Rendered files are written whole, by one writer, and a hand edit is never lost silently."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from infctl.errors import EngineError
from infctl.files import changes, stamped, write
from infctl.render import RenderedFile
from infctl.stack import ConfigFile, Service, Stack

A = RenderedFile("a.conf", "one\ntwo\n")
B = RenderedFile("tls/b.conf", "key: 1\n", mode=0o600)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "rendered"
    path.mkdir()
    return path


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "state" / "files.json"


def kinds(files: list[RenderedFile], folder: Path, book: Path) -> dict[str, str]:
    return {change.path: change.kind for change in changes(files, folder, book)}


def test_first_write_makes_folders_modes_and_content(folder: Path, book: Path) -> None:
    done = write([A, B], folder, book)
    assert [(c.path, c.kind) for c in done] == [("a.conf", "new"), ("tls/b.conf", "new")]
    assert (folder / "a.conf").read_text() == A.text
    assert (folder / "tls/b.conf").stat().st_mode & 0o777 == 0o600
    assert book.stat().st_mode & 0o777 == 0o600


def test_second_write_changes_nothing(folder: Path, book: Path) -> None:
    write([A, B], folder, book)
    before = (folder / "a.conf").stat(), book.stat()
    assert {c.kind for c in write([A, B], folder, book)} == {"same"}
    after = (folder / "a.conf").stat(), book.stat()
    assert [(s.st_ino, s.st_mtime_ns) for s in before] == [(s.st_ino, s.st_mtime_ns) for s in after]


def test_changes_touches_nothing_and_shows_a_diff(folder: Path, book: Path) -> None:
    write([A], folder, book)
    (change,) = changes([RenderedFile("a.conf", "one\n2\n")], folder, book)
    assert change.kind == "changed"
    assert change.diff.splitlines() == [
        "--- a/a.conf",
        "+++ b/a.conf",
        "@@ -1,2 +1,2 @@",
        " one",
        "-two",
        "+2",
    ]
    assert (folder / "a.conf").read_text() == A.text


def test_hand_edit_is_refused_before_the_first_change(folder: Path, book: Path) -> None:
    write([A, B], folder, book)
    (folder / "tls/b.conf").write_text("mine\n")
    with pytest.raises(EngineError) as caught:
        write([RenderedFile("a.conf", "new\n"), B], folder, book)
    assert [p.path for p in caught.value.problems] == [str(folder / "tls/b.conf")]
    assert (folder / "a.conf").read_text() == A.text
    assert (folder / "tls/b.conf").read_text() == "mine\n"


def test_overwriting_a_hand_edit_keeps_a_copy(folder: Path, book: Path) -> None:
    write([A], folder, book)
    (folder / "a.conf").write_text("mine\n")
    write([A], folder, book, overwrite_edits=True)
    assert (folder / "a.conf").read_text() == A.text
    assert (folder / "a.conf.orig").read_text() == "mine\n"
    assert kinds([A], folder, book) == {"a.conf": "same"}


def test_an_edit_that_equals_what_is_wanted_is_no_edit(folder: Path, book: Path) -> None:
    write([A], folder, book)
    new = RenderedFile("a.conf", "new\n")
    (folder / "a.conf").write_text(new.text)
    assert kinds([new], folder, book) == {"a.conf": "same"}


def test_a_file_that_is_not_ours_is_not_overwritten(folder: Path, book: Path) -> None:
    (folder / "a.conf").write_text("somebody's\n")
    assert kinds([A], folder, book) == {"a.conf": "hand_edited"}


def test_what_is_no_longer_rendered_is_removed_and_an_edited_one_kept(folder: Path, book: Path) -> None:
    write([A, B], folder, book)
    assert kinds([A], folder, book) == {"a.conf": "same", "tls/b.conf": "gone"}
    write([A], folder, book)
    assert not (folder / "tls/b.conf").exists()
    (folder / "a.conf").write_text("mine\n")
    with pytest.raises(EngineError):
        write([], folder, book)
    write([], folder, book, overwrite_edits=True)
    assert [p.name for p in folder.iterdir() if p.is_file()] == ["a.conf.orig"]


def test_lost_mode_is_put_back(folder: Path, book: Path) -> None:
    write([B], folder, book)
    (folder / "tls/b.conf").chmod(0o666)
    write([B], folder, book)
    assert (folder / "tls/b.conf").stat().st_mode & 0o777 == 0o600


def test_a_link_is_replaced_and_its_target_left_alone(folder: Path, book: Path, tmp_path: Path) -> None:
    write([A], folder, book)
    (tmp_path / "elsewhere").write_text(A.text)
    (folder / "a.conf").unlink()
    (folder / "a.conf").symlink_to(tmp_path / "elsewhere")
    write([RenderedFile("a.conf", "new\n")], folder, book)
    assert (tmp_path / "elsewhere").read_text() == A.text


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 1, "files": 3}'])
def test_a_damaged_book_counts_every_difference_as_an_edit(folder: Path, book: Path, text: str) -> None:
    write([A], folder, book)
    book.write_text(text)
    assert kinds([A], folder, book) == {"a.conf": "same"}
    assert kinds([RenderedFile("a.conf", "new\n")], folder, book) == {"a.conf": "hand_edited"}


def test_a_newer_book_is_refused(folder: Path, book: Path) -> None:
    book.parent.mkdir()
    book.write_text('{"version": 2, "files": {}}')
    with pytest.raises(EngineError, match="format 2"):
        changes([A], folder, book)


def test_a_book_never_leads_out_of_the_folder(folder: Path, book: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    book.parent.mkdir()
    book.write_text('{"version": 1, "files": {"../precious": ["0"], "/etc/hostname": ["0"]}}')
    assert changes([], folder, book) == ()


def test_a_file_that_cannot_be_written_says_which(folder: Path, book: Path) -> None:
    (folder / "a.conf").mkdir()
    with pytest.raises(EngineError, match=r"a\.conf cannot be"):
        write([A], folder, book)


def test_kill_at_any_point_leaves_old_or_new_and_the_next_write_finishes(folder: Path, book: Path) -> None:
    """A child is killed at each of its renames in turn."""
    old = [RenderedFile(f"f{n}.conf", f"old {n}\n" * 50) for n in range(3)]
    new = [RenderedFile(f"f{n}.conf", f"new {n}\n" * 70) for n in range(3)]
    newest = [RenderedFile(f"f{n}.conf", f"newest {n}\n") for n in range(3)]
    script = textwrap.dedent(
        """
        import os, pathlib, signal, sys
        from infctl.files import write
        from infctl.render import RenderedFile
        folder, book, at = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
        rename, seen = pathlib.Path.replace, [0]
        def stop(self, target):
            if seen[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)
            seen[0] += 1
            return rename(self, target)
        pathlib.Path.replace = stop
        write([RenderedFile(f"f{n}.conf", f"new {n}\\n" * 70) for n in range(3)], folder, book)
        """
    )
    for at in range(6):
        write(old, folder, book, overwrite_edits=True)
        argv = [sys.executable, "-c", script, str(folder), str(book), str(at)]
        code = subprocess.run(argv, check=False, env={**os.environ}).returncode
        assert code == (-signal.SIGKILL if at < 5 else 0)
        texts = [(folder / f.path).read_text() for f in old]
        assert all(text in (o.text, n.text) for text, o, n in zip(texts, old, new, strict=True))
        # What a killed run left is known for ours, also to a run that wants something else again.
        write(newest, folder, book)
        assert kinds(newest, folder, book) == dict.fromkeys((f.path for f in newest), "same")


def test_stamped_digests_rendered_text_and_files_on_disk(folder: Path, tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("A=1\n")
    files = tuple(
        ConfigFile(str(path), "", "reload") for path in (folder / "a.conf", env, tmp_path / "missing")
    )
    stack = Stack("p", "process", (Service("gateway", "gateway", ("x",), files=files),))
    first = [f.sha256 for f in stamped(stack, [A], folder).services[0].files]
    assert [bool(digest) for digest in first] == [True, True, False]
    env.write_text("A=2\n")
    second = [f.sha256 for f in stamped(stack, [A], folder).services[0].files]
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False, True]


def test_folders_of_rendered_files_can_be_entered_whatever_the_umask(tmp_path: Path, book: Path) -> None:
    """Containers run as another user. The platform's own folder stays closed."""
    folder = tmp_path / "own" / "rendered"
    old = os.umask(0o077)
    try:
        write([RenderedFile("grafana/provisioning/a.yaml", "a")], folder, book)
    finally:
        os.umask(old)
    modes = [f"{(tmp_path / name).stat().st_mode & 0o777:o}" for name in (
        "own", "own/rendered", "own/rendered/grafana", "own/rendered/grafana/provisioning",
        "own/rendered/grafana/provisioning/a.yaml",
    )]  # fmt: skip
    assert modes == ["700", "700", "755", "755", "644"]
