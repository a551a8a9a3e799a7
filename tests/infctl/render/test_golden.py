"""Each profile's renders lie beside one another in tests/golden/render/<profile>/.

INFCTL_REFRESH_GOLDEN=1 pytest tests/infctl/render/test_golden.py    writes them anew; read the diff then
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import config
from infctl.profile.builtin import builtin_profiles

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "render"
CASES = tuple(builtin_profiles())


def _copied(path: str) -> bool:
    """Copies of infctl's own sources: what they hold is tested where they lie."""
    return path.startswith(("engine/", "gateway/image/"))


@pytest.mark.parametrize("case", CASES)
def test_renders_are_as_they_were(case: str, rendered: Callable[[Path], Any], profiles: Path) -> None:
    files = [file for file in rendered(profiles / f"{case}.yaml").files if not _copied(file.path)]
    folder = GOLDEN / case
    if os.environ.get("INFCTL_REFRESH_GOLDEN"):
        shutil.rmtree(folder, ignore_errors=True)
        for file in files:
            (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / file.path).write_text(file.text)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {file.path for file in files} == there
    for file in files:
        assert file.text == (folder / file.path).read_text(), file.path


@pytest.mark.parametrize("case", CASES)
def test_renders_say_who_made_them_and_hold_no_key(
    case: str, rendered: Callable[[Path], Any], profiles: Path
) -> None:
    for file in rendered(profiles / f"{case}.yaml").files:
        assert "sk-c" not in file.text
        assert "sk-b" not in file.text
        if not file.path.startswith("gateway/image/"):  # sources, as they are
            assert "Made by infctl from the profile of" in file.text
            assert "do not edit" in file.text


@pytest.mark.parametrize("case", CASES)
def test_the_gateway_takes_its_file(case: str, rendered: Callable[[Path], Any], profiles: Path) -> None:
    found = rendered(profiles / f"{case}.yaml")
    parsed = config.parse(yaml.safe_load(found.text("gateway.yaml")))
    engines = {f"vllm-{service.name}" for service in found.stack.services if service.role == "engine"}
    assert {backend.id for model in parsed.models for backend in model.backends} == engines


def test_every_builtin_profile_is_among_them(profiles: Path) -> None:
    assert {path.stem for path in profiles.glob("*.yaml")} == set(CASES) == {p.name for p in GOLDEN.iterdir()}


def test_what_is_to_be_written_where_there_is_no_driver_renders(
    rendered: Callable[..., Any], profiles: Path, tmp_path: Path
) -> None:
    """As the hint of that error has it."""
    cards = tmp_path / "cards.yaml"
    cards.write_text("gpus: 1xL4\n")
    found = rendered(profiles / "one-gpu.yaml", cards)
    assert [gpu.name for gpu in found.loaded.profile.gpus.devices] == ["L4"]
    assert {s.gpu for s in found.stack.services if s.role == "engine"} == {"0"}


def test_supervisor_file_is_the_stack(rendered: Callable[[Path], Any], profiles: Path) -> None:
    found = rendered(profiles / "local.yaml")
    data = json.loads(found.text("supervisor.json"))
    assert [s["name"] for s in data["services"]] == [s.name for s in found.stack.services]
    digests = {f["path"]: f["sha256"] for s in data["services"] for f in s["files"]}
    assert {path.rpartition("/")[2]: bool(digest) for path, digest in digests.items()} == {
        "gateway.yaml": True, "nginx.conf": True, ".env": False, "certificate.pem": False, "key.pem": False,
    }  # fmt: skip


def test_reference_platform_keeps_its_names(rendered: Callable[[Path], Any], profiles: Path) -> None:
    found = rendered(profiles / "l4x4.yaml")
    urls = [
        backend["url"]
        for model in yaml.safe_load(found.text("gateway.yaml"))["models"]
        for backend in model["backends"]
    ]
    assert urls == [f"http://vllm-{name}:8000" for name in ("chat0", "chat1", "text2sql", "embed", "rerank")]
    nginx = found.text("nginx.conf")
    assert "server inference-gateway:8000 resolve max_fails=0;" in found.text("upstream.conf")
    for line in (
        "include upstream.conf;",
        "listen 0.0.0.0:443 ssl default_server;",
        "return 308 https://$host$request_uri;",
        "resolver 127.0.0.11 valid=5s ipv6=off;",
    ):
        assert line in nginx
