"""The table of `infctl images`."""

from __future__ import annotations

import calendar

import pytest

from infctl.cli import shapes
from infctl.cli.images import as_data, screen
from infctl.engine.docker.images import ImageFact

from .test_commands import same_keys

NOW = float(calendar.timegm((2026, 1, 8, 0, 0, 0)))
A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
VLLM = ImageFact(
    f"vllm/vllm-openai:v1@{A}", ("chat0", "weights"), "sha256:1", A, 8 * 2**30, "2026-01-01T00:00:00Z"
)
BUILT = ImageFact("infctl/gateway:0.1.0", ("gateway",), "sha256:2", "", 2**20, "2026-01-07T23:00:00.123Z")
ABSENT = ImageFact("nginx:1.31", ("nginx",))


def test_a_row_says_where_an_image_stands() -> None:
    lines = screen((VLLM, BUILT, ABSENT), {"vllm/vllm-openai:v1": A}, NOW)
    rows = [line.split("  ") for line in lines[1:]]
    assert rows[0][0] == "vllm/vllm-openai:v1"
    assert "sha256:aaaaaaaaaaaa" in lines[1]
    assert "8.0 GiB" in lines[1]
    assert "7 d ago" in lines[1]
    assert lines[1].endswith("yes")
    assert lines[2].endswith("no: local")
    assert lines[3].endswith("not there: infctl pull fetches it")


@pytest.mark.parametrize(
    ("fact", "locked", "said"),
    [
        (VLLM, {}, "no"),
        (VLLM, {"vllm/vllm-openai:v1": B}, "another digest is here: infctl pull"),
        (ABSENT, {"nginx:1.31": A}, "yes, not fetched yet"),
    ],
)
def test_the_lock_file_is_compared_with_what_is_here(
    fact: ImageFact, locked: dict[str, str], said: str
) -> None:
    assert screen((fact,), locked, NOW)[1].endswith(said)


def test_the_json_has_the_promised_keys() -> None:
    told = {"name": "x", "images": [as_data(one, {}, NOW) for one in (VLLM, BUILT, ABSENT)]}
    assert same_keys(told, shapes.IMAGES)
