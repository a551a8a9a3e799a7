"""What the pages say is so."""

from __future__ import annotations

import json
import re
import runpy
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_annotated_tree_names_every_file_as_it_is_now() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "tree.py"))
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    assert script["rewritten"](page) == page, "run: python scripts/tree.py"


def test_every_python_file_is_in_the_annotated_tree() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    script = runpy.run_path(str(ROOT / "scripts" / "tree.py"))
    folders = {
        str(file.parent.relative_to(ROOT))
        for package in ("infctl", "gateway", "bench", "scripts")
        for file in (ROOT / package).rglob("*.py")
        if "_data" not in file.parts
    }
    assert folders <= set(script["FOLDERS"])
    assert page.count("\n") > 100


def test_the_picture_of_the_live_screen_is_drawn_from_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    script = runpy.run_path(str(ROOT / "scripts" / "screenshot.py"))
    drawn = script["picture"](json.loads(script["RECORD"].read_text("utf-8")))
    assert script["PICTURE"].read_text("utf-8") == drawn, "run: make screenshot"
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "").replace(
        "https://www.textualize.io", ""
    ), "it is fetched from nowhere else"
    monkeypatch.undo()
    time.tzset()


def test_the_page_of_metrics_is_what_the_table_says() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "metrics_page.py"))
    assert (ROOT / "docs/metrics.md").read_text("utf-8") == script["text"](), (
        "run: python scripts/metrics_page.py"
    )


def test_the_table_of_load_tools_is_of_the_kept_results() -> None:
    script = runpy.run_path(str(ROOT / "bench/generator/table.py"))
    page = script["PAGE"].read_text("utf-8")
    made = script["table"](json.loads(script["OUT"].read_text("utf-8"))) if script["OUT"].exists() else ""
    assert script["put"](page, made) == page


@pytest.mark.parametrize(
    "page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "docs/planning.md"]
)
def test_every_file_a_page_links_to_or_names_exists(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    named = re.findall(
        r"`((?:infctl|gateway|tests|profiles|scripts|bench|requirements)/[\w./-]+\.\w+)`", text
    )
    missing = [name for name in (*links, *named) if not (ROOT / name).exists()]
    assert missing == []


def test_every_make_target_the_readme_names_exists() -> None:
    targets = re.findall(r"\bmake ([a-z-]+)", (ROOT / "README.md").read_text("utf-8"))
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert [t for t in targets if not re.search(rf"^{t}:", makefile, re.MULTILINE)] == []


def test_the_plan_in_the_readme_is_what_the_command_prints() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    printed = (ROOT / "tests/golden/plan/profile-l4x4.txt").read_text("utf-8")
    _, _, rest = readme.partition("$ infctl plan -f profiles/l4x4.yaml --gpus 4xL4\n")
    shown, _, _ = rest.partition("```")
    assert len(shown) > 1000
    assert printed.startswith(shown)


def test_the_rows_that_the_planning_page_explains_are_printed_so() -> None:
    page = (ROOT / "docs/planning.md").read_text("utf-8")
    printed = (ROOT / "tests/golden/plan/profile-l4x4.txt").read_text("utf-8").splitlines()
    _, _, rest = page.partition("## How to read the screen\n\n```\n")
    shown, _, _ = rest.partition("```")
    assert len(shown.splitlines()) == 4
    assert set(shown.splitlines()) <= set(printed)
