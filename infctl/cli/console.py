"""The only printer: facts go to stdout, talk goes to stderr, and neither needs colour to be understood.

Plain text is written here without Rich, which costs a tenth of a second to import; tables and live
displays take a Rich console from `tables()` and `talk()`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import IO, TYPE_CHECKING, Any

from infctl.errors import InfctlError, Problem

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {"error": "1;31", "warning": "1;33", "hint": "36", "dim": "2", "bold": "1", "good": "32"}
_PLAIN_WIDTH = 400
"""Columns of a table that nobody looks at on a terminal: nothing is folded or cut."""


class ReaderGoneError(Exception):
    """Whoever read our output closed it (`infctl logs | head`): stop, quietly."""


class _Settings:
    json = False
    """`--json` was given: facts and errors are JSON objects, one line each."""
    goes_on = False
    """What is being done is not ended by a reader that leaves."""


def configure(*, json_output: bool) -> None:
    _Settings.json = json_output
    _Settings.goes_on = False


def goes_on() -> None:
    """From here on something is changed: `infctl up | head` must not leave it half done, nor undone."""
    _Settings.goes_on = True


def wants_json() -> bool:
    return _Settings.json


def is_tty(stream: IO[str] | None = None) -> bool:
    stream = stream or sys.stdout
    with contextlib.suppress(ValueError):  # a closed stream
        return stream.isatty()
    return False


def has_colour(stream: IO[str]) -> bool:
    """NO_COLOR wins over FORCE_COLOR, and both over what the terminal can do."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_tty(stream) and os.environ.get("TERM") != "dumb"


def styled(text: str, style: str, stream: IO[str] | None = None) -> str:
    """`text`, in colour where `stream` shows colour. Styles: error, warning, hint, dim, bold, good."""
    if not text or not has_colour(stream or sys.stdout):
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


# Facts: stdout


def fact(text: str = "") -> None:
    """One line, or several, of what was asked for."""
    _write(sys.stdout, text + "\n")


def raw(text: str) -> None:
    """Text that is a document of its own, such as a profile: as it is, with one newline at its end."""
    _write(sys.stdout, text if text.endswith("\n") else text + "\n")


def data(value: dict[str, Any], *, indent: int | None = 2) -> None:
    """The facts as JSON. Keys are a promise: `infctl.cli.shapes` writes them down."""
    _write(sys.stdout, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def tables(*, width: int | None = None) -> Console:
    """A Rich console on stdout; off a terminal it is plain and wide enough for everything."""
    return _rich(sys.stdout, width)


# Talk: stderr


def say(text: str = "") -> None:
    _write(sys.stderr, text + "\n")


def warn(text: str) -> None:
    _write(sys.stderr, f"{styled('warning:', 'warning', sys.stderr)} {text}\n")


def hint(text: str) -> None:
    for line in text.splitlines():
        _write(sys.stderr, f"  {styled(line, 'hint', sys.stderr)}\n")


def talk() -> Console:
    """A Rich console on stderr, for progress."""
    return _rich(sys.stderr, None)


def error(failure: InfctlError) -> None:
    """Everything about one failure: the problems, what to do, the last words of what failed."""
    if wants_json():
        _write(sys.stderr, json.dumps({"error": as_data(failure)}, ensure_ascii=False) + "\n")
        return
    head = styled("error:", "error", sys.stderr)
    for problem in failure.problems:
        say(f"{head} {problem}")
        hint(problem.hint)
    alone = len(failure.problems) == 1
    if not failure.problems:
        say(f"{head} {failure.message}")
    elif not alone and failure.message:
        say(failure.message)
    hint(failure.hint)
    for line in failure.log:
        say(styled(f"  | {line}", "dim", sys.stderr))


def as_data(failure: InfctlError) -> dict[str, Any]:
    """An error with stable keys."""
    return {
        "kind": failure.kind,
        "exit_code": failure.exit_code,
        "message": failure.message,
        "hint": failure.hint,
        "problems": [_problem(problem) for problem in failure.problems],
        "log": list(failure.log),
    }


def _problem(problem: Problem) -> dict[str, Any]:
    where = problem.where
    return {
        "message": problem.message,
        "path": problem.path,
        "file": where.file if where else None,
        "line": where.line if where else None,
        "column": where.column if where else None,
        "hint": problem.hint,
    }


# Questions


def ask(question: str, *, default: bool = False) -> bool:
    """Yes or no, asked on stderr. Only call it where stdin is a terminal; end of input means no."""
    _write(sys.stderr, f"{question} [{'Y/n' if default else 'y/N'}] ")
    try:
        answer = sys.stdin.readline().strip().lower()
    except KeyboardInterrupt:
        say()  # the terminal shows ^C on the question's line
        raise
    return default if not answer else answer in {"y", "yes"}


def can_ask() -> bool:
    return is_tty(sys.stdin) and is_tty(sys.stderr)


def _write(stream: IO[str], text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        _left(stream)


def _left(stream: IO[str]) -> None:
    """Nobody reads it any more. Raises ReaderGoneError, unless what is being done goes on."""
    forget_output(stream)
    if not _Settings.goes_on:
        raise ReaderGoneError


def forget_output(stream: IO[str] | None = None) -> None:
    """Point stdout (or another) at nothing, so that the interpreter's last flush does not fail again."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, (stream or sys.stdout).fileno())
        os.close(nothing)


def _rich(stream: IO[str], width: int | None) -> Console:
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            _left(stream)

    colour = has_colour(stream)
    live = is_tty(stream)
    if width is None and not live:
        width = int(os.environ.get("COLUMNS") or _PLAIN_WIDTH)
    return Quiet(
        file=stream,
        width=width,
        no_color=not colour,
        force_terminal=live or colour,
        highlight=False,
        emoji=False,
        markup=False,
        soft_wrap=False,
    )
