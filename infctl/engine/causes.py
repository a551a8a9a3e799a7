"""From a failed service's log to the likely cause, what to do, and the lines that tell. See `cause_table`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infctl.engine.cause_table import CAUSES
from infctl.engine.logs import tail
from infctl.errors import EngineError

LINES_SHOWN = 20
LINES_SEARCHED = 400
"""vLLM tells a failure in its worker first; the tracebacks of those that waited for it, and the parser's
usage, are 100 to 300 lines."""
_LINES_OF_A_START = 60
"""Searched where nothing tells which line began the last start: older ones may speak of mended faults."""
_BEFORE_TELLING = 12

_API_PROCESS = re.compile(r"\(APIServer pid=\d+\)")
_ERROR = re.compile(r"(?:Error|error): ")
_TELLS_NOTHING = re.compile(r"ulimit|Engine core initialization failed|EngineDeadError")


@dataclass(frozen=True, slots=True)
class Finding:
    key: str
    why: str
    do: str
    lasting: bool
    line: str
    """The line that told."""
    words: Mapping[str, str] = field(default_factory=dict)
    """What the line said: the groups of the cause's pattern, and what was computed of them."""


KILLED = Finding(
    "killed",
    "it was killed from outside; when memory runs out the kernel does that",
    "see `dmesg | grep -i 'killed process'`; end other programs or take a smaller model",
    lasting=False,
    line="",
)


def find(lines: Sequence[str], last_exit: str = "") -> Finding | None:
    """The likely cause; the first entry of the table that fits the last start wins, None if none does."""
    lines = _last_start(lines)
    text = "\n".join(lines)
    for cause in CAUSES:
        match = re.search(cause.pattern, text)
        if match is None:
            continue
        words = {name: (value or "").strip() for name, value in match.groupdict().items()}
        if cause.compute is not None:
            words |= cause.compute(words)
        line = lines[text[: match.start()].count("\n")]
        why, do = cause.why.format(**words), cause.do.format(**words)
        return Finding(cause.key, why, do, cause.lasting, line, words)
    return KILLED if "SIGKILL" in last_exit else None


def telling(lines: Sequence[str], line: str = "") -> list[str]:
    """The last lines, or those around the one that tells (`line`, else the last error) if it is earlier."""
    lines = _last_start(lines)
    places = [n for n, text in enumerate(lines) if text == line] if line else []
    if not places:
        places = [n for n, t in enumerate(lines) if _ERROR.search(t) and not _TELLS_NOTHING.search(t)]
    end = len(lines)
    if places and places[-1] < end - LINES_SHOWN:
        end = max(places[-1] - _BEFORE_TELLING, 0) + LINES_SHOWN
    return list(lines[max(end - LINES_SHOWN, 0) : end])


class DidNotStart(EngineError):  # noqa: N818 - it is what happened
    """A service that failed, with all that was searched for the cause: for whoever knows more of it."""

    def __init__(self, message: str, hint: str, log: Sequence[str], *, service: str, why: str) -> None:
        super().__init__(message, hint=hint, log=log)
        self.service = service
        self.why = why
        """How it ended: `exit code 1`."""
        self.do = hint
        """The hint, before anybody added to it."""
        self.lines: tuple[str, ...] = ()
        """The last LINES_SEARCHED of its log."""


def failure(logs: Path, name: str, why: str, what: str) -> EngineError:
    """An error with the service's own telling lines, the likely cause and what to do about it."""
    return failed(tail(logs / f"{name}.log", LINES_SEARCHED), name, why, what)


def failed(lines: Sequence[str], name: str, why: str, what: str) -> EngineError:
    """The same, of lines that were read already."""
    found = find(lines, why)
    if found is None:
        told, hint, line = why, f"all of its log: `infctl logs {name}`", ""
    else:
        told, hint, line = f"{found.why} ({why})", found.do, found.line
    error = DidNotStart(f"{name} {what}: {told}", hint, telling(lines, line), service=name, why=why)
    error.lines = tuple(lines)
    return error


def _last_start(lines: Sequence[str]) -> Sequence[str]:
    """The lines since the service was last started, as far as they tell."""
    for number in range(len(lines) - 1, -1, -1):
        if lines[number].startswith("usage: "):
            return lines[number:]
        found = _API_PROCESS.search(lines[number])
        if found is not None:
            return lines[next(n for n, line in enumerate(lines) if found[0] in line) :]
    return lines[-_LINES_OF_A_START:]
