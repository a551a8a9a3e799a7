"""The picture of `infctl status --watch` in the README: recorded of a platform that runs, drawn by Rich.

make screenshot            draws docs/images/status.svg from docs/images/status.json
make screenshot-record     records PROFILE for a minute (give it something to do meanwhile), then draws
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from infctl.cli.facts import GatewayFact, PlatformFacts, ServiceFact
from infctl.cli.live_look import LiveLook, read, running
from infctl.cli.live_screen import screen
from infctl.cli.live_view import view
from infctl.cli.look import Looking
from infctl.cli.project import open_project
from infctl.watch.counts import count
from infctl.watch.past import Past

RECORD = Path(__file__).parents[1] / "docs" / "images" / "status.json"
PICTURE = RECORD.with_suffix(".svg")
WIDTH, HEIGHT = 118, 24
LOOKS_S = (0.0, 51.0, 60.0)
"""Errors are told of the minute, rates of its last ten seconds."""


def record(profile: Path) -> dict[str, Any]:
    project = open_project([profile])
    looking, looks, begun = LiveLook(project), [], time.monotonic()
    for after in LOOKS_S:
        time.sleep(max(0.0, begun + after - time.monotonic()))
        facts = Looking(project, engines=False).look()
        at, pages = looking.ask(running(facts))
        looks.append({"at": at, "pages": pages})
    return {"facts": asdict(facts), "looks": looks}


def picture(recorded: dict[str, Any]) -> str:
    """As SVG, without the fonts that Rich would have a browser fetch from elsewhere."""
    past = Past()
    for look in recorded["looks"]:
        past = past.with_now(count(read(look["pages"]), look["at"]))
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(screen(view(facts_of(recorded["facts"]), past), WIDTH, HEIGHT))
    svg = console.export_svg(title="infctl status --watch", unique_id="status")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)


def facts_of(data: dict[str, Any]) -> PlatformFacts:
    rows = (ServiceFact(**{**row, "models": tuple(row["models"])}) for row in data["services"])
    more = {"gateway": GatewayFact(**data["gateway"]), "services": tuple(rows)}
    lists = {key: tuple(data[key]) for key in ("warnings", "notes", "near_limits")}
    return PlatformFacts(**{**data, **more, **lists})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", type=Path, metavar="PROFILE", help="record this one first")
    args = parser.parse_args()
    RECORD.parent.mkdir(exist_ok=True)
    if args.record is not None:
        RECORD.write_text(json.dumps(record(args.record), indent=1) + "\n")
    os.environ["TZ"] = "UTC"  # the clock of the title
    time.tzset()
    PICTURE.write_text(picture(json.loads(RECORD.read_text())))
    sys.stdout.write(f"{PICTURE}\n")


if __name__ == "__main__":
    main()
