"""Environment variables over gateway.yaml."""

from __future__ import annotations

import pytest

from gateway.config import Config, ConfigError
from gateway.environment import apply

CONFIG = Config(models=())


def test_each_variable_reaches_its_field():
    env = {
        "MAX_REQUEST_SECS": "100",
        "STREAM_IDLE_TIMEOUT_SECS": "7",
        "QUEUE_TIMEOUT_SECS": "0.5",
        "CIRCUIT_FAILURE_THRESHOLD": "9",
        "CIRCUIT_RECOVERY_TIMEOUT": " 12 ",
    }
    found = apply(CONFIG, env, "f")
    assert (found.timeouts.total_s, found.timeouts.stream_idle_s, found.queue.timeout_s) == (100, 7, 0.5)
    assert (found.breaker.failures, found.breaker.recovery_s) == (9, 12)
    assert apply(CONFIG, {"MAX_REQUEST_SECS": ""}, "f") is CONFIG


@pytest.mark.parametrize("text", ["x", "0", "-1", "1e9", "nan", "1.5.2"])
def test_a_value_that_is_none_is_named(text):
    with pytest.raises(ConfigError) as caught:
        apply(CONFIG, {"CIRCUIT_FAILURE_THRESHOLD": text, "QUEUE_TIMEOUT_SECS": "3"}, "f")
    assert "CIRCUIT_FAILURE_THRESHOLD" in str(caught.value)
    assert len(caught.value.problems) == 1
