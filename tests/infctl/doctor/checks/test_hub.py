"""The hub's token, and whether it may read the models. A loopback server plays the hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infctl.doctor.checks.hub import WHO, cache_env, look, wanted

TOKEN = "hf_a_token_nobody_may_see"
MODELS = {"chat": {"source": "org/gated", "task": "chat"}, "embed": {"source": "org/open", "task": "embed"}}
GATED = {"models": MODELS}
CONFIG = "/org/gated/resolve/main/config.json"


@pytest.fixture
def asks(case, fake_hub, tmp_path: Path):
    """`asks({...})`: what the check finds with this hub."""

    def ask(changes=GATED, **env):
        env = {"HF_ENDPOINT": fake_hub.url, "HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path), **env}
        found = list(look(case(changes, env=env, offline=False)))
        assert not any(TOKEN in f"{one}" for one in found)
        return found

    return ask


def test_models_that_may_be_read_are_one_line(asks, fake_hub, builders):
    for name in ("org/gated", "org/open"):
        fake_hub.put(name, "config.json", builders.config_bytes)
    fake_hub.files[WHO] = json.dumps({"name": "me"}).encode()
    (found,) = asks(HF_TOKEN=TOKEN)
    assert (found.verdict, found.what) == ("ok", "the hub gives 2 of 2 models with the token")
    assert {authorization for _, _, authorization in fake_hub.asked} == {f"Bearer {TOKEN}"}


def test_a_gated_model_without_a_token_names_the_place_and_what_to_do(asks, fake_hub, builders):
    fake_hub.put("org/open", "config.json", builders.config_bytes)
    fake_hub.answers[CONFIG] = builders.refuse(401, X_Error_Code="GatedRepo")
    bad, good = asks()
    assert (bad.verdict, bad.path) == ("failure", "models/chat/source")
    assert "set HF_TOKEN in .env" in bad.fix
    assert good.what == "the hub gives 1 of 2 models"


def test_a_token_that_may_not_read_one_model(asks, fake_hub, builders):
    fake_hub.put("org/open", "config.json", builders.config_bytes)
    fake_hub.files[WHO] = b'{"name": "me"}'
    fake_hub.answers[CONFIG] = builders.refuse(403, X_Error_Code="GatedRepo")
    bad, good = asks(HF_TOKEN=TOKEN)
    assert (bad.verdict, "accept its licence" in bad.fix) == ("failure", True)
    assert good.verdict == "ok"


def test_a_token_that_the_hub_does_not_know(asks, fake_hub, builders):
    for name in ("org/gated", "org/open"):
        fake_hub.put(name, "config.json", builders.config_bytes)
    fake_hub.answers[WHO] = builders.refuse(401)
    bad, good = asks(HF_TOKEN=TOKEN)
    assert (bad.verdict, bad.path) == ("failure", "engines/hub_token")
    assert good.what == "the hub gives 2 of 2 models"


def test_the_engines_own_token_is_the_one_that_is_tried(asks, fake_hub, builders):
    for name in ("org/gated", "org/open"):
        fake_hub.put(name, "config.json", builders.config_bytes)
    asks({**GATED, "engines": {"hub_token": "${OTHER_TOKEN}"}}, HF_TOKEN="another", OTHER_TOKEN=TOKEN)
    assert {authorization for _, _, authorization in fake_hub.asked} == {f"Bearer {TOKEN}"}


def test_a_hub_that_is_silent_is_asked_once_and_is_a_warning(asks, monkeypatch):
    (found,) = asks(HF_ENDPOINT="http://127.0.0.1:1")
    assert found.verdict == "warning"
    assert "2 models are still to be fetched: org/gated, org/open" in found.why


def test_a_model_that_is_not_there(asks, fake_hub, builders):
    fake_hub.put("org/open", "config.json", builders.config_bytes)
    fake_hub.answers[CONFIG] = builders.refuse(404, X_Error_Code="RepoNotFound")
    bad, _ = asks()
    assert "no such model" in bad.what


def test_nobody_is_asked_for_what_is_in_the_cache_or_where_nobody_may_be(case, fake_hub, tmp_path: Path):
    snapshot = tmp_path / "hf" / "hub" / "models--org--gated" / "snapshots" / ("b" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    pinned = {"models": {"chat": {"source": {"hub": "org/gated", "revision": "b" * 40}, "task": "chat"}}}
    env = {"HF_ENDPOINT": fake_hub.url, "HF_HOME": str(tmp_path / "hf")}
    (found,) = look(case(pinned, env=env, offline=False))
    assert found.what == "all 1 models of the hub are in the cache"
    (found,) = look(case(GATED, env=env, offline=True))
    assert found.verdict == "skipped"
    (found,) = look(case(GATED, env={**env, "HF_HUB_OFFLINE": "1"}, offline=False))
    assert found.verdict == "skipped"
    (found,) = look(case({"models": {"chat": {"source": {"path": "m"}, "task": "chat"}}}, offline=False))
    assert found.verdict == "skipped"
    assert fake_hub.asked == []


def test_containers_have_their_weights_beside_the_profile(case, tmp_path: Path):
    made = case({**GATED, "runtime": "docker"}, env={"HF_HOME": "/elsewhere", "HF_HUB_CACHE": "/elsewhere"})
    assert cache_env(made)["HF_HOME"] == str(tmp_path / "hf-cache")
    assert "HF_HUB_CACHE" not in cache_env(made)
    assert [model.path for model in wanted(made)] == ["models/chat/source", "models/embed/source"]
