"""The command line: which commands exist. Each has its own file and imports what is heavy itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from infctl import __version__
from infctl.cli import (
    audit,
    backup,
    bench,
    console,
    diff,
    doctor,
    down,
    health,
    history,
    images,
    init,
    logs,
    options,
    plan,
    profiles,
    pull,
    quota,
    render,
    rollback,
    scale,
    size,
    status,
    tenant_keys,
    tenants,
    top,
    unlock,
    up,
    validate,
    version,
    why,
)
from infctl.cli.exec import exec_
from infctl.cli.failures import guarded
from infctl.cli.options import Files

_EPILOG = """\
\b
Begin with: infctl init && infctl up
\b
Exit codes: 0 done, 1 a negative verdict (health, size, bench compare),
2 changes pending (diff) or not comparable, 3 profile, 4 plan, 5 engine, 6 gateway,
7 lock, 8 doctor found a failure, 9 bench, 64 usage, 70 a fault of ours,
130 interrupted; of exec: the command's own"""

app = typer.Typer(
    name="infctl",
    help="One YAML profile in; a running, metered, observable LLM platform out.",
    epilog=_EPILOG,
    rich_markup_mode=None,  # plain help: Rich would double the time of --help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", "-V", help="Show the version", is_eager=True, callback=version.show),
    ] = False,
    files: Files = None,
) -> None:
    options.remember_files(files)


# What comes after the service is the other command's, its options too.
_SETTINGS = {"exec": {"allow_interspersed_args": False}}
_COMMANDS = (
    (init.init, "Look at this machine, write a profile and .env"),
    (validate.validate, "Check a profile: every mistake, with its place"),
    (validate.schema, "Print the JSON Schema of profiles"),
    (plan.plan, "Plan the GPUs' memory: bytes, tokens, what is idle"),
    (size.size, "Say whether one model fits on a card"),
    (render.render, "Write the files that would run, start nothing"),
    (diff.diff, "Show what up would change, and why"),
    (pull.pull, "Fetch images and weights, start nothing"),
    (up.up, "Start the platform, or change what runs"),
    (scale.scale, "Change how many replicas a model has"),
    (rollback.rollback, "Apply again what was applied before"),
    (history.history, "Show what was done, by whom, how it ended"),
    (status.status, "Show what runs, how busy, and what is wrong"),
    (top.top, "Show the busiest tenants, models and servers"),
    (health.health, "Give a verdict: exit code 0 or 1"),
    (tenants.tenants, "Show who may call, and who has called"),
    (why.why, "Tell the story of one call"),
    (logs.logs, "Show the services' logs, interleaved"),
    (exec_, "Run a command where a service runs"),
    (backup.backup, "Write keys, limits and counts to a file"),
    (backup.restore, "Take such a file into the running gateway"),
    (images.images, "Show images: tag, digest, size, age"),
    (unlock.unlock, "Say who holds the lock, or take it away"),
    (down.restart, "Stop and start services as they are"),
    (down.down, "Stop everything"),
    (version.version, "Show versions"),
)
for _command, _short in _COMMANDS:
    _name = _command.__name__.rstrip("_")
    app.command(_name, short_help=_short, context_settings=_SETTINGS.get(_name))(_command)
app.add_typer(doctor.app, short_help="Look for what would go wrong, and why it did")
app.add_typer(quota.app, short_help="Show what tenants use of their limits; change limits")
app.add_typer(tenant_keys.app, short_help="Create, list, rotate and revoke the keys of tenants")
app.add_typer(bench.app, short_help="Measure a model server, and say whether to believe it")
app.add_typer(audit.app, short_help="Read the audit trail, and say whether it was changed")
app.add_typer(profiles.app, short_help="List the built-in profiles, or show one")


def run(argv: Sequence[str]) -> int:
    """One command, from its arguments to its exit code. Nothing is raised but SystemExit by completion."""
    args = options.untangled(argv) or ["--help"]
    console.configure(json_output="--json" in options.own(args))

    def command() -> int:
        answer = app(args, prog_name="infctl", standalone_mode=False)
        return answer if isinstance(answer, int) else 0

    return guarded(command, args)


__all__ = ["__version__", "app", "run"]
