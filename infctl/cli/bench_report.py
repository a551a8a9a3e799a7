"""`infctl bench report`: runs that are kept, as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infctl import atomic
from infctl.bench import report, results
from infctl.cli.bench_screen import load_text, server_lines


def write(names: Sequence[str], home: Path, file: Path | None) -> Path:
    """The page's place. Raises BenchError, EngineError."""
    places = [results.find(name, home) for name in names]
    page = report.page([_run(place) for place in places])
    target = file or places[-1] / "report.html"
    atomic.replace(target, page.encode(), mode=0o644)
    return target


def _run(place: Path) -> report.Run:
    found, log = results.load(place), results.records(place)
    return report.Run(
        found,
        load_text(found.config),
        results.of_result(found, log),
        log,
        servers=[line.strip() for line in server_lines(found) if line],
        samples=results.samples(place),
    )
