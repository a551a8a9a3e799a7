"""One measurement from its configuration to its verdict. `target` and `preflight` say where it goes."""

from __future__ import annotations

import hashlib
import os
import platform
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from infctl.bench import arrivals, lengths, results, server_side
from infctl.bench.client import Load, Now, Ran, Shape, Target, run
from infctl.bench.figures import Figures
from infctl.bench.observe import lateness
from infctl.bench.pooling import PATHS as POOLING
from infctl.bench.pooling import Pooling
from infctl.bench.prompts import Arrival, FromFile, Replay, read_prompts, read_trace
from infctl.bench.record import Record, read
from infctl.bench.results import Config, Result
from infctl.bench.sampler import Watched, Watching
from infctl.bench.verdict import Verdict, judge
from infctl.bench.workload import Synthetic, Workload, read_prefix
from infctl.errors import BenchError, UsageError

_PREFLIGHT_S = 10.0


@dataclass(frozen=True, slots=True)
class Measured:
    ran: Ran
    records: list[Record]
    figures: Figures
    verdict: Verdict
    digest: str
    server: dict[str, Any] | None = None
    samples: tuple[server_side.Sample, ...] = ()
    """Of the servers, while it ran."""

    def result(self, config: Config, url: str) -> Result:
        return results.result(
            config,
            id=results.new_id(config.model, self.ran.began_wall),
            url=url,
            wall=self.ran.began_wall,
            took_us=self.ran.took_us,
            ended=self.ran.ended,
            why=self.ran.why,
            workload_digest=self.digest,
            client={
                **self.ran.watched,
                "most_waiting": self.ran.most_waiting,
                "cores": os.cpu_count(),
                "python": platform.python_version(),
                "machine": platform.platform(),
            },
            found=self.figures,
            verdict=self.verdict,
            server=self.server,
        )


def measure(
    config: Config,
    target: Target,
    *,
    tell: Callable[[Now], None] | None = None,
    signals: Callable[[Any, Load], None] | None = None,
    asked: Asked | None = None,
    watching: Watching | None = None,
) -> Measured:
    """Run it. What fails is in the log; nothing is raised but for a configuration that cannot be.

    `asked`: what `workload_of` gave, where it was made before. `watching`: the servers' /metrics.
    """
    workload, due = asked or workload_of(config)
    shape = Shape(
        concurrency=config.concurrency,
        arrivals=due,
        gap_s=1.0 / config.rate if config.rate else 0.0,
        requests=config.sent(),
        duration_s=config.duration_s,
        timeout_s=config.timeout_s,
    )
    digest = results.digest(workload, None if due is None else due())
    if watching is not None:
        watching.begin()
    try:
        ran = run(Load(target, workload, shape, tell), signals)
    finally:
        seen = watching.end() if watching is not None else None
    log = sorted(read(ran.lines), key=lambda record: record.index)
    found = results.again(config, log, None if ran.ended == "complete" else ran.took_us / 1e6)
    ran.watched |= _lateness(ran, log, found)
    samples = seen.since(ran.began_wall) if seen is not None else ()
    server = _server(seen, samples, log, ran.took_us / 1e6) if seen is not None else None
    steady = config.rate if config.arrivals.partition(":")[0] != "ramp" else None
    verdict = judge(
        found,
        ran.watched,
        ended=ran.ended,
        why=ran.why,
        open_loop=due is not None,
        rate=steady,
        capped=config.concurrency is not None,
        tokens=None if server is None else (_tokens_out(log), server["counted_tokens_out"]),
        hot_share=None if server is None else server["hot_share"],
    )
    return Measured(ran, log, found, verdict, digest, server, samples)


def _lateness(ran: Ran, log: Sequence[Record], found: Figures) -> dict[str, int]:
    """Of the client's loop, while requests that count were under way."""
    ends = [record.end_us for record in log if found.window.counts(record)]
    return lateness(ran.rings, found.window.start_us / 1e6, max(ends, default=ran.took_us) / 1e6)


def _server(
    seen: Watched, samples: Sequence[server_side.Sample], log: Sequence[Record], took_s: float
) -> dict[str, Any] | None:
    told = server_side.between(seen.before, seen.after)
    if told is None:
        return None
    # The gateway counts for all its backends; of the engines not every one may be known here.
    counted = told["gateway_tokens_out"] if told["gateway_tokens_out"] is not None else told["tokens_out"]
    answered = sum(record.tokens_out or 0 for record in log if record.ok)
    return {
        **told,
        "counted_tokens_out": counted,
        "answered_tokens_out": answered,
        "split_ms": server_side.split(told, _ttft_ms(log)),
        **server_side.watched(samples, took_s, answered),
    }


def _ttft_ms(log: Sequence[Record]) -> float | None:
    """The mean of the whole run, as the servers' are."""
    firsts = [
        content[0] - record.sent_us
        for record in log
        if record.ok and record.sent_us is not None and (content := record.content_us())
    ]
    return sum(firsts) / len(firsts) / 1e3 if firsts else None


def _tokens_out(log: list[Record]) -> float | None:
    """Of the whole run; None where not every request was counted: a failed one may have cost tokens too."""
    if not all(record.ok and record.tokens_out is not None for record in log):
        return None
    return float(sum(record.tokens_out or 0 for record in log))


Asked = tuple[Workload, Callable[[], Iterator[float]] | None]


def workload_of(config: Config, prompts: Path | None = None, trace: Path | None = None) -> Asked:
    """What is asked, and when (None: a closed loop). Raises UsageError; BenchError for a broken file."""
    try:
        asked, answered = lengths.read(config.lengths_in), lengths.read(config.lengths_out)
        prefix = read_prefix(config.prefix) if config.prefix else None
        rate = config.rate
        timed = None if rate is None else arrivals.read(config.arrivals, rate, config.duration_s)
    except ValueError as error:
        raise UsageError(str(error)) from None
    due = None if timed is None else lambda: timed(config.seed)
    model, seed, exact, salt = config.model, config.seed, config.exact, config.salt
    if trace is not None:
        rows = _read(trace, read_trace)
        replay = Replay(config.endpoint, model, seed, rows, exact=exact, salt=salt, extra=config.extra)
        return replay, lambda: (row.at_s / config.speed for row in rows)
    if prompts is not None:
        asked_for = _read(prompts, read_prompts)
        return FromFile(model, seed, asked_for, answered, exact=exact, extra=config.extra), due
    if config.endpoint in POOLING:
        return Pooling(config.endpoint, model, seed, asked, salt=salt), due
    made = Synthetic(
        config.endpoint,
        model,
        seed,
        asked,
        answered,
        exact=exact,
        salt=salt,
        extra=config.extra,
        prefix=prefix,
        turns=config.turns,
    )
    return made, due


_Row = TypeVar("_Row")


def _read(file: Path, parse: Callable[[str], list[_Row]]) -> list[_Row]:
    try:
        return parse(file.read_text("utf-8-sig"))
    except OSError as error:
        raise BenchError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BenchError(f"{file} is no text in UTF-8") from None
    except ValueError as error:
        raise BenchError(f"{file}: {error}") from None


def lines_of(trace: Path) -> list[Arrival]:
    """Raises BenchError."""
    return _read(trace, read_trace)


def source_of(file: Path) -> str:
    """Its name and its digest. Raises BenchError."""
    try:
        return f"{file.name} sha256:{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"
    except OSError as error:
        raise BenchError(f"{file} cannot be read: {error.strerror}") from None


def target(url: str, key: str | None, *, ca_file: Path | None = None, insecure: bool = False) -> Target:
    """`http://host:8000`, with or without /v1. Raises UsageError."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
        raise UsageError(f"{url!r} is no URL of a server", hint="such as http://127.0.0.1:8000")
    tls = None
    if parts.scheme == "https":
        try:
            tls = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        except OSError as error:
            raise UsageError(f"--ca-file {ca_file}: {error.strerror or error}") from None
        if insecure:
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    return Target(
        host=parts.hostname,
        port=port or (443 if tls else 80),
        authority=parts.netloc.rpartition("@")[2],
        prefix=parts.path.rstrip("/").removesuffix("/v1"),
        key=key,
        tls=tls,
    )


def preflight(url: str, to: Target, model: str | None, *, key_name: str) -> str:
    """Ask /v1/models before any load: is anybody there, is the key taken, is there such a model?

    `model` None: the one that is served, if there is one. Answers with its name. Raises BenchError.
    """
    import httpx  # noqa: PLC0415 - a tenth of a second that reading results does not need

    headers = {"authorization": f"Bearer {to.key}"} if to.key else {}
    scheme = "https" if to.tls else "http"
    at = f"{scheme}://{to.authority}{to.prefix}/v1/models"
    try:
        # A proxy named in the environment would be measured too.
        with httpx.Client(verify=to.tls or False, trust_env=False, timeout=_PREFLIGHT_S) as client:
            answer = client.get(at, headers=headers)
    except httpx.TimeoutException:
        raise BenchError(f"{url} gave no answer within {_PREFLIGHT_S:g} s", hint=f"asked: {at}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise BenchError(
            f"nothing answers at {url}: {str(error) or type(error).__name__}",
            hint="is the server up? infctl status shows what runs of a profile",
        ) from None
    if answer.status_code in {401, 403}:
        raise BenchError(
            f"{url} refuses the key ({answer.status_code})" if to.key else f"{url} asks for a key",
            hint=f"the key comes from the variable {key_name}; --key-env names another",
        )
    names = _names(answer) if answer.status_code == 200 else []
    if model is None:
        if len(names) == 1:
            return names[0]
        shown = f"there are: {', '.join(sorted(names))}" if names else "it does not say which there are"
        raise UsageError(f"which model of {url}? None is named", hint=shown)
    if names and model not in names:
        raise BenchError(f"{url} serves no model {model}", hint=f"there are: {', '.join(sorted(names))}")
    return model


def _names(answer: Any) -> list[str]:
    try:
        return [str(model["id"]) for model in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return []
