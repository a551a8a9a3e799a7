"""What is kept of a run: `.infctl/bench/ID/result.json`, and `requests.jsonl`, from which all else follows.

The figures of a run that is invalid are kept as `untrusted_figures`: nobody reads them for the server's.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from infctl import __version__, atomic
from infctl.bench.figures import DEFINITIONS, RATES, Distribution, Figures, Window, by_count, figures
from infctl.bench.record import OUTCOMES, Record, read
from infctl.bench.server_side import Sample
from infctl.bench.verdict import INVALID, Verdict
from infctl.bench.workload import Workload
from infctl.errors import BenchError

VERSION = 1
_DIGESTED = 64
"""Requests whose bodies and times make the workload's digest."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for. Two runs can be compared if `population` is the same."""

    model: str
    endpoint: str
    lengths_in: str
    lengths_out: str
    arrivals: str
    """closed, constant, poisson ..."""
    rate: float | None
    concurrency: int | None
    requests: int | None
    """That count; warm-up and cool-down come on top."""
    duration_s: float | None
    warmup: str
    """`20`: requests; `5s`: seconds. Like cooldown."""
    cooldown: str
    seed: int
    salt: str = ""
    exact: bool = True
    prefix: str = ""
    """`4x512`: four shared beginnings of 512 words."""
    turns: int = 1
    source: str = ""
    """A file of prompts or a trace, with its digest: `trace.jsonl sha256:...`."""
    speed: float = 1.0
    """Of a trace: 2 is twice as fast."""
    timeout_s: float = 600.0
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
    slo_ms: dict[str, float] = msgspec.field(default_factory=dict)

    def population(self) -> dict[str, Any]:
        """What makes requests and load alike; not which of them were drawn, nor how many."""
        names = (
            "endpoint",
            "lengths_in",
            "lengths_out",
            "arrivals",
            "rate",
            "concurrency",
            "exact",
            "prefix",
            "turns",
            "source",
            "speed",
            "extra",
        )
        return {name: getattr(self, name) for name in names}

    def sent(self) -> int | None:
        """Requests of the whole run, if it ends by their number."""
        if self.requests is None:
            return None
        return self.requests + (_number(self.warmup) or 0) + (_number(self.cooldown) or 0)

    def window(self, records: Sequence[Record]) -> Window:
        if self.requests is not None:
            first = _number(self.warmup) or 0
            last = first + self.requests if _number(self.cooldown) else None
            return by_count(records, first, last)
        end = (self.duration_s or 0.0) - _seconds(self.cooldown)
        return Window(int(_seconds(self.warmup) * 1e6), int(end * 1e6))


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _seconds(text: str) -> float:
    return float(text[:-1]) if text.endswith("s") else 0.0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """result.json."""

    version: int
    id: str
    infctl: str
    began: str
    url: str
    config: Config
    workload_digest: str
    ended: str
    why: str
    took_s: float
    client: dict[str, Any]
    verdict: dict[str, Any]
    figures: dict[str, Any] | None
    untrusted_figures: dict[str, Any] | None = None
    server: dict[str, Any] | None = None
    """What the servers say of the whole run (server_side.py); None: they were not asked, or say nothing."""
    definitions: dict[str, str] = msgspec.field(default_factory=dict)
    outcomes: dict[str, str] = msgspec.field(default_factory=dict)

    def measured(self) -> dict[str, Any]:
        """The figures, believed or not."""
        return self.figures or self.untrusted_figures or {}


def new_id(model: str, wall: float) -> str:
    """Sorts by time, that of short runs too: 20261127T105300123Z-chat-a1b2."""
    short = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in model)[-40:]
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(wall))
    return f"{stamp}{int(wall % 1 * 1000):03d}Z-{short.strip('-.') or 'model'}-{secrets.token_hex(2)}"


def digest(workload: Workload, due: Iterable[float] | None) -> str:
    """Of the first bodies and times: the same for the same seed."""
    found = hashlib.sha256()
    for index in range(_DIGESTED):
        found.update(workload.ask(index).body)
    for at in islice(due or (), _DIGESTED):
        found.update(f"{at:.9f}".encode())
    return found.hexdigest()


def result(
    config: Config,
    *,
    id: str,  # noqa: A002 - what it is
    url: str,
    wall: float,
    took_us: int,
    ended: str,
    why: str,
    workload_digest: str,
    client: Mapping[str, Any],
    found: Figures,
    verdict: Verdict,
    server: Mapping[str, Any] | None = None,
) -> Result:
    told = figures_data(found)
    invalid = verdict.grade == INVALID
    return Result(
        version=VERSION,
        id=id,
        infctl=__version__,
        began=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall)),
        url=url,
        config=config,
        workload_digest=workload_digest,
        ended=ended,
        why=why,
        took_s=round(took_us / 1e6, 6),
        client=dict(client),
        verdict={
            "grade": verdict.grade,
            "reasons": [{"grade": r.grade, "what": r.what, "text": r.text} for r in verdict.reasons],
        },
        figures=None if invalid else told,
        untrusted_figures=told if invalid else None,
        server=None if server is None else dict(server),
        definitions={name: definition.text for name, definition in DEFINITIONS.items()} | RATES,
        outcomes=OUTCOMES,
    )


def figures_data(found: Figures) -> dict[str, Any]:
    return {
        "window_s": [found.window.start_us / 1e6, found.window.end_us / 1e6],
        "counted": found.counted,
        "ok": found.ok,
        "failed": found.failed,
        "aborted": found.aborted,
        "failures": dict(found.failures),
        "details": [{"outcome": o, "said": said, "count": count} for o, said, count in found.details],
        "tokens_in": found.tokens_in,
        "tokens_out": found.tokens_out,
        "tokens_cached": found.tokens_cached,
        "tokens_a_piece": found.tokens_a_piece,
        "requests_per_s": found.requests_per_s,
        "tokens_in_per_s": found.tokens_in_per_s,
        "tokens_out_per_s": found.tokens_out_per_s,
        "goodput_per_s": found.goodput_per_s,
        "good_share": found.good_share,
        "in_flight": found.in_flight,
        "latencies_ms": {name: _spread(spread) for name, spread in found.latencies.items()},
        "adjusted_ms": {
            name: {_p(percent): None if math.isinf(value) else value * 1e3 for percent, value in spread}
            for name, spread in found.adjusted.items()
        },
    }


def _spread(spread: Distribution) -> dict[str, Any]:
    return {
        "count": spread.count,
        "mean": spread.mean * 1e3,
        "deviation": spread.deviation * 1e3,
        "min": spread.least * 1e3,
        **{_p(percent): None if value is None else value * 1e3 for percent, value in spread.percentiles},
        "max": spread.most * 1e3,
    }


def _p(percent: float) -> str:
    return f"p{percent:g}"


# Files


def save(folder: Path, found: Result, lines: Sequence[bytes], samples: Sequence[Sample] = ()) -> Path:
    """`folder`: .infctl/bench. Answers with the run's own folder. Raises EngineError."""
    place = folder / found.id
    atomic.make_folder(place, folder.parent)
    atomic.replace(place / "requests.jsonl", b"".join(line + b"\n" for line in lines), mode=0o644)
    if samples:
        looks = b"".join(msgspec.json.encode(sample) + b"\n" for sample in samples)
        atomic.replace(place / "server.jsonl", looks, mode=0o644)
    text = msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"
    atomic.replace(place / "result.json", text, mode=0o644)
    return place


def kept(folder: Path) -> list[Path]:
    """Runs, the oldest first."""
    return sorted(file.parent for file in folder.glob("*/result.json"))


def find(name: str, folder: Path) -> Path:
    """A run by its folder, its result.json, (part of) its id, `last`, `last~1`. Raises BenchError."""
    path = Path(name)
    if path.name == "result.json" and path.is_file():
        return path.parent
    if (path / "result.json").is_file():
        return path
    runs = kept(folder)
    if name == "last" or name.startswith("last~"):
        back = name.removeprefix("last").removeprefix("~") or "0"
        if back.isdecimal() and int(back) < len(runs):
            return runs[-1 - int(back)]
    matching = [run for run in runs if run.name.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    what = f"several runs begin with {name}" if matching else f"there is no run {name} in {folder}"
    shown = ", ".join(run.name for run in (matching or runs)[-5:])
    raise BenchError(what, hint=f"there are: {shown}" if shown else "infctl bench run makes one")


def load(place: Path) -> Result:
    """Raises BenchError."""
    file = place / "result.json"
    try:
        text = file.read_bytes()
        version = msgspec.json.decode(text, type=_Versioned).version
        if version > VERSION:
            raise BenchError(
                f"{file} was written by a newer infctl (version {version} of its form)",
                hint="update infctl to read it",
            )
        return msgspec.json.decode(text, type=Result)
    except OSError as error:
        raise BenchError(f"{file} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise BenchError(f"{file} is no result of infctl bench: {error}") from None


class _Versioned(msgspec.Struct):
    version: int = 0


def records(place: Path) -> list[Record]:
    """The log of a run. Raises BenchError with the line that is broken."""
    file = place / "requests.jsonl"
    try:
        with file.open("rb") as lines:
            return list(_read(lines, file))
    except OSError as error:
        raise BenchError(f"{file} cannot be read: {error.strerror}") from None


def samples(place: Path) -> list[Sample]:
    """The looks at the servers while it ran; none: nobody was looked at. Raises BenchError."""
    file = place / "server.jsonl"
    try:
        return [msgspec.json.decode(line, type=Sample) for line in file.read_bytes().splitlines()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BenchError(f"{file} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"{file}: a line is no look at a server: {error}") from None


def _read(lines: Iterable[bytes], file: Path) -> Iterator[Record]:
    try:
        yield from read(lines)
    except ValueError as error:
        raise BenchError(f"{file}: {error}") from None


def again(config: Config, log: Sequence[Record], until_s: float | None = None) -> Figures:
    """The figures of a log. `until_s`: of a run that was ended before its time, where its window ends."""
    window = config.window(log)
    if until_s is not None:
        end = max(window.start_us + 1, min(window.end_us, int(until_s * 1e6)))
        window = replace(window, end_us=end)
    slo = {name: limit / 1e3 for name, limit in config.slo_ms.items()}
    return figures(log, window, slo)


def of_result(found: Result, log: Sequence[Record]) -> Figures:
    """The same of a run that is kept."""
    return again(found.config, log, None if found.ended == "complete" else found.took_s)
