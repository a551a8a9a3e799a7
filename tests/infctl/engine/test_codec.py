"""A stack through JSON and back, and the digests that say whether two services are the same."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from infctl.engine import codec
from infctl.stack import ConfigFile, LogLimits, Preparation, Readiness, Service, Stack

FULL = Service(
    name="nginx",
    role="edge",
    argv=("nginx", "-c", "x"),
    env=(("A", "1"),),
    secret_env=(("K", "KEY"),),
    files=(ConfigFile("/x", "aa", "reload"), ConfigFile("/y", "bb", "restart")),
    ready=Readiness("http://x/", 3.0),
    start_group="g",
    after=("chat",),
    reload_signal="HUP",
    stop_signal="QUIT",
    stop_timeout_s=7.0,
    listen=(("127.0.0.1", 8443),),
    models=("chat",),
    gpu="0",
)


def test_every_field_comes_back():
    assert all(getattr(FULL, f.name) != f.default for f in fields(Service)), "the sample sets every field"
    stack = Stack(
        "x",
        "process",
        (FULL, Service("a", "engine", ("a",))),
        (Preparation("p", ("p",), "/p"),),
        LogLimits(9, 2),
    )
    assert codec.stack_from_json(json.loads(json.dumps(codec.stack_to_json(stack)))) == stack


def test_additions_are_passed_over_and_a_field_an_older_version_did_not_know_is_default():
    data = {**codec.stack_to_json(Stack("x", "process", (FULL,)))["services"][0], "nonce": 3}
    del data["stop_signal"]
    assert codec.service_from_json(data) == replace(FULL, stop_signal="TERM")
    whole = codec.stack_to_json(Stack("x", "process", (FULL,), logs=LogLimits(9, 2)))
    del whole["logs"]
    assert codec.stack_from_json(whole).logs == LogLimits()


NEEDS_A_NEW_PROCESS = {
    "argv": ("nginx",),
    "env": (),
    "secret_env": (),
    "gpu": "1",
    "files": (FULL.files[0], ConfigFile("/y", "cc", "restart")),
}


@pytest.mark.parametrize("field", [f.name for f in fields(Service) if f.name not in ("name", "role")])
def test_only_what_a_running_process_cannot_take_over_changes_its_spec_hash(field):
    default = next(f.default for f in fields(Service) if f.name == field)
    changed = replace(FULL, **{field: NEEDS_A_NEW_PROCESS.get(field, default)})
    same = codec.spec_hash(changed, {}) == codec.spec_hash(FULL, {})
    # Without its signal a service cannot reload: its files then need a new process.
    assert same == (field not in NEEDS_A_NEW_PROCESS and field != "reload_signal")


def test_a_file_to_reload_changes_only_the_files_hash():
    changed = replace(FULL, files=(ConfigFile("/x", "zz", "reload"), FULL.files[1]))
    assert codec.spec_hash(changed, {}) == codec.spec_hash(FULL, {})
    assert codec.files_hash(changed) != codec.files_hash(FULL)


def test_a_secrets_value_is_in_the_spec_hash_by_a_digest_that_tells_nothing():
    one, two = (codec.secret_digest(b"key", value) for value in ("one", "two"))
    assert codec.spec_hash(FULL, {"KEY": one}) != codec.spec_hash(FULL, {"KEY": two})
    assert codec.secret_digest(b"another home's", "one") != one
    assert codec.spec_hash(FULL, {"OTHER": one}) == codec.spec_hash(FULL, {})
