"""weights.py against a hub on loopback: what it fetches, says, leaves alone, and how it fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infctl.render import engine_files
from infctl.render.engine_files import weights
from tests.docker.host import until
from tests.infctl.render.engine_files.fake_hub import COMMIT, FakeHub

SCRIPT = Path(engine_files.__file__).parent / "weights.py"
CLOSED = "http://127.0.0.1:9"
"""Nobody answers there."""
FILES = {
    "config.json": b'{"model_type": "qwen2"}',
    "tokenizer.json": b"{}" * 40,
    "model.safetensors": bytes(range(256)) * 12_000,
}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    pytest.importorskip("huggingface_hub", reason="the local stack is not installed: `make setup-local`")
    with FakeHub(files=dict(FILES)).serving() as fake:
        yield fake


def argv(folder: Path, *args: str) -> list[str]:
    return [sys.executable, str(SCRIPT), "--cache", str(folder / "hf"), "--pause-s", "0.05", *args]


def environment(url: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING_FACE"))}
    return {**clean, "HF_ENDPOINT": url, "NO_COLOR": "1"}


def run(folder: Path, url: str, *args: str) -> subprocess.CompletedProcess[str]:
    (folder / "hf").mkdir(exist_ok=True)
    return subprocess.run(
        argv(folder, *args), env=environment(url), capture_output=True, text=True, timeout=60, check=False
    )


def snapshot(folder: Path) -> dict[str, bytes]:
    where = folder / "hf" / "hub" / "models--org--name" / "snapshots" / COMMIT
    return {p.relative_to(where).as_posix(): p.read_bytes() for p in where.rglob("*") if p.is_file()}


def test_a_model_is_fetched_where_engines_look_for_it(hub: FakeHub, tmp_path: Path) -> None:
    done = run(tmp_path, hub.url, "org/name")
    assert done.returncode == 0, done.stdout + done.stderr
    assert snapshot(tmp_path) == FILES
    ref = tmp_path / "hf" / "hub" / "models--org--name" / "refs" / "main"
    assert ref.read_text() == COMMIT
    first, second, *_, last = done.stdout.splitlines()
    assert first.startswith("2.9 MiB to fetch, ")
    assert " free in " in first
    assert second == "org/name@main: 2.9 MiB in 3 of 3 files"
    assert last == "org/name@main: complete"


def test_what_is_complete_is_not_asked_for_again(hub: FakeHub, tmp_path: Path) -> None:
    assert run(tmp_path, hub.url, f"org/name@{COMMIT}").returncode == 0
    hub.asked.clear()
    done = run(tmp_path, hub.url, f"org/name@{COMMIT}")
    assert (done.returncode, done.stdout) == (0, "org/name@aaaaaaaaaaaa: complete\n")
    assert hub.asked == []
    assert run(tmp_path, CLOSED, f"org/name@{COMMIT}").returncode == 0


def test_a_file_that_went_missing_is_fetched_and_no_other(hub: FakeHub, tmp_path: Path) -> None:
    run(tmp_path, hub.url, "org/name")
    path = tmp_path / "hf" / "hub" / "models--org--name" / "snapshots" / COMMIT / "tokenizer.json"
    path.resolve().unlink()
    hub.asked.clear()
    done = run(tmp_path, hub.url, "org/name")
    assert done.returncode == 0, done.stdout
    assert "in 1 of 3 files" in done.stdout
    assert set(hub.fetched) == {"tokenizer.json"}
    assert snapshot(tmp_path) == FILES


def test_other_formats_of_the_same_weights_are_left_alone(hub: FakeHub, tmp_path: Path) -> None:
    hub.files |= {"pytorch_model.bin": b"x" * 5000, "onnx/model.onnx": b"x" * 5000, "original/c.pth": b"x"}
    assert run(tmp_path, hub.url, "org/name").returncode == 0
    assert snapshot(tmp_path).keys() == FILES.keys()


def test_weights_in_another_format_are_taken_where_there_are_no_others(hub: FakeHub, tmp_path: Path) -> None:
    hub.files["pytorch_model.bin"] = hub.files.pop("model.safetensors")
    assert run(tmp_path, hub.url, "org/name").returncode == 0
    assert "pytorch_model.bin" in snapshot(tmp_path)


def test_of_a_tokenizer_no_weights_are_fetched(hub: FakeHub, tmp_path: Path) -> None:
    assert run(tmp_path, hub.url, "--tokenizer", "org/name").returncode == 0
    assert snapshot(tmp_path).keys() == {"config.json", "tokenizer.json"}
    hub.asked.clear()
    assert run(tmp_path, hub.url, "org/name").returncode == 0
    assert set(hub.fetched) == {"model.safetensors"}


def test_an_answer_that_breaks_off_is_gone_on_with(hub: FakeHub, tmp_path: Path) -> None:
    hub.cut = 3
    done = run(tmp_path, hub.url, "org/name")
    assert done.returncode == 0, done.stdout + done.stderr
    assert snapshot(tmp_path) == FILES


def test_a_busy_hub_is_asked_again(hub: FakeHub, tmp_path: Path) -> None:
    hub.busy = 2
    done = run(tmp_path, hub.url, "org/name")
    assert done.returncode == 0, done.stdout
    assert "try 2 of 5 in 0.05 s" in done.stdout


def test_stopped_in_the_middle_it_keeps_what_is_whole_and_goes_on_from_there(
    hub: FakeHub, tmp_path: Path
) -> None:
    hub.hold = threading.Event()
    (tmp_path / "hf").mkdir()
    blobs = tmp_path / "hf" / "hub" / "models--org--name" / "blobs"
    with (tmp_path / "log").open("wb") as out:
        process = subprocess.Popen(
            argv(tmp_path, "org/name"), env=environment(hub.url), stdout=out, stderr=out
        )
    try:
        until(lambda: len(list(blobs.glob("*"))) == 3 and len(hub.fetched) == 3, 30, "all files have begun")
        until(
            lambda: len([p for p in blobs.glob("*") if p.suffix != ".incomplete"]) == 2, 30, "two are whole"
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
    finally:
        process.kill()
        process.wait(10)
    assert "what is whole stays" in (tmp_path / "log").read_text()
    hub.hold.set()
    hub.asked.clear()
    done = run(tmp_path, hub.url, "org/name")
    assert done.returncode == 0, done.stdout
    assert set(hub.fetched) == {"model.safetensors"}
    assert snapshot(tmp_path) == FILES


def test_progress_is_told_in_lines(hub: FakeHub, tmp_path: Path) -> None:
    hub.hold = threading.Event()
    (tmp_path / "hf").mkdir()
    with (tmp_path / "log").open("wb") as out:
        process = subprocess.Popen(
            argv(tmp_path, "--every-s", "0.1", "org/name"), env=environment(hub.url), stdout=out, stderr=out
        )
    until(lambda: " of 2.9 MiB, " in (tmp_path / "log").read_text(), 30, "a line of progress")
    hub.hold.set()
    assert process.wait(30) == 0


def test_a_token_goes_to_the_hub_and_into_no_line(hub: FakeHub, tmp_path: Path) -> None:
    hub.token = "hf_s3cret"
    (tmp_path / "token").write_text("hf_s3cret\n")
    done = run(tmp_path, hub.url, "--token-file", str(tmp_path / "token"), "org/name")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "s3cret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("refuse", "repo", "code", "why", "do"),
    [
        (
            (403, "GatedRepo"),
            "org/name",
            3,
            "org/name is gated",
            "accept its licence on the page of org/name",
        ),
        ((401, "GatedRepo"), "org/name", 3, "org/name is gated", "put HF_TOKEN into .env"),
        ((401, ""), "org/name", 4, "the hub has no model org/name", "put HF_TOKEN into .env"),
        (None, "org/absent", 4, "the hub has no model org/absent", "look at the name in the profile"),
        (None, "org/name@v9", 4, "org/name has no revision v9", "correct `revision` in the profile"),
        (None, "a//b", 4, "a//b is no name of a model", "correct `source` in the profile"),
        ((500, ""), "org/name", 1, "HfHubHTTPError", "look at the network, HTTPS_PROXY and HF_ENDPOINT"),
    ],
)
def test_each_refusal_is_told_plainly(hub, tmp_path, refuse, repo, code, why, do) -> None:
    hub.refuse = refuse
    done = run(tmp_path, hub.url, repo)
    assert done.returncode == code, done.stdout + done.stderr
    *_, first, second = done.stdout.splitlines()
    assert first.startswith(f"error: {why}")
    assert do in second
    assert done.stderr == ""


def test_a_hub_that_nobody_answers_for_is_told_plainly(hub: FakeHub, tmp_path: Path) -> None:
    done = run(tmp_path, CLOSED, "org/name")
    assert done.returncode == 1
    assert "try 5 of 5" in done.stdout
    assert "look at the network" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_cache_that_somebody_brought_is_taken_where_the_hub_is_out_of_reach(
    hub: FakeHub, tmp_path: Path
) -> None:
    run(tmp_path, hub.url, "org/name")
    model = tmp_path / "hf" / "hub" / "models--org--name"
    (model / weights.BOOK).unlink()
    done = run(tmp_path, CLOSED, "org/name")
    assert done.returncode == 0, done.stdout
    assert "what is here looks complete and is taken" in done.stdout
    (model / "snapshots" / COMMIT / "model.safetensors").unlink()
    assert run(tmp_path, CLOSED, "org/name").returncode == 1


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12, 5 * 2**30))
    fetch = weights.Fetch(tmp_path, None, 1.0, 0.0)
    with pytest.raises(weights.StopError) as caught:
        fetch.space(15 * 2**30)
    assert caught.value.code == 5
    assert str(caught.value) == "11.0 GiB too little space"
    assert capsys.readouterr().out == f"15.0 GiB to fetch, 5.0 GiB free in {tmp_path}\n"


@pytest.mark.parametrize(
    ("number", "code", "why", "do"),
    [
        (13, 5, "/cache/hf/hub may not be written: Permission denied", "give the folder to uid "),
        (28, 5, "the disk is full: No space left on device", "free some space; what is whole stays"),
        (104, 1, "ConnectionResetError: [Errno 104] Connection reset by peer", "look at the network"),
    ],
)
def test_what_the_machine_refuses_is_told_with_what_mends_it(number, code, why, do) -> None:
    stop = weights.understood(
        OSError(number, os.strerror(number), "/cache/hf/hub"), weights.repo(Path("/x"), "a/b"), token=False
    )
    assert stop.code == code
    assert str(stop).startswith(why)
    assert do in stop.do


def test_a_damaged_book_is_no_reason_to_stop(hub: FakeHub, tmp_path: Path) -> None:
    run(tmp_path, hub.url, "org/name")
    file = tmp_path / "hf" / "hub" / "models--org--name" / weights.BOOK
    for text in (
        "",
        "[]",
        '{"main": 3}',
        '{"main": {"files": []}}',
        json.dumps({"main": {"files": {"x": 1}}}),
    ):
        file.write_text(text)
        hub.asked.clear()
        assert run(tmp_path, hub.url, "org/name").returncode == 0
        assert hub.asked
        assert hub.fetched == []
