"""Prometheus's own tools, as Debian packages them: promtool, amtool, and a Prometheus that is asked."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from infctl.monitoring.rules import all_groups
from infctl.monitoring.terms import Card, Terms

TERMS = Terms(
    availability=0.999,
    first_token_s=2.5,
    window_s=30 * 86_400.0,
    certificate_days=21,
    scrape_s=15.0,
    cards=(Card(0, 20 * 2**30, (("chat", "vllm-chat0"),)), Card(3, None, (("embed", "vllm-embed"),))),
)


def write_rules(folder: Path, terms: Terms = TERMS) -> list[Path]:
    """As they are rendered, less their comment."""
    files = []
    groups = all_groups(terms, gpus_watched=True)
    for name, found in zip(("recordings.yml", "alerts.yml"), groups, strict=True):
        file = folder / name
        file.write_text(yaml.safe_dump({"groups": found}, sort_keys=False, allow_unicode=True))
        files.append(file)
    return files


def promtool(*words: str | Path) -> str:
    """What it says; an AssertionError with that where it fails."""
    done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def exprs() -> dict[str, str]:
    """Rule -> its expression."""
    found: dict[str, Any] = {}
    for groups in all_groups(TERMS, gpus_watched=True):
        for group in groups:
            for rule in group["rules"]:
                found[rule.get("alert") or rule["record"]] = rule["expr"]
    return found
