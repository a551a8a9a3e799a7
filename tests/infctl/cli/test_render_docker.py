"""`infctl render` of containers: a folder that is a platform of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from infctl import image_lock
from infctl.cli.app import app
from infctl.errors import ProfileError

DIGEST = "sha256:" + "0a" * 32
PROFILE = """
name: p
gpus: cpu
models: {chat: {source: {path: w}, task: chat}}
"""


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "p.yaml").write_text(PROFILE)
    return tmp_path / "p" / "p.yaml"


def render(profile: Path, *more: str) -> tuple[Path, str]:
    """The folder, and what was said."""
    out = profile.parent.parent / "out"
    done = CliRunner().invoke(app, ["render", "-f", str(profile), "-o", str(out), *more])
    assert done.exit_code == 0, done.output
    return out, done.output


def test_all_that_is_mounted_is_there_and_can_be_entered_without_any_key(profile: Path) -> None:
    old = os.umask(0o077)
    try:
        out, _ = render(profile)
    finally:
        os.umask(old)
    for name in (
        "docker-compose.yml", "docker-compose.monitoring.yml", ".env.example", "gateway/gateway.yaml",
        "gateway/image/Dockerfile", "gateway/image/gateway/serve.py",
        "nginx/nginx.conf", "nginx/upstream.conf",
        "engine/start.py", "engine/weights.py", "prometheus/prometheus.yml",
        "grafana/provisioning/datasources/prometheus.yaml",
    ):  # fmt: skip
        assert (out / name).stat().st_mode & 0o777 == 0o644, name
        for folder in (out / name).relative_to(out).parents[:-1]:
            assert (out / folder).stat().st_mode & 0o777 == 0o755, folder
    mounts = [
        mount["source"]
        for file in ("docker-compose.yml", "docker-compose.monitoring.yml")
        for service in yaml.safe_load((out / file).read_text())["services"].values()
        for mount in service.get("volumes", ())
        if mount["type"] == "bind"
    ]
    missing = {source for source in mounts if not (out / source).exists()}
    assert missing == {"./.env", "./w"}, "what a person brings"


def test_a_self_signed_pair_is_made_once(profile: Path) -> None:
    out, said = render(profile)
    assert "made a self-signed certificate" in said
    key = (out / "nginx/tls/key.pem").read_bytes()
    assert "made a self-signed certificate" not in render(profile)[1]
    assert (out / "nginx/tls/key.pem").read_bytes() == key


def test_images_are_pinned_as_the_lock_file_says(profile: Path) -> None:
    image_lock.write(profile.parent, {"nginx:1.31": DIGEST})
    out, _ = render(profile)
    services = yaml.safe_load((out / "docker-compose.yml").read_text())["services"]
    assert services["nginx"]["image"] == f"nginx:1.31@{DIGEST}"
    (profile.parent / image_lock.FILE).write_text("images: {nginx: latest}")
    done = CliRunner().invoke(app, ["render", "-f", str(profile), "-o", str(out)])
    assert isinstance(done.exception, ProfileError)
    assert "infctl.lock" in str(done.exception)


def test_a_key_that_containers_will_not_see_is_told(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_API_KEY", "sk-x")
    assert "GATEWAY_API_KEY of the environment does not reach containers" in render(profile)[1]
    (profile.parent / ".env").write_text("GATEWAY_API_KEY=sk-x\n")
    assert "does not reach" not in render(profile)[1]


def test_a_limit_that_containers_hear_otherwise_is_told(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where .env says nothing it is rendered into gateway.yaml."""
    monkeypatch.setenv("MAX_REQUEST_SECS", "77")
    out, said = render(profile)
    assert "does not reach" not in said
    assert "total_s: 77.0" in (out / "gateway" / "gateway.yaml").read_text()
    with (profile.parent / ".env").open("a") as file:
        file.write("\nMAX_REQUEST_SECS=88\n")
    assert "MAX_REQUEST_SECS of the environment does not reach containers" in render(profile)[1]
