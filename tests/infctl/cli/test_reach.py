"""With which key this machine asks a platform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infctl.cli.reach import reach_of
from infctl.host import Host
from infctl.plan import place
from infctl.profile.schema import Profile
from infctl.stack import Layout
from infctl.stack.build import build

LAYOUT = Layout(Path("/srv/p"), Path("/srv/p/.infctl/p"))


@pytest.mark.parametrize(
    ("gateway", "key"),
    [
        ({}, "GATEWAY_API_KEY"),
        ({"keys": {"shared": "${OURS}"}, "tenants": {"t": {"keys": ["${TEAM}"]}}}, "OURS"),
        ({"keys": {"shared": "none"}}, ""),
        (
            {
                "keys": {"shared": "none"},
                "tenants": {
                    "narrow": {"keys": ["${NARROW}"], "models": ["chat"]},
                    "wide": {"addresses": ["10.0.0.0/8"]},
                    "whole": {"keys": ["${WHOLE}"]},
                },
            },
            "WHOLE",
        ),
    ],
)
def test_the_shared_key_or_a_tenants_that_may_ask_every_model(gateway: dict[str, Any], key: str) -> None:
    models = {"chat": {"source": "a/b", "task": "chat"}}
    text = {"name": "p", "runtime": "process", "gpus": "cpu", "models": models, "gateway": gateway}
    profile = Profile.model_validate(text)
    stack = build(profile, place(profile, ()), LAYOUT, Host())
    assert reach_of(profile, LAYOUT, stack).key_name == key
