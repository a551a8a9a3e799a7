"""A failed start's log -> what was wrong, where in the profile, and a value that was planned with.

Each tests/golden/vllm_logs/NAME.log says how it came to be; NAME.txt is what a person reads of it.
INFCTL_REFRESH_GOLDEN=1 pytest tests/infctl/doctor/test_startup.py    writes those anew; read the diff then
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from infctl.cli.console import as_data
from infctl.doctor.startup import Explanation, explain
from infctl.engine.cause_table import CAUSES
from infctl.errors import EngineError
from infctl.plan import plan
from tests.infctl.doctor import logs

NAMES = sorted(file.stem for file in logs.FOLDER.glob("*.log"))


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def explained(name: str) -> Explanation:
    log = logs.read(name)
    profile = logs.loaded(log)
    known = logs.known(profile)
    return explain(log.lines, log.service, profile, known.plan, facts=known.facts, gpus=known.gpus)


def text(error: EngineError) -> str:
    lines = [f"error: {error.message}", *(f"  {line}" for line in error.hint.splitlines())]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_each_log_is_explained_as_it_was(name: str) -> None:
    told = text(explained(name).error())
    file = logs.FOLDER / f"{name}.txt"
    if os.environ.get("INFCTL_REFRESH_GOLDEN"):
        file.write_text(told)
    assert file.read_text() == told


@pytest.mark.parametrize("name", NAMES)
def test_the_lines_that_are_shown_hold_the_one_that_tells(name: str) -> None:
    log = logs.read(name)
    found = explained(name)
    assert found.key
    cause = next(cause for cause in CAUSES if cause.key == found.key)
    assert any(re.search(cause.pattern, line) for line in found.log)
    assert set(found.log) <= set(log.lines)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("gpu_")] + ["context_too_long"])
def test_what_is_proposed_fits_when_it_is_written(name: str) -> None:
    """The proposal's own words, put into the profile, are planned once more."""
    log = logs.read(name)
    found = explained(name)
    for proposal in found.proposals:
        _, model, field = proposal.path.split("/")
        value = {field: None} if not proposal.becomes else {field: _value(proposal.becomes)}
        changed = {**log.profile, "models": {**log.profile.get("models", {})}}
        changed["models"][model] = {**changed["models"].get(model, {}), **value}
        again = logs.loaded(logs.Log(log.name, log.about, log.service, changed, log.lines))
        known = logs.known(again)
        assert known.plan is not None, proposal.says
        assert plan(again.profile, known.gpus, known.facts, where=again.where)


def _value(written: str) -> object:
    return float(written) if "." in written else int(written) if written.isdecimal() else written


def test_every_message_of_a_start_that_fails_on_a_gpu_has_a_log() -> None:
    keys = {explained(name).key for name in NAMES}
    assert {
        "neighbour on the GPU",
        "no KV cache memory",
        "context too long",
        "no room for a token",
        "memory profiling disturbed",
        "weights do not fit",
        "too many requests at once",
        "too few states",
    } <= keys


def test_the_memory_of_this_start_decides_not_the_plan_of_before() -> None:
    """Planned, 0.9 of the card holds 73,856 tokens; 1.21 GiB is what this start found."""
    found = explained("gpu_context_too_long")
    length, share = found.proposals
    assert (length.was, length.becomes) == ("32768", "22640")
    # 0.91 would do by the plan alone; what was missing at 0.9 is missing at 0.91 too.
    assert (share.was, share.becomes) == ("0.9", "0.93")


def test_without_a_plan_or_facts_the_place_and_the_words_of_the_log_are_left() -> None:
    log = logs.read("gpu_context_too_long")
    profile = logs.loaded(log)
    found = explain(log.lines, log.service, profile)
    assert found.proposals == ()
    assert "profile.yaml:14:20  max_model_len: 32768" in found.hint
    assert "`max_model_len: 22656`" in found.hint


def test_a_log_that_tells_nothing_known_shows_its_last_error() -> None:
    profile = logs.loaded(logs.read("gpu_neighbour"))
    lines = ["(APIServer pid=7) INFO version 0.32.0", "ZeroDivisionError: division by zero", "end"]
    found = explain(lines, "vllm-chat0", profile, last_exit="exit code 1")
    assert (found.key, found.what, found.where) == ("", "exit code 1", None)
    assert "ZeroDivisionError: division by zero" in found.log
    assert found.hint == "log: infctl logs chat0 --since start"


def test_a_service_that_is_no_engine_is_explained_too() -> None:
    profile = logs.loaded(logs.read("gpu_neighbour"))
    line = 'nginx: [emerg] invalid number of arguments in "listen" directive in /etc/nginx/nginx.conf:31'
    found = explain([line], "nginx", profile)
    assert found.path == "edge"
    assert str(found.where) == "profile.yaml:91:3"
    taken = explain(
        ["nginx: [emerg] bind() to 0.0.0.0:443 failed (98: Address already in use)"], "nginx", profile
    )
    assert (taken.path, str(taken.where)) == ("edge/https_port", "profile.yaml:92:15")


def test_a_name_that_ends_in_figures_is_a_replica_only_where_there_is_such_a_model() -> None:
    profile = logs.loaded(logs.read("gpu_neighbour"))
    line = ["OSError: You are trying to access a gated repo."]
    assert explain(line, "chat1", profile).path == "models/chat/source"
    assert explain(line, "text2sql", profile).path == "models/text2sql/source"
    assert explain(line, "nobody7", profile).path == ""


def test_the_error_is_as_json_has_it() -> None:
    data = as_data(explained("gpu_sampler").error())
    assert data["kind"] == "engine"
    assert data["exit_code"] == 5
    assert "max_num_seqs: 512  ->  256 fits" in data["hint"]
    assert any("warming up sampler" in line for line in data["log"])
