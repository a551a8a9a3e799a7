"""Room for what is still to be fetched."""

from __future__ import annotations

from pathlib import Path

from infctl.doctor.checks.disk import SPARE, Room, Take, fetched, image_bytes, judge, look
from infctl.figure import GIB
from infctl.models.source import carried
from infctl.plan import Plan

MODEL = "Qwen/Qwen2.5-0.5B-Instruct"


def test_room_for_all_is_well_and_too_little_is_a_failure_with_how_much():
    takes = [Take("vllm", 30 * GIB, 1), Take("Qwen", 14 * GIB, 2)]
    rooms = [Room(1, "/var/lib/docker", 40 * GIB), Room(2, "/p/hf-cache", 10 * GIB)]
    good, bad = judge(takes, rooms)
    assert good.verdict == "ok"
    assert (bad.verdict, bad.path) == ("failure", "engines/cache")
    assert "10.0 GiB free, 14.0 GiB are still to be fetched (Qwen 14.0 GiB): 4.0 GiB too little" in bad.what


def test_what_goes_to_one_file_system_is_added_up():
    takes = [Take("a", 6 * GIB, 1), Take("b", 6 * GIB, 1)]
    (found,) = judge(takes, [Room(1, "/", 11 * GIB)])
    assert found.verdict == "failure"


def test_little_that_is_left_is_a_warning():
    (found,) = judge([Take("a", GIB, 1)], [Room(1, "/", SPARE)])
    assert (found.verdict, "4.0 GiB are left" in found.why) == ("warning", True)
    (found,) = judge([], [Room(1, "/", SPARE)])
    assert "nothing is to be fetched" in found.what


def test_images_are_counted_by_what_they_are():
    assert image_bytes("vllm/vllm-openai:v0.32.0") > 10 * image_bytes("grafana/grafana:12.3.0")
    assert image_bytes("own/thing:1") > 0


def put(cache: Path, size: int, *, linked: bool = True) -> Path:
    """A model in a cache of the hub's library."""
    model = cache / f"models--{MODEL.replace('/', '--')}"
    snapshot = model / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (model / "blobs").mkdir()
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("a" * 40)
    file = model / "blobs" / "1" if linked else snapshot / "model.safetensors"
    with file.open("wb") as stream:
        stream.truncate(size)
    if linked:
        (snapshot / "model.safetensors").symlink_to(file)
    (snapshot / "config.json").write_text("{}")
    return snapshot


def test_what_is_in_the_cache_is_subtracted(case, tmp_path: Path):
    facts = carried(MODEL)
    assert facts is not None
    made = case(
        {"models": {"chat": {"source": MODEL, "task": "chat"}}},
        env={"HF_HOME": str(tmp_path / "hf")},
        plan=Plan((), facts={"chat": facts}),
    )
    told = " ".join(one.what for one in look(made))
    assert f"{MODEL} 1.0 GiB" in told
    put(tmp_path / "hf" / "hub", 988 * 10**6)
    told = " ".join(one.what for one in look(made))
    assert "nothing is to be fetched" in told


def test_a_cache_without_links_and_a_part_of_a_model_count_as_well(tmp_path: Path):
    snapshot = put(tmp_path, 1000, linked=False)
    assert fetched(tmp_path, MODEL, snapshot) == 1002
    assert fetched(tmp_path, MODEL, None) == 0
    blobs = tmp_path / f"models--{MODEL.replace('/', '--')}" / "blobs"
    (blobs / "2.incomplete").write_bytes(b"x" * 77)
    assert fetched(tmp_path, MODEL, None) == 77
    assert fetched(tmp_path, "nobody/knows", None) == 0


def test_a_model_whose_config_is_not_known_is_a_warning(case):
    found = list(look(case({"models": {"chat": {"source": "org/unknown", "task": "chat"}}}, plan=Plan(()))))
    assert found[-1].verdict == "warning"
    assert "org/unknown" in found[-1].what
