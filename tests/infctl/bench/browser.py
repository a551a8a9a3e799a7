"""A page in headless Chromium: what it logs, and what it asks the network for."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

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
WITHIN_S = 120.0


def chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


@dataclass(frozen=True)
class Opened:
    messages: tuple[str, ...]
    """Of the console."""
    asked: tuple[str, ...]
    """Addresses."""
    shot_bytes: int
    """Of the screenshot, `report.png` in the folder; 0: there is none."""
    said: str


def opened(browser: str, folder: Path, text: str) -> Opened:
    page, shot, net = folder / "report.html", folder / "report.png", folder / "net.json"
    page.write_text(text, encoding="utf-8")
    common = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={net}"]
    done = subprocess.run(
        [*common, f"--screenshot={shot}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    return Opened(
        messages=tuple(line for line in done.stderr.splitlines() if "CONSOLE" in line),
        asked=_asked(net),
        shot_bytes=shot.stat().st_size if shot.is_file() else 0,
        said=done.stderr[-500:],
    )


def _asked(net: Path) -> tuple[str, ...]:
    """What the page made the browser ask for; its own services' addresses are not the page's."""
    text = net.read_text(encoding="utf-8").rstrip().rstrip(",")
    if not text.endswith("}"):
        text += "]}"
    told = [event.get("params", {}) for event in json.loads(text)["events"]]
    urls = {str(one.get("url")) for one in told}
    pages = {str(one.get("initiator")) for one in told}
    asked = {url for url in urls if url.startswith("http") and "google" not in url}
    return tuple(sorted(asked | {page for page in pages if page.startswith("file")}))
