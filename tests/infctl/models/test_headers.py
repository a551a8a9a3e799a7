"""Headers of safetensors files: read without the weights, and refused where they are damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infctl.errors import PlanError
from infctl.models import files, headers
from tests.examples import examples

TENSORS = {
    "model.embed_tokens.weight": ("BF16", [1000, 64]),
    "model.layers.0.mlp.gate_proj.weight": ("F8_E4M3", [128, 64]),
    "scale": ("F32", []),
    "nothing": ("F16", [0, 4]),
}


def test_a_header_tells_every_tensor_and_the_bytes_of_each_type(tmp_path: Path, builders: Any) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(builders.checkpoint(TENSORS))
    found = headers.read(file)
    assert found.bytes_by_dtype == {"BF16": 128_000, "F8_E4M3": 8_192, "F32": 4, "F16": 0}
    assert found.total_bytes == 136_196
    assert found.tensors[1] == headers.Tensor(
        "model.layers.0.mlp.gate_proj.weight", "F8_E4M3", (128, 64), 8_192
    )


def test_the_weights_are_not_read(tmp_path: Path) -> None:
    """A sparse file of 1 TiB has a header of some bytes: anything that reads on would not come back."""
    header = json.dumps({"w": {"dtype": "I8", "shape": [2**40], "data_offsets": [0, 2**40]}}).encode()
    file = tmp_path / "model.safetensors"
    with file.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + 2**40)
    assert headers.read(file).total_bytes == 2**40


def entry(**changed: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **changed}}


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"", "its header would have 0 bytes"),
        (b"{]", "should be JSON is not"),
        (b"[1]", "not a mapping"),
        (b"[" * 50_000, "should be JSON is not"),
        ({"w": 1}, "the entry of 'w' is not a mapping"),
        (entry(dtype=4), "lacks dtype"),
        (entry(shape=[2.0, 2]), "lacks dtype"),
        (entry(shape=[-2, -2]), "lacks dtype"),
        (entry(shape=[1] * 17), "lacks dtype"),
        (entry(data_offsets=[0]), "lacks dtype"),
        (entry(data_offsets=[16, 0]), "cannot take -16 bytes"),
        (entry(shape=[2, 3]), "cannot take 16 bytes"),
        (entry(data_offsets=[4, 20]), "take 16 bytes and reach to byte 20"),
    ],
)
def test_a_damaged_header_is_told_with_the_file_and_the_reason(tmp_path: Path, header: Any, why: str) -> None:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(64))
    with pytest.raises(PlanError) as caught:
        headers.read(file)
    assert str(file) in caught.value.message
    assert why in caught.value.message
    assert caught.value.problems[0].hint


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it has 0 bytes"),
        (b"1234567", "it has 7 bytes"),
        ((100 * 2**20 + 1).to_bytes(8, "little"), "a header has 2 to 104,857,600"),
        (b"\xff" * 8, "a header has 2 to"),
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of git-lfs"),
    ],
)
def test_a_file_that_is_no_checkpoint_says_why(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(PlanError, match=why):
        headers.read(file)


def test_a_download_that_was_cut_says_how_much_is_missing(tmp_path: Path, builders: Any) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(builders.checkpoint(TENSORS)[:-100])
    with pytest.raises(PlanError, match="ends 100 bytes too early"):
        headers.read(file)


def test_too_many_tensors_are_refused_before_they_are_read() -> None:
    with pytest.raises(PlanError, match="more than 200,000 tensors"):
        headers.parse(b"{" * 200_003, "big")
    with pytest.raises(PlanError, match="more than 200,000 tensors"):
        headers.parse(b"," * 4_000_001, "big")


def test_a_file_that_is_not_there_is_a_plan_error(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="No such file"):
        headers.read(tmp_path / "missing.safetensors")
    with pytest.raises(PlanError, match="No such file"):
        headers.read_index(tmp_path / "missing.json")


def test_an_index_names_the_files_and_their_sum() -> None:
    text = (
        b'{"metadata": {"total_size": 10.0}, "weight_map": {"a": "x-2.safetensors", "b": "x-1.safetensors"}}'
    )
    assert headers.parse_index(text, "i") == headers.Index(("x-1.safetensors", "x-2.safetensors"), 10)


@pytest.mark.parametrize("total", ['"12"', "true", "-1", "0", "1.5", "null", "9" * 30])
def test_a_sum_that_is_no_count_is_not_believed(total: str) -> None:
    text = f'{{"metadata": {{"total_size": {total}}}, "weight_map": {{"a": "x.safetensors"}}}}'
    assert headers.parse_index(text.encode(), "i").total_bytes is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"weight_map": []}',
        '{"weight_map": {}}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": "../x.safetensors"}}',
        '{"weight_map": {"a": "/etc/x.safetensors"}}',
        '{"weight_map": {"a": ".x.safetensors"}}',
        '{"weight_map": {"a": "x.bin"}}',
        '{"weight_map": {"a": "x\\u0000.safetensors"}}',
    ],
)
def test_an_index_that_is_damaged_or_leads_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="i is damaged"):
        headers.parse_index(text.encode(), "i")


def sharded(folder: Path, builders: Any, total: int | None = None) -> None:
    parts = {"m-1.safetensors": {"a": ("BF16", [8, 8])}, "m-2.safetensors": {"b": ("F32", [4])}}
    for name, tensors in parts.items():
        (folder / name).write_bytes(builders.checkpoint(tensors))
    index = {
        "metadata": {"total_size": total},
        "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"},
    }
    (folder / headers.INDEX).write_text(json.dumps(index))


def test_a_checkpoint_in_parts_is_summed_over_its_headers(tmp_path: Path, builders: Any) -> None:
    sharded(tmp_path, builders, 7)
    (tmp_path / "consolidated.safetensors").write_bytes(builders.checkpoint(TENSORS))
    assert files.stored_bytes(tmp_path) == (144, "weights from headers")


def test_where_a_part_is_missing_the_index_is_believed(tmp_path: Path, builders: Any) -> None:
    sharded(tmp_path, builders, 144)
    (tmp_path / "m-2.safetensors").unlink()
    assert files.stored_bytes(tmp_path) == (144, "weights from the index")
    sharded(tmp_path, builders)
    (tmp_path / "m-2.safetensors").unlink()
    assert files.stored_bytes(tmp_path) == (None, "weights computed")


def test_parts_without_an_index_are_summed_and_the_same_weights_in_another_form_left_out(
    tmp_path: Path, builders: Any
) -> None:
    for name in ("a.safetensors", "consolidated.safetensors"):
        (tmp_path / name).write_bytes(builders.checkpoint({name: ("F32", [4])}))
    assert files.stored_bytes(tmp_path) == (16, "weights from headers")
    (tmp_path / "a.safetensors").unlink()
    assert files.stored_bytes(tmp_path) == (16, "weights from headers")


def test_the_same_tensor_in_two_parts_is_damage(tmp_path: Path, builders: Any) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(builders.checkpoint({"w": ("F32", [4])}))
    with pytest.raises(PlanError, match="'w' is in two of its files"):
        files.stored_bytes(tmp_path)


@settings(max_examples=examples(200), deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2**64 - 1) | st.none())
def test_no_bytes_make_anything_but_headers_or_a_plan_error(body: bytes, length: int | None) -> None:
    raw = (len(body) if length is None else length).to_bytes(8, "little") + body
    try:
        size = headers.header_length(raw[:8], "f")
        headers.parse(raw[8 : 8 + size], "f", len(raw))
    except PlanError as error:
        assert "f is damaged" in error.message  # noqa: PT017 - either outcome is right
