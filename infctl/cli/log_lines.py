"""Lines of several services as one stream: when each was written, and in what order to show them. Pure.

Services write their own formats. A line without a time of its own (a traceback's second line) belongs to the
line before it.
"""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from infctl.errors import UsageError

_NGINX = re.compile(r"^(\d{4})/(\d\d)/(\d\d) (\d\d:\d\d:\d\d) ")
_NGINX_ACCESS = re.compile(r"\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\]")
_VLLM = re.compile(r"(?:INFO|WARNING|ERROR|DEBUG) (\d\d)-(\d\d) (\d\d:\d\d:\d\d) ")
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:?\d\d)?")
_AGE = re.compile(r"^(\d+)\s*(s|m|min|h|d)$")
_UNIT_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_HEAD_CHARS = 400
"""A time is looked for at the beginning of a line only."""


@dataclass(frozen=True, slots=True)
class LogLine:
    service: str
    text: str
    at: float | None
    """Seconds since the epoch; None where no line before it had a time either."""


def written_at(text: str, now: float) -> float | None:
    """When a line says it was written. `now` gives vLLM's lines, which name no year, theirs."""
    head = text[:_HEAD_CHARS]
    if head.startswith("{"):
        return _json_time(text)
    if match := _NGINX.match(head):
        return _local(f"{match[1]}-{match[2]}-{match[3]} {match[4]}")
    if match := _VLLM.search(head):
        year = datetime.fromtimestamp(now).astimezone().year
        at = _local(f"{year}-{match[1]}-{match[2]} {match[3]}")
        # December's lines read in January.
        return _local(f"{year - 1}-{match[1]}-{match[2]} {match[3]}") if at and at > now + 86_400 else at
    if match := _NGINX_ACCESS.search(head):
        return datetime.strptime(match[1], "%d/%b/%Y:%H:%M:%S %z").timestamp()
    if match := _ISO.search(head):
        fraction = f".{match[3]}" if match[3] else ""
        return _local(f"{match[1]}T{match[2]}{fraction}{match[4] or ''}")
    return None


def dated(service: str, lines: Iterable[str], now: float) -> Iterator[LogLine]:
    """Lines with their times; one without takes the time of the line before."""
    last: float | None = None
    for text in lines:
        at = written_at(text, now)
        last = last if at is None else at
        yield LogLine(service, text, last)


def interleaved(logs: Mapping[str, Sequence[LogLine]]) -> list[LogLine]:
    """All lines by time; each service's own order is kept whatever its lines say."""
    streams = []
    for number, lines in enumerate(logs.values()):
        rising = 0.0
        keyed = []
        for index, line in enumerate(lines):
            rising = max(rising, line.at or 0.0)
            keyed.append(((rising, number, index), line))
        streams.append(keyed)
    return [line for _, line in heapq.merge(*streams, key=lambda pair: pair[0])]


def since(text: str, now: float) -> float:
    """`10m`, `2h`, `1d` ago, or an ISO time, or a clock time of today -> seconds since the epoch."""
    if match := _AGE.match(text.strip()):
        return now - int(match[1]) * _UNIT_S[match[2]]
    try:
        if re.fullmatch(r"\d{1,2}:\d\d(:\d\d)?", text.strip()):
            today = datetime.fromtimestamp(now).astimezone()
            hour, minute, *second = map(int, text.split(":"))
            at = today.replace(hour=hour, minute=minute, second=second[0] if second else 0, microsecond=0)
            return (at if at.timestamp() <= now else at - timedelta(days=1)).timestamp()
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(
            f"--since {text!r} is not a time", hint="10m, 2h, 1d, 14:30, 2026-01-31T14:30, or start"
        ) from None
    return moment.astimezone().timestamp()


def _json_time(text: str) -> float | None:
    try:
        record = json.loads(text)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    for key in ("ts", "time", "timestamp", "at"):
        value = record.get(key)
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str):
            return _local(value)
    return None


def _local(text: str) -> float | None:
    """ISO text -> epoch seconds; without a zone it is this machine's."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else moment.astimezone().timestamp()


__all__ = ["LogLine", "dated", "interleaved", "since", "written_at"]
