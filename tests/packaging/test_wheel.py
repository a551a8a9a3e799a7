"""A wheel built from the tree works in an empty folder of a machine without the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ("templates", "profiles", "monitoring")


@dataclass(frozen=True)
class Built:
    wheel: Path
    sdist: Path


@dataclass(frozen=True)
class Elsewhere:
    """A fresh environment with the wheel, and an empty folder to stand in."""

    bin: Path
    folder: Path

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        keep = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "NO_COLOR": "1"}
        keys = {"GATEWAY_API_KEY": "g" * 32, "BACKEND_API_KEY": "b" * 32, "ADMIN_API_KEY": "a" * 32}
        return subprocess.run(
            [self.bin / argv[0], *argv[1:]],
            cwd=self.folder,
            env=keep | keys,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist from the tree, the wheel from the sdist: what the sdist lacks, the wheel would lack too."""
    out = tmp_path_factory.mktemp("dist")
    argv = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Built(wheel=next(out.glob("*.whl")), sdist=next(out.glob("*.tar.gz")))


@pytest.fixture(scope="module")
def elsewhere(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    """The wheel itself is installed; what it depends on is seen through a .pth, so no index is asked."""
    home = tmp_path_factory.mktemp("elsewhere")
    venv = home / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=120)
    install = [str(venv / "bin" / "pip"), "install", "-qq", "--no-deps", "--no-index", str(built.wheel)]
    subprocess.run(install, check=True, timeout=120)
    here = Path(sysconfig.get_path("purelib"))
    site = next((venv / "lib").glob("python*/site-packages"))
    # Plain lines are searched after the wheel; the checkout's own .pth is not followed from there.
    (site / "dependencies.pth").write_text(f"{here}\n")
    empty = home / "empty"
    empty.mkdir()
    yield Elsewhere(venv / "bin", empty)
    shutil.rmtree(venv)


def files_below(folder: str) -> set[str]:
    listed = subprocess.check_output(["git", "ls-files", folder], cwd=ROOT, text=True)
    return {name for name in listed.split() if (ROOT / name).is_file()}


@pytest.mark.parametrize("folder", DATA)
def test_the_wheel_carries_every_data_file(built: Built, folder: str) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        inside = set(wheel.namelist())
    assert {f"infctl/_data/{name}" for name in files_below(folder)} <= inside


@pytest.mark.parametrize("folder", ["infctl", "gateway"])
def test_the_wheel_carries_every_file_of_its_packages(built: Built, folder: str) -> None:
    """Also those that are no Python: the image's Dockerfile and lock."""
    with zipfile.ZipFile(built.wheel) as wheel:
        assert files_below(folder) <= set(wheel.namelist())


@pytest.mark.parametrize("folder", [*DATA, "infctl", "gateway", "requirements"])
def test_the_source_archive_carries_every_file(built: Built, folder: str) -> None:
    with tarfile.open(built.sdist) as archive:
        inside = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert files_below(folder) <= inside


def test_both_carry_the_licence_and_the_notice(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = {name.rsplit("/", 1)[-1]: name for name in wheel.namelist() if "/licenses/" in name}
        assert set(names) == {"LICENSE", "NOTICE"}
        assert "Version 2.0, January 2004" in wheel.read(names["LICENSE"]).decode()
    with tarfile.open(built.sdist) as archive:
        assert {"LICENSE", "NOTICE"} <= {name.rsplit("/", 1)[-1] for name in archive.getnames()}


def test_nothing_but_the_package_is_in_the_wheel(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        tops = {name.split("/", 1)[0] for name in wheel.namelist()}
        leaks = [n for n in wheel.namelist() if n.endswith((".env", ".key", ".pem", ".pyc"))]
    assert {re.sub(r"-.*\.dist-info", ".dist-info", top) for top in tops} == {
        "infctl",
        "gateway",
        "infctl.dist-info",
    }
    assert leaks == []


def test_a_plain_install_pulls_neither_vllm_nor_torch(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        text = wheel.read(next(n for n in wheel.namelist() if n.endswith("/METADATA"))).decode()
    wants = Parser().parsestr(text).get_all("Requires-Dist") or []
    plain = [want for want in wants if "extra ==" not in want]
    assert len(plain) < 12
    assert not [want for want in plain if re.match(r"(vllm|torch|transformers|numpy)\b", want)]
    assert any(want.startswith("vllm") and 'extra == "gpu"' in want.replace("'", '"') for want in wants)


def test_it_runs_from_the_wheel_and_not_from_the_checkout(elsewhere: Elsewhere) -> None:
    code = "import infctl, gateway; print(infctl.__file__, gateway.__file__)"
    done = elsewhere.run("python", "-c", code)
    assert str(ROOT) + "/infctl" not in done.stdout, done.stderr
    assert str(elsewhere.bin.parent) in done.stdout


def test_help_is_shown(elsewhere: Elsewhere) -> None:
    done = elsewhere.run("infctl", "--help")
    assert done.returncode == 0, done.stderr
    assert "validate" in done.stdout


@pytest.mark.parametrize("profile", ["local", "l4x4", "one-gpu", "reference"])
def test_a_built_in_profile_validates_where_it_was_put(elsewhere: Elsewhere, profile: str) -> None:
    shown = elsewhere.run("infctl", "profiles", "show", profile)
    assert shown.returncode == 0, shown.stderr
    (elsewhere.folder / f"{profile}.yaml").write_text(shown.stdout)
    done = elsewhere.run("infctl", "validate", "-f", f"{profile}.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_local_profile_renders(elsewhere: Elsewhere) -> None:
    (elsewhere.folder / "local.yaml").write_text(elsewhere.run("infctl", "profiles", "show", "local").stdout)
    done = elsewhere.run("infctl", "render", "-f", "local.yaml", "-o", "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"nginx.conf", "gateway.yaml"} <= {p.name for p in (elsewhere.folder / "out").rglob("*")}
