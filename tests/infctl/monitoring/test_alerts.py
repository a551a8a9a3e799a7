"""Every alert fires, stays silent, is over, and makes nothing of no data: Prometheus's own unit tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infctl.monitoring.alerts import Alert, alerts
from infctl.monitoring.rules import RUNBOOKS, all_groups
from infctl.monitoring.terms import Terms
from tests.infctl.monitoring.cases import BAD, CASES, Case
from tests.infctl.monitoring.prometheus import TERMS, promtool, write_rules

ROOT = Path(__file__).resolve().parents[3]
RECORDED = tuple(group["name"] for group in all_groups(TERMS, gpus_watched=True)[0])
ALERTS = {alert.name: alert for alert in alerts(TERMS, gpus_watched=True)}


def expected(alert: Alert, labels: dict[str, str]) -> dict[str, Any]:
    found = re.sub(r"{{ \$labels\.(\w+) }}", lambda match: labels[match[1]], alert.summary)
    return {
        "exp_labels": labels | {"severity": alert.severity},
        "exp_annotations": {"summary": found, "runbook": f"{RUNBOOKS}/{alert.name}.md"},
    }


def groups(name: str, case: Case) -> Iterator[dict[str, Any]]:
    alert, step = ALERTS[name], case.step_min

    def asked(at: int, *there: dict[str, Any]) -> dict[str, Any]:
        return {"eval_time": f"{at * step}m", "alertname": name, "exp_alerts": list(there)}

    fires = expected(alert, case.labels)
    over = asked(BAD + case.good)
    interval = f"{step}m"
    yield {
        "name": f"{name} fires and is over",
        "interval": interval,
        "input_series": case.series(bad=True),
        "alert_rule_test": [asked(case.fires_at, fires), over],
    }
    yield {
        "name": f"{name} is silent while all is well",
        "interval": interval,
        "input_series": case.series(bad=False),
        "alert_rule_test": [asked(at) for at in (case.good // 2, case.good)],
    }
    yield {
        "name": f"{name} without any data",
        "interval": interval,
        "input_series": [{"series": 'unrelated{a="b"}', "values": f"1x{BAD}"}],
        "alert_rule_test": [asked(BAD, *([fires] if case.absence else []))],
    }


def written(folder: Path, name: str, case: Case) -> Path:
    """A test file with the one alert, and with the recordings where it needs them."""
    rule = next(
        rule for _, alerted in [all_groups(TERMS, gpus_watched=True)] for g in alerted for rule in g["rules"]
        if rule["alert"] == name
    )  # fmt: skip
    (folder / f"{name}.rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]}))
    recorded = ["recordings.yml"] if "infctl:" in ALERTS[name].expr else []
    data = {
        "rule_files": [*recorded, f"{name}.rules.yml"],
        "evaluation_interval": f"{case.step_min}m",
        "group_eval_order": [*RECORDED, "g"],  # by itself promtool takes them in any order
        "tests": list(groups(name, case)),
    }
    file = folder / f"{name}.yml"
    file.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    return file


def test_every_alert_fires_is_over_is_silent_and_makes_nothing_of_no_data(tmp_path: Path) -> None:
    write_rules(tmp_path)
    promtool("test", "rules", *(written(tmp_path, name, case) for name, case in CASES.items()))


def test_every_alert_has_its_case_and_there_are_more_than_twenty() -> None:
    assert set(CASES) == set(ALERTS) - {"Watchdog"}
    assert len(ALERTS) >= 20


def test_the_watchdog_is_always_there(tmp_path: Path) -> None:
    write_rules(tmp_path)
    told = expected(ALERTS["Watchdog"], {})
    test = {"eval_time": "1m", "alertname": "Watchdog", "exp_alerts": [told]}
    data = {"rule_files": ["alerts.yml"], "tests": [{"input_series": [], "alert_rule_test": [test]}]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(data))
    promtool("test", "rules", tmp_path / "tests.yml")


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_prometheus_takes_the_rules(tmp_path: Path, scale: float) -> None:
    terms = Terms(0.99, 1.0, 7 * 86_400.0, 21, 0.2, scale=scale)
    for file in write_rules(tmp_path, terms):
        assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", file)


def test_a_summary_is_a_sentence_with_no_number_that_changes() -> None:
    for alert in ALERTS.values():
        assert alert.summary.endswith("."), alert.name
        assert "$value" not in alert.summary, alert.name


def test_every_alert_has_a_page_that_says_what_to_do_and_no_page_is_left_over() -> None:
    folder = ROOT / RUNBOOKS
    assert {page.stem for page in folder.glob("*.md")} - {"README"} == set(ALERTS)
    index = (folder / "README.md").read_text("utf-8")
    for name, alert in ALERTS.items():
        text = (folder / f"{name}.md").read_text("utf-8")
        assert text.startswith(f"# {name}\n"), name
        parts = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert parts == ["What it means", "Do this", "It is over when"], name
        assert re.search(r"^1\. ", text, re.MULTILINE), name
        assert f"[{name}]({name}.md)" in index, name
        assert f"**{alert.severity}**" in text, name


def test_commands_of_the_pages_are_commands_of_infctl() -> None:
    known = (ROOT / "docs/cli.md").read_text("utf-8")
    for page in (ROOT / RUNBOOKS).glob("*.md"):
        for command in re.findall(r"`infctl ([a-z]+(?: [a-z]+)?)", page.read_text("utf-8")):
            first = command.split(" ")[0]
            assert f"infctl {command}" in known or f"infctl {first}" in known, (page.name, command)
