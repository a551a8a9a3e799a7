"""What the profile promises, as numbers of rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infctl.gpus import Gpu
from infctl.monitoring.alerts import promises
from infctl.monitoring.terms import Terms, bound, duration, terms
from infctl.plan import place
from infctl.profile.schema import Profile
from tests.infctl.monitoring.prometheus import TERMS


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(90, "1m30s"), (0.25, "250ms"), (86_400, "1d"), (3600.5, "1h500ms"), (0, "1ms"), (180_061, "2d2h1m1s")],
)
def test_durations_are_as_prometheus_reads_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(("promised", "judged"), [(2.5, 2.5), (2.1, 2.5), (0.001, 0.01), (9999, 640.0)])
def test_a_promise_is_judged_by_the_next_bound_above_it(promised: float, judged: float) -> None:
    assert bound(promised) == judged


def test_burn_rates_are_the_workbooks_for_thirty_days_and_follow_the_window() -> None:
    found = [TERMS.burn(share, hours) for share, hours, _, _ in promises.FAST + promises.SLOW]
    assert found == [14.4, 6.0, 3.0, 1.0]
    assert replace(TERMS, window_s=7 * 86_400.0).burn(0.02, 1) == 3.36


def test_a_scaled_window_still_holds_four_readings() -> None:
    scaled = Terms(0.999, 2.5, 86_400.0, 21, scrape_s=0.5, scale=0.001)
    assert scaled.span(300) == "2s"
    assert scaled.wait(300) == "300ms"


def test_terms_are_the_profiles() -> None:
    profile = Profile.model_validate(
        {
            "name": "p",
            "models": {"chat": {"source": "a/b", "task": "chat", "replicas": 2}},
            "monitoring": {"slo": {"availability": "99.5%", "ttft_p95": "1.2s", "window": "7d"}},
        }
    )
    found = terms(profile, place(profile, tuple(Gpu(n, "L4") for n in range(2))))
    assert (found.availability, found.first_token_s, found.window_s) == (0.995, 1.5, 7 * 86_400)
    assert [card.engines for card in found.cards] == [
        (("chat", "vllm-chat0"),),
        (("chat", "vllm-chat1"),),
    ]
