"""`infctl doctor`: what would go wrong here, and why an engine did not start. JSON: shapes.DOCTOR."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import console, options
from infctl.cli.options import Files, Json, complete_service
from infctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from infctl.cli.doctor_screen import Screen
    from infctl.doctor.case import Case
    from infctl.doctor.check import Check
    from infctl.doctor.finding import Finding

FOUND = 8
"""The exit code where a failure was found."""

app = typer.Typer(
    name="doctor",
    invoke_without_command=True,
    no_args_is_help=False,
    rich_markup_mode=None,
)

Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="CHECK", help="This check alone; again for another. See --list"),
]
Listed = Annotated[bool, typer.Option("--list", help="List the checks, run none")]
Offline = Annotated[
    bool, typer.Option("--offline", help="Ask nobody beyond this machine but the Docker engine")
]


@app.callback()
def doctor(
    ctx: typer.Context,
    *,
    files: Files = None,
    only: Only = None,
    listed: Listed = False,
    offline: Offline = False,
    json_output: Json = False,
) -> int:
    """Look for what would go wrong with this profile on this machine. Changes nothing.

    Every finding says why it matters, what to do, and where in the profile. Exit code 8: a failure was found.
    `infctl doctor security` looks at keys, certificate and exposure; `infctl doctor metrics` for metrics that
    rules and dashboards ask for and nobody tells; `infctl doctor logs` explains a start that failed.

    \b
    Examples:
      infctl doctor
      infctl doctor --only ports --only gpus
      infctl doctor --offline --json
    """
    if ctx.invoked_subcommand is not None:
        options.remember_files(files)
        return 0
    from infctl.doctor.checks import CHECKS

    return _run(CHECKS, files, only, listed=listed, offline=offline, json_output=json_output)


@app.command()
def security(
    *,
    files: Files = None,
    only: Only = None,
    listed: Listed = False,
    json_output: Json = False,
) -> int:
    """Look at the eight practices: keys, certificate, exposure, redaction, rotation, quotas, audit, images.

    \b
    Examples:
      infctl doctor security
      infctl doctor security --only keys
    """
    from infctl.doctor.security import CHECKS

    return _run(CHECKS, files, only, listed=listed, offline=True, json_output=json_output)


@app.command()
def logs(
    service: Annotated[
        str, typer.Argument(metavar="SERVICE", help="As in infctl status", autocompletion=complete_service)
    ],
    *,
    files: Files = None,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="This log instead of the service's; -: stdin")
    ] = None,
    json_output: Json = False,
) -> int:
    """Explain why a service did not start: the cause, the place in the profile, a value that fits.

    The log's last start is read. What is proposed was planned before, with the memory that this start
    measured. Exit code 8: a cause was found.

    \b
    Examples:
      infctl doctor logs chat0
      docker logs vllm-chat0 2>&1 | infctl doctor logs chat0 --log -
    """
    from infctl.cli import doctor_logs

    found = doctor_logs.explained(files, service, log)
    if json_output:
        console.data(doctor_logs.as_data(found))
    else:
        for line in doctor_logs.lines(found, console.styled):
            console.fact(line)
    return FOUND if found.key else 0


@app.command()
def metrics(
    *,
    files: Files = None,
    url: Annotated[
        list[str] | None,
        typer.Option("--url", metavar="URL", help="This page instead of the platform's; again for another"),
    ] = None,
    json_output: Json = False,
) -> int:
    """Compare live pages of metrics with every name that dashboards and rules ask for.

    Read are the gateway, every engine and, where a Prometheus runs, the names that it knows of DCGM's
    exporter and of itself; or the pages of --url, each taken for what its names say it is (with ADMIN_API_KEY
    of the environment as the key). Told is each name that no page has, and which panels, alerts and
    recordings ask for it. Exit code 8: one is missing, or a page is not there.

    \b
    Examples:
      infctl doctor metrics
      infctl doctor metrics --url http://127.0.0.1:8000/metrics --url http://127.0.0.1:9400/metrics --json
    """
    from infctl.cli import doctor_metrics

    verdict = doctor_metrics.look(files, url or ())
    if json_output:
        console.data(doctor_metrics.as_data(verdict))
    else:
        for line in doctor_metrics.lines(verdict, console.styled):
            console.fact(line)
    return 0 if verdict.good else FOUND


def _run(
    checks: Sequence[Check],
    files: list[Path] | None,
    only: list[str] | None,
    *,
    listed: bool,
    offline: bool,
    json_output: bool,
) -> int:
    from infctl.cli import doctor_screen as screen
    from infctl.cli.window import speaks_utf8, width
    from infctl.doctor.check import run

    chosen = _chosen(checks, only)
    if listed:
        _list(chosen, json_output=json_output)
        return 0
    case = _case(files, offline=offline)
    name, runtime = _of(case)
    with contextlib.closing(case):
        if json_output:
            found = tuple(run(chosen, case))
            console.data(screen.as_data(name, runtime, found))
            return _code(found)
        names = [check.name for check in chosen]
        told = screen.Screen(width(), names, utf8=speaks_utf8(), paint=console.styled)
        console.fact(told.head(name, runtime, len(chosen)))
        found = tuple(_shown(run(chosen, case), told))
        console.fact(told.foot(found))
        return _code(found)


def _shown(found: Iterable[Finding], told: Screen) -> Iterator[Finding]:
    """Each as soon as it is known: some take a minute."""
    for finding in found:
        for line in told.lines(finding):
            console.fact(line)
        yield finding


def _code(found: Sequence[Finding]) -> int:
    return FOUND if any(finding.verdict == "failure" for finding in found) else 0


def _chosen(checks: Sequence[Check], only: list[str] | None) -> tuple[Check, ...]:
    """Raises UsageError for a name that no check has."""
    known = {check.name: check for check in checks}
    for name in only or ():
        if name not in known:
            raise UsageError(f"there is no check {name!r}", hint=f"there are: {', '.join(known)}")
    return tuple(check for check in checks if not only or check.name in only)


def _list(checks: Sequence[Check], *, json_output: bool) -> None:
    if json_output:
        console.data({"checks": [{"check": check.name, "asks": check.asks} for check in checks]})
        return
    room = max(len(check.name) for check in checks)
    for check in checks:
        console.fact(f"{check.name:<{room}}  {check.asks}?")


def _of(case: Case) -> tuple[str, str]:
    """(platform, runtime), as far as they are known."""
    if case.loaded is None:
        return ", ".join(str(file) for file in case.files), ""
    return case.profile.name, case.profile.runtime


def _case(files: list[Path] | None, *, offline: bool) -> Case:
    """What is looked at; a wrong profile is itself a finding. Raises UsageError where there is none."""
    from infctl.cli.doctor_case import case

    return case(files, offline=offline)
