"""`infctl pull` on a real engine: what is built and fetched, and the lock file beside the profile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from infctl import image_lock
from infctl.cli import pull, shapes
from infctl.engine.docker.images import ImageFact

from .conftest import Run

DIGEST = f"sha256:{'a' * 64}"


class Docker:
    """Images as a registry knows them: none can be asked here."""

    def images(self, _stack: object) -> tuple[ImageFact, ...]:
        return (
            ImageFact(f"vllm/vllm-openai:v1@{DIGEST}", ("chat",), "sha256:1", DIGEST),
            ImageFact("infctl/gateway:1", ("gateway",), "sha256:2"),
        )


class Platform:
    def __init__(self, base: Path) -> None:
        self.layout = type("L", (), {"base": base})()


def test_digests_are_pinned_and_other_lines_stay(tmp_path: Path) -> None:
    image_lock.write(tmp_path, {"nginx:1.31": f"sha256:{'b' * 64}"})
    pinned = pull._pin(Platform(tmp_path), Docker(), None)  # type: ignore[arg-type]
    assert pinned == {"vllm/vllm-openai:v1": DIGEST}
    assert image_lock.read(tmp_path) == {
        "nginx:1.31": f"sha256:{'b' * 64}",
        "vllm/vllm-openai:v1": DIGEST,
    }


def test_processes_unpack_what_is_packaged_and_pin_nothing(run: Run, tmp_path: Path) -> None:
    profile = {
        "name": "tiny",
        "runtime": "process",
        "gpus": "cpu",
        "models": {"chat": {"source": {"path": "chat"}, "task": "chat"}},
        "monitoring": {"enabled": False},
    }
    (tmp_path / "infctl.yaml").write_text(yaml.safe_dump(profile))
    told = json.loads(run("pull", "--json").stdout)
    assert list(told) == list(shapes.PULL)
    assert told["fetched"] == []
    assert run("pull").stdout == "nothing to unpack\n"
    assert not (tmp_path / image_lock.FILE).exists()


@pytest.mark.parametrize("flag", ["--update", "--weights"])
def test_its_options_are_no_error_for_processes(run: Run, tmp_path: Path, flag: str) -> None:
    test_processes_unpack_what_is_packaged_and_pin_nothing(run, tmp_path)
    assert run("pull", flag).returncode == 0
