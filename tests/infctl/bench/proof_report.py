"""Proof: the HTML report opens in headless Chromium: no console message, no network request, plots drawn.

`make proof-report` (ARGS="--keep DIR" keeps the page and its screenshot). A page that does log and ask is
opened too, and has to be seen to. Needs chromium; the last line is the verdict, exit code 1 where it falls
short.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from infctl.bench import report
from tests.infctl.bench.browser import Opened, chromium, opened
from tests.infctl.bench.test_report import SHOT_BYTES, run

LOUD = '<!doctype html><script>console.log("heard")</script><img src="http://127.0.0.1:9/seen">'


def wrong(found: Opened) -> list[str]:
    told = [*found.messages, *found.asked]
    return told if found.shot_bytes >= SHOT_BYTES else [*told, f"no screenshot: {found.said}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path)
    keep = parser.parse_args().keep
    browser = chromium()
    if browser is None:
        sys.stdout.write("proof-report: there is no chromium here - SHORT\n")
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        runs = [
            run(1, failed=3),
            run(2),
            run(3, concurrency=8),
            run(4, grade="suspect"),
            run(5, grade="invalid"),
        ]
        told = wrong(opened(browser, folder, report.page(runs)))
        with tempfile.TemporaryDirectory() as other:
            loud = opened(browser, Path(other), LOUD)
    if not any("heard" in line for line in loud.messages) or not any("seen" in url for url in loud.asked):
        told.append(f"a page that logs and asks was not seen to: {loud}")
    for line in told:
        sys.stdout.write(f"  {line}\n")
    verdict = "opened, no console message, no network request; of a page that logs and asks both are seen"
    sys.stdout.write(f"proof-report: {f'{len(told)} things wrong - SHORT' if told else verdict}\n")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
