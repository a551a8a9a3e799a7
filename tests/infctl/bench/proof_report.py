"""Proof: the HTML report opens in headless Chromium: no console message, no network request, plots drawn.

`make proof-report` (ARGS="--keep DIR" keeps the page and its screenshot). Needs chromium; the last line is
the verdict, exit code 1 where it falls short.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from infctl.bench import report
from tests.infctl.bench.test_report import run

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1400,2400",
    "--enable-logging=stderr",
)


def opened(browser: str, folder: Path) -> list[str]:
    """What is wrong with the page once Chromium has drawn it."""
    page, shot, net = folder / "report.html", folder / "report.png", folder / "net.json"
    page.write_text(report.page([run(1, failed=3), run(2), run(3, concurrency=8)]), encoding="utf-8")
    common = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={net}"]
    done = subprocess.run(
        [*common, f"--screenshot={shot}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    wrong = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    if not shot.is_file() or shot.stat().st_size < 20_000:
        wrong.append(f"no screenshot: {done.stderr[-500:]}")
    return wrong + _asked(net)


def _asked(net: Path) -> list[str]:
    """Addresses that the page made the browser ask for; its own services' are not the page's."""
    text = net.read_text(encoding="utf-8").rstrip().rstrip(",")
    if not text.endswith("}"):
        text += "]}"
    events = json.loads(text)["events"]
    urls = {event.get("params", {}).get("url", "") for event in events}
    initiators = {event.get("params", {}).get("initiator", "") for event in events}
    asked = [url for url in urls if url.startswith("http") and "google" not in url]
    return asked + [one for one in initiators if one.startswith("file")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path)
    keep = parser.parse_args().keep
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.stdout.write("proof-report: there is no chromium here - SHORT\n")
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        wrong = opened(browser, folder)
    for line in wrong:
        sys.stdout.write(f"  {line}\n")
    verdict = "opened, no console message, no network request"
    sys.stdout.write(f"proof-report: {f'{len(wrong)} things wrong - SHORT' if wrong else verdict}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
