"""The rendered prometheus.yml and its rules, read by Prometheus's own checker."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from infctl.profile.builtin import builtin_profiles
from tests.infctl.render.conftest import render_profile


@pytest.mark.parametrize("case", [name for name in builtin_profiles() if name != "local"])
def test_promtool_takes_it(case: str, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    for rendered in render_profile(builtin_profiles()[case]).files:
        if rendered.path.startswith("prometheus/"):
            (tmp_path / rendered.path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / rendered.path).write_text(rendered.text)
    file = tmp_path / "prometheus" / "prometheus.yml"
    done = subprocess.run(
        [promtool, "check", "config", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
