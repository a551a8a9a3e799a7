"""Of any profile that renders, what `up` leaves is what is wanted: the next plan is empty."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings

from infctl.engine.docker import reconcile
from tests.conformance.compose_random import Rendered, outcome, profiles
from tests.examples import examples
from tests.infctl.engine.docker import simulated


@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(profiles())
def test_after_apply_there_is_nothing_to_do(data: dict[str, Any]):
    with tempfile.TemporaryDirectory() as folder:
        found = outcome(data, Path(folder))
    if isinstance(found, Rendered):
        plan = reconcile.plan(found.stack, simulated.snapshot(found.stack), ours=(found.stack.name,))
        assert plan.actions == ()
