"""`infctl top`: the busiest tenants, models and backends. JSON: shapes.TOP."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json

if TYPE_CHECKING:
    from infctl.cli.live_look import LiveLook
    from infctl.cli.remains import Remains
    from infctl.watch.busiest import Busiest

_WATCH_S = 1.0


class By(StrEnum):
    """What the rows are."""

    tenant = "tenant"
    model = "model"
    backend = "backend"


class Sort(StrEnum):
    """What comes first."""

    requests = "requests"
    tokens = "tokens"
    errors = "errors"
    refused = "refused"


def top(
    *,
    files: Files = None,
    by: Annotated[By, typer.Option(help="What the rows are")] = By.tenant,
    sort: Annotated[Sort, typer.Option(help="What comes first")] = Sort.requests,
    seconds: Annotated[
        float,
        typer.Option(min=0.2, max=300, metavar="SECONDS", help="What rates and counts are taken over"),
    ] = 10.0,
    once: Annotated[bool, typer.Option("--once", help="Two looks, SECONDS apart, and the end")] = False,
    json_output: Json = False,
) -> None:
    """Show who is busiest: requests and tokens a second, errors, refusals; by tenant, model or backend.

    On a terminal a live screen: t, m, b choose the rows, r, k, e, f the order (requests, tokens, errors,
    refused), q ends. Elsewhere, with --once or with --json: two looks, SECONDS apart.

    \b
    Examples:
      infctl top
      infctl top --by model --sort tokens
      infctl top --json --seconds 5 | jq '.busiest[0].name'
    """
    from infctl.cli.live_look import LiveLook
    from infctl.cli.project import open_project

    project = open_project(files)
    looking = LiveLook(project)
    if once or json_output or not console.is_tty(sys.stdout):
        _once(looking, by, sort, seconds, json_output=json_output)
    else:
        _watch(project, looking, by, sort, seconds)


def _once(looking: LiveLook, by: By, sort: Sort, seconds: float, *, json_output: bool) -> None:
    from infctl.cli.top_screen import lines
    from infctl.cli.window import width

    looking.scrape(set())
    if looking.now.told:
        time.sleep(seconds)
        looking.scrape(set())
    found = _busiest(looking, by, sort, seconds)
    if json_output:
        console.data(as_data(found, time.time()))
        return
    for line in lines(found, width(), console.styled):
        console.fact(line)


def _watch(project: Remains, looking: LiveLook, by: By, sort: Sort, seconds: float) -> None:
    from infctl.cli.top_screen import KEYS_BY, KEYS_SORT, screen
    from infctl.cli.watching import live

    chosen = {"by": by.value, "sort": sort.value}

    def pressed(key: str) -> bool:
        if key in KEYS_BY:
            chosen["by"] = KEYS_BY[key]
        elif key in KEYS_SORT:
            chosen["sort"] = KEYS_SORT[key]
        return key in KEYS_BY or key in KEYS_SORT

    def draw(_: object, width: int, height: int) -> Any:
        found = _busiest(looking, By(chosen["by"]), Sort(chosen["sort"]), seconds)
        return screen(project.name, found, time.time(), width, height)

    live(lambda: looking.scrape(set()), draw, _WATCH_S, pressed)


def _busiest(looking: LiveLook, by: By, sort: Sort, seconds: float) -> Busiest:
    from infctl.watch.busiest import busiest

    # A second look is never taken at the very moment that was asked for.
    return busiest(looking.past, by.value, sort.value, seconds + _WATCH_S)


def as_data(found: Busiest, now: float) -> dict[str, Any]:
    """With the keys of shapes.TOP."""
    return {
        "by": found.by,
        "sort": found.sort,
        "at": now,
        "seconds": round(found.seconds, 3),
        "gateway": found.down,
        "busiest": [
            {
                "name": one.name,
                "requests_per_s": round(found.per_s(one.calls.requests) or 0.0, 3),
                "tokens_in_per_s": round(found.per_s(one.calls.tokens_in) or 0.0, 3),
                "tokens_out_per_s": round(found.per_s(one.calls.tokens_out) or 0.0, 3),
                "errors": round(one.calls.faults),
                "refused": round(one.calls.refused),
                "requests": round(one.total.requests),
                "tokens": round(one.total.tokens_in + one.total.tokens_out),
            }
            for one in found.rows
        ],
    }
