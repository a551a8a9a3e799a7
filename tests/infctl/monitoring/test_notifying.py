"""Alertmanager takes its file, and who is told what is as the page says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from infctl.monitoring import notifying
from infctl.monitoring.alerts import alerts
from tests.infctl.monitoring.prometheus import TERMS

NAMES = {alert.name for alert in alerts(TERMS, gpus_watched=True)}


def amtool(*words: str) -> str:
    done = subprocess.run(["amtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("webhook", [None, {"url": "http://127.0.0.1:1/hook"}])
def test_alertmanager_takes_it(tmp_path: Path, webhook: dict[str, str] | None) -> None:
    file = tmp_path / "alertmanager.yml"
    file.write_text(yaml.safe_dump(notifying.config(webhook)))
    assert "SUCCESS" in amtool("check-config", str(file))
    for severity, receiver in {"page": "pages", "ticket": "tickets", "none": "nobody"}.items():
        found = amtool("config", "routes", "test", f"--config.file={file}", f"severity={severity}")
        assert found.strip() == receiver


def test_what_is_worse_and_what_is_less_bad_are_alerts() -> None:
    for source, targets, _ in notifying.WORSE:
        assert {source, *targets} <= NAMES
        assert source not in targets
