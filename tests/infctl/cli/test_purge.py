"""What a purge takes away, and what it leaves: only infctl's own."""

from __future__ import annotations

from pathlib import Path

from infctl import files
from infctl.cli import purge
from infctl.cli.diff import grouped
from infctl.cli.remains import Remains
from infctl.history.store import Text
from infctl.stack import Layout

WRITTEN = (Text("docker-compose.yml", "a", 0o644), Text("nginx/nginx.conf", "b", 0o644))


def platform(folder: Path) -> Remains:
    made = Remains("toy", Layout(folder, folder / ".infctl" / "toy", beside=True))
    made.layout.state.mkdir(parents=True)
    files.write(WRITTEN, folder, made.book)
    (folder / "infctl.yaml").write_text("mine")
    (folder / ".env").write_text("mine")
    return made


def test_what_was_written_goes_and_what_a_person_wrote_stays(tmp_path: Path) -> None:
    made = platform(tmp_path)
    gone = purge.remove(purge.doomed(made), tmp_path)
    assert gone[-1] == made.layout.home
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env", "infctl.yaml"]


def test_a_rendered_file_that_was_edited_stays_with_its_folder(tmp_path: Path) -> None:
    made = platform(tmp_path)
    (tmp_path / "nginx/nginx.conf").write_text("edited")
    purge.remove(purge.doomed(made), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env", "infctl.yaml", "nginx"]


def test_a_folder_with_something_else_in_it_stays(tmp_path: Path) -> None:
    made = platform(tmp_path)
    (tmp_path / "nginx/notes").write_text("mine")
    purge.remove(purge.doomed(made), tmp_path)
    assert [path.name for path in (tmp_path / "nginx").iterdir()] == ["notes"]


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "model").write_text("gigabytes")
    link = tmp_path / "link"
    link.symlink_to(weights)
    assert purge.remove([link], tmp_path) == [link]
    assert (weights / "model").exists()


def test_many_of_a_folder_are_told_as_one() -> None:
    many = [f"gateway/image/gateway/{number}.py" for number in range(40)]
    assert grouped([*many, "nginx/nginx.conf"]) == ["gateway/image/ (40 files)", "nginx/nginx.conf"]
