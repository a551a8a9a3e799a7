"""`${VAR}`, `${VAR:-default}`, `${VAR:?message}`, `$$` for a dollar: as in Compose, minus what surprises.

    form               VAR set        VAR empty      VAR not set
    ${VAR}             its value      ""             refused
    ${VAR-default}     its value      ""             default
    ${VAR:-default}    its value      default        default
    ${VAR?message}     its value      ""             refused with the message
    ${VAR:?message}    its value      refused        refused with the message

A default may hold further `${...}`. A lone `$` is refused rather than guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from infctl.profile.values import Misfit, shown

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?]")
DEPTH_MAX = 8
LENGTH_MAX = 64 * 1024
_FORMS = "${VAR}, ${VAR:-default}, ${VAR:?message}, or $$ for a dollar"


@dataclass(frozen=True, slots=True)
class Expanded:
    text: str
    whole: bool
    """The text was one `${...}` and nothing else: its value may be a number or true."""


def expand(text: str, env: Mapping[str, str], env_file: str = ".env") -> Expanded:
    """Raises values.Misfit: a variable that is not set, or a form that is none."""
    whole = text.startswith("${") and _close(text, 0) == len(text) - 1
    return Expanded(_expand(text, env, env_file, 0), whole)


def _expand(text: str, env: Mapping[str, str], env_file: str, depth: int) -> str:
    if depth > DEPTH_MAX:
        raise Misfit(f"variables are nested more than {DEPTH_MAX} deep", _FORMS)
    parts: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        parts.append(text[at:dollar])
        after = text[dollar + 1 : dollar + 2]
        if after == "$":
            parts.append("$")
            at = dollar + 2
        elif after == "{":
            end = _close(text, dollar)
            if end < 0:
                raise Misfit("${ is not closed", _FORMS)
            parts.append(_value(text[dollar + 2 : end], env, env_file, depth))
            at = end + 1
        else:
            raise Misfit("a lone $", _FORMS)
    parts.append(text[at:])
    joined = "".join(parts)
    if len(joined) > LENGTH_MAX:
        raise Misfit(f"more than {LENGTH_MAX:,} characters once variables are filled in", "a shorter value")
    return joined


def names(text: str) -> Iterator[tuple[str, str]]:
    """(variable, what stands for it where it is not set) of each `${...}`, those in defaults too."""
    at = 0
    while (start := text.find("$", at)) >= 0:
        if not text.startswith("${", start):
            at = start + 2
            continue
        end = _close(text, start)
        inside = text[start + 2 : end] if end >= 0 else ""
        name = _NAME.match(inside)
        if name is None:
            return
        operator = _OPERATOR.match(inside, name.end())
        rest = inside[operator.end() :] if operator is not None else ""
        stands_in = operator is not None and operator[0].endswith("-")
        yield name[0], rest if stands_in else ""
        if stands_in:
            yield from names(rest)
        at = end + 1


def _close(text: str, start: int) -> int:
    """Where the brace opened at `start` closes; -1 if nowhere."""
    depth = 0
    at = start
    while at < len(text):
        if text.startswith("$$", at):
            at += 2
            continue
        if text.startswith("${", at):
            depth += 1
            at += 2
            continue
        if text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return -1


def _value(inside: str, env: Mapping[str, str], env_file: str, depth: int) -> str:
    name = _NAME.match(inside)
    operator = _OPERATOR.match(inside, name.end()) if name else None
    if name is None or (operator is None and name.end() != len(inside)):
        raise Misfit(f"${{{shown(inside)[1:-1]}}} is not understood", _FORMS)
    value = env.get(name[0])
    if operator is None:
        if value is None:
            raise Misfit(f"{name[0]} is not set", f"set it in {env_file}, or write ${{{name[0]}:-a default}}")
        return value
    rest = inside[operator.end() :]
    if value is not None and (value or not operator[0].startswith(":")):
        return value
    if operator[0].endswith("-"):
        return _expand(rest, env, env_file, depth + 1)
    missing = "is empty" if value == "" else "is not set"
    raise Misfit(
        f"{name[0]} {missing}" + (f": {rest.strip()}" if rest.strip() else ""), f"set it in {env_file}"
    )
