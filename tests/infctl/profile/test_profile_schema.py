"""What must hold for every field of the schema, also for those added later."""

from __future__ import annotations

import subprocess
import sys
from typing import get_origin

import pytest
from pydantic import BeforeValidator, ValidationError

from infctl.profile.schema import Edge, Profile
from infctl.profile.schema.base import Says
from infctl.profile.schema.walk import Spot, at, known_paths


def _leaves(spot: Spot) -> list[Spot]:
    found = [spot]
    if get_origin(spot.kind) in {dict, tuple}:
        if key := spot.key():
            found += _leaves(key)
        if item := spot.child("0"):
            found += _leaves(item)
    return found


def test_every_text_has_a_pattern():
    """A text may end in nginx.conf, an argv or YAML."""
    checked = 0
    for path in known_paths():
        spot = at(["x" if step == "*" else step for step in path])
        assert spot is not None
        for leaf in _leaves(spot):
            if leaf.kind is str:
                checked += 1
                assert any(isinstance(mark, Says | BeforeValidator) for mark in leaf.marks), path
    assert checked >= 60


EVIL = ["a;b", 'a"b', "a\nb", "a\rb", "a\x00b", "a$b", "a\\b", "a\u2028b", "a{b", "a}b", "-x y", "a\x85b"]


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("field", ["server_name", "bind", "image"])
def test_nothing_that_nginx_reads_as_syntax_gets_in(field, text):
    with pytest.raises(ValidationError):
        Edge.model_validate({field: text})


@pytest.mark.parametrize("text", [t for t in EVIL if t != "-x y"])
def test_no_path_or_header_breaks_out_of_its_quotes(text):
    for data in ({"tls": {"certificate": text}}, {"tls": {"key": text}}):
        with pytest.raises(ValidationError):
            Edge.model_validate(data)
    if text not in {"a;b", "a{b", "a}b"}:  # inside double quotes these are only characters
        with pytest.raises(ValidationError):
            Edge.model_validate({"headers": {"content_security_policy": text}})


def test_a_profile_is_frozen(desk, smallest):
    profile = desk.load(smallest).profile
    with pytest.raises(ValidationError):
        profile.name = "other"


def test_what_is_dumped_loads_to_the_same(desk, smallest):
    profile = desk.load(smallest, "gateway: {limits: {queue_timeout: 1500ms}}\nlogs: {max_size: 3MB}").profile
    again = Profile.model_validate(profile.model_dump(mode="json", exclude_unset=True))
    assert again == profile


def test_importing_the_package_loads_no_schema():
    """`infctl --help` must not wait for it."""
    code = "import sys, infctl.profile; sys.exit('pydantic' in sys.modules or 'yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_the_schema_builds_no_validator():
    code = (
        "import sys; from infctl.profile.schema import Profile, Edge, Gateway;"
        "sys.exit(any(m.__pydantic_complete__ for m in (Profile, Edge, Gateway)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
