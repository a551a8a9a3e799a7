"""`infctl audit`: who asked what, and whether anybody changed what is written of it. JSON: shapes.AUDIT_*."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infctl.cli import console
from infctl.cli.options import Files, FilesLong, Json
from infctl.errors import UsageError

if TYPE_CHECKING:
    from gateway.audit.files import TrailFile
    from gateway.audit.verify import Verdict
    from infctl.cli.audit_place import Place

BROKEN = 1
_POLL_S = 0.5
_ALL = 10**9

app = typer.Typer(
    name="audit",
    help="""Read the audit trail: who asked what, when, and whether anybody changed it.

    \b
    Examples:
      infctl audit search --tenant acme --since 1d
      infctl audit verify
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder = Annotated[
    Path | None, typer.Option("--folder", metavar="FOLDER", help="One that audit export has written")
]
Wanted = Callable[[dict[str, Any]], bool]


@app.command()
def tail(
    *,
    files: FilesLong = None,
    folder: Folder = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as records are written; Ctrl-C ends it")
    ] = False,
    lines: Annotated[int, typer.Option("--tail", "-n", min=1, metavar="N", help="The last N records")] = 20,
    json_output: Json = False,
) -> None:
    """Show the last records, the newest last. With --json: each as it stands, an object a line.

    Here -f means --follow, unless a YAML file comes after it: that is the profile.

    \b
    Examples:
      infctl audit tail
      infctl audit tail -n 100 --follow
    """
    from infctl.cli.audit_place import place

    with place(files, folder) as found:
        if follow and not found.lives:
            raise UsageError(
                "--follow needs the folder that the gateway writes to", hint="infctl logs -f gateway"
            )
        for facts in deque(_records(found.folder), maxlen=lines):
            _show(facts, json_output=json_output)
        if follow:
            _follow(found.folder, json_output=json_output)


@app.command()
def search(
    *,
    files: Files = None,
    folder: Folder = None,
    tenant: Annotated[
        str | None, typer.Option(help="Of this tenant, also where the trail has its hash")
    ] = None,
    model: Annotated[str | None, typer.Option(help="To this model")] = None,
    status: Annotated[
        str | None, typer.Option(metavar="CODE", help="With this status: 429, or 5xx for all of 500 to 599")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Since then: 10m, 2h, 1d, 14:30, or an ISO time")
    ] = None,
    request_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="The request's id, ours or the client's own")
    ] = None,
    lines: Annotated[
        int | None,
        typer.Option("--tail", "-n", min=1, metavar="N", help="The last N of them; all if left out"),
    ] = None,
    json_output: Json = False,
) -> int:
    """Show the records that fit all of what is given. Exit code 1: there is none.

    \b
    Examples:
      infctl audit search --tenant acme --status 429 --since 1d
      infctl audit search --id req_0193...
    """
    from infctl.cli.audit_place import place

    with place(files, folder) as found:
        wanted = _wanted(found, tenant, model, status, since, request_id)
        shown = 0
        for facts in deque(filter(wanted, _records(found.folder)), maxlen=lines):
            _show(facts, json_output=json_output)
            shown += 1
    if not shown:
        console.say("no such records")
    return 0 if shown else BROKEN


@app.command()
def verify(*, files: Files = None, folder: Folder = None, json_output: Json = False) -> int:
    """Say whether the trail is what was written: all of it, in order, unchanged, up to its end.

    The first break of each chain is named with file, line and record, and what kind it is: changed, gap,
    reordered, cut, wrong_key. Exit code 1: something is broken, or there is no trail.

    \b
    Examples:
      infctl audit verify
      infctl audit verify --folder /backup/trail --json
    """
    from gateway.audit.anchors import FileAnchors
    from gateway.audit.verify import verify as look
    from infctl.cli.audit_place import place

    with place(files, folder) as found:
        verdicts = look(found.folder, found.key, FileAnchors(found.anchors))
        where, keyed = found.where, found.key is not None
    good = bool(verdicts) and all(verdict.broken is None for verdict in verdicts)
    if json_output:
        chains = [_verdict_data(verdict) for verdict in verdicts]
        console.data({"good": good, "folder": where, "keyed": keyed, "chains": chains})
        return 0 if good else BROKEN
    if not verdicts:
        console.fact(f"no trail in {where}")
    for verdict in verdicts:
        for line in _verdict_screen(verdict):
            console.fact(line)
    if verdicts and not keyed:
        console.warn("no key signs this trail: whoever can write it can forge it (gateway.audit.hmac_key)")
    return 0 if good else BROKEN


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder")],
    *,
    files: Files = None,
    json_output: Json = False,
) -> None:
    """Copy the trail and its anchors, so that they can be searched and verified anywhere, with the key.

    \b
    Examples:
      infctl audit export /backup/trail-2026-11
      infctl audit verify --folder /backup/trail-2026-11
    """
    from gateway.audit import files as trails
    from infctl.cli.audit_place import ANCHORS, TRAIL, place

    if out.exists():
        raise UsageError(f"{out} is there already", hint="name a folder that is not")
    with place(files, None) as found:
        # Anchors first: what is written meanwhile is more than they promise, never less.
        (out / ANCHORS).mkdir(mode=0o700, parents=True)
        (out / TRAIL).mkdir(mode=0o700)
        if found.anchors.is_dir():
            for anchor in found.anchors.glob("*.json"):
                shutil.copy2(anchor, out / ANCHORS)
        trail = trails.files(found.folder)
        for file in trail:
            shutil.copy2(file.path, out / TRAIL)
    size = sum(path.stat().st_size for path in (out / TRAIL).iterdir())
    if json_output:
        console.data({"folder": str(out), "files": len(trail), "bytes": size})
        return
    from infctl.cli.text import plural
    from infctl.cli.text import size as sized

    console.say(f"{plural(len(trail), 'file')}, {sized(size)}: {out}")


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    """Of all chains, by time. What is no record is passed over: that is for verify to tell."""
    import heapq

    from gateway.audit import files as trails

    chains = (_rising(chain) for chain in trails.of_chains(folder).values())
    return (facts for _, facts in heapq.merge(*chains, key=lambda pair: pair[0]))


def _rising(chain: Iterable[TrailFile]) -> Iterator[tuple[str, dict[str, Any]]]:
    """In the chain's own order, whatever its clock did."""
    latest = ""
    for file in chain:
        for facts in _lines(file.path):
            latest = max(latest, str(facts.get("ts", "")))
            yield latest, facts


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as opened:
        for line in opened:
            if (facts := _parsed(line)) is not None:
                yield facts


def _parsed(line: bytes) -> dict[str, Any] | None:
    import msgspec

    try:
        facts = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    return facts if isinstance(facts, dict) else None


def _follow(folder: Path, *, json_output: bool) -> None:
    from gateway.audit import files as trails

    ends = {file.path: file.path.stat().st_size for file in trails.files(folder)}
    try:
        while True:
            time.sleep(_POLL_S)
            for file in trails.files(folder):
                with file.path.open("rb") as opened:
                    opened.seek(ends.get(file.path, 0))
                    fresh, newline, _ = opened.read().rpartition(b"\n")
                ends[file.path] = ends.get(file.path, 0) + len(fresh) + len(newline)
                for facts in filter(None, map(_parsed, fresh.splitlines())):
                    _show(facts, json_output=json_output)
    except KeyboardInterrupt:
        return


def _wanted(
    found: Place,
    tenant: str | None,
    model: str | None,
    status: str | None,
    since: str | None,
    request_id: str | None,
) -> Wanted:
    """Raises UsageError."""
    from gateway.audit.who import hashed
    from infctl.cli import log_lines

    tenants = None if tenant is None else {tenant} | ({hashed(tenant, found.key)} if found.key else set())
    codes = None if status is None else _codes(status)
    floor = None if since is None else log_lines.since(since, time.time())

    def fits(facts: dict[str, Any]) -> bool:
        return (
            (tenants is None or facts.get("tenant") in tenants or facts.get("peer") in tenants)
            and (model is None or facts.get("model") == model)
            and (codes is None or facts.get("status") in codes)
            and (
                request_id is None or request_id in {facts.get("request_id"), facts.get("client_request_id")}
            )
            and (floor is None or _at(facts) >= floor)
        )

    return fits


def _codes(status: str) -> range:
    if status.isdigit() and len(status) == 3:
        return range(int(status), int(status) + 1)
    if len(status) == 3 and status[0].isdigit() and status[1:].lower() == "xx":
        return range(int(status[0]) * 100, int(status[0]) * 100 + 100)
    raise UsageError(f"--status {status!r} is no status", hint="429, or 5xx")


def _at(facts: dict[str, Any]) -> float:
    try:
        return datetime.fromisoformat(str(facts.get("ts"))).timestamp()
    except ValueError:
        return 0.0


def _show(facts: dict[str, Any], *, json_output: bool) -> None:
    if json_output:
        console.data(facts, indent=None)
        return
    if facts.get("event") != "request":
        rest = {k: v for k, v in facts.items() if k not in {"seq", "prev", "hash", "ts", "event", "level"}}
        said = " ".join(f"{name}={value}" for name, value in rest.items() if value not in {None, ""})
        console.fact(f"{facts.get('ts')}  {facts.get('event')}  {said}")
        return
    tokens = f"{facts.get('prompt_tokens') or 0}+{facts.get('completion_tokens') or 0} tokens"
    asked = facts.get("model") or f"{facts.get('method')} {facts.get('path')}"
    outcome = "/".join(str(facts[name]) for name in ("outcome", "reason") if facts.get(name))
    console.fact(
        f"{facts.get('ts')}  {facts.get('request_id')}  {facts.get('tenant')}  {asked}  {facts.get('status')}"
        f" {outcome}  {facts.get('total_ms')} ms  {tokens}"
    )


def _verdict_data(verdict: Verdict) -> dict[str, Any]:
    broken = verdict.broken
    return {
        "chain": verdict.chain,
        "good": broken is None,
        "records": verdict.records,
        "files": verdict.files,
        "head": verdict.head.hash,
        "anchored": verdict.anchored,
        "broken": None
        if broken is None
        else {
            "kind": broken.kind,
            "file": broken.file,
            "line": broken.line,
            "record": broken.record,
            "what": broken.what,
        },
        "notes": verdict.notes,
    }


def _verdict_screen(verdict: Verdict) -> Iterator[str]:
    from infctl.cli.text import plural

    counted = f"{plural(verdict.records, 'record')} in {plural(verdict.files, 'file')}"
    broken = verdict.broken
    if broken is None:
        yield f"{console.styled('good', 'good')}    {verdict.chain}: {counted}"
    else:
        at = f"{broken.kind} at {broken.file}:{broken.line}, record {broken.record}"
        yield f"{console.styled('broken', 'error')}  {verdict.chain}: {at}: {broken.what}"
        yield f"        before it {counted} are good"
    for note in verdict.notes:
        yield f"        {note}"
