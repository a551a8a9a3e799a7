"""What the commands of `infctl bench` share: where to measure, what to ask, what becomes of the result."""

from __future__ import annotations

import calendar
import os
import random
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from infctl.bench import results, session
from infctl.bench.client import Load, Target
from infctl.bench.figures import SLO_METRICS
from infctl.bench.pooling import PATHS as POOLING
from infctl.bench.results import Config, Result
from infctl.bench.sampler import Page, Watching
from infctl.bench.session import Asked, Measured
from infctl.bench.workload import CHUNK_USAGE, PATHS
from infctl.cli import console, options
from infctl.cli.bench_options import Asking, At, Course, Pace
from infctl.errors import BenchError, Interrupted, UsageError

if TYPE_CHECKING:
    from infctl.stack import Stack

_REQUESTS = 100
_WARM_SHARE, _WARM_MOST_S = 0.1, 10.0


@dataclass(frozen=True, slots=True)
class Engines:
    """Of one model."""

    pages: tuple[Page, ...] = ()
    cards: frozenset[str] = frozenset()
    """Its GPUs, by number or UUID; empty: all that are told of."""
    inside: tuple[str, ...] = ()
    """Pages on the containers' own network."""


@dataclass(frozen=True, slots=True)
class Where:
    url: str
    target: Target
    key_name: str
    home: Path
    """Where results are kept."""
    pages: tuple[Page, ...] = ()
    """The /metrics to look at: its own, and those that were named."""
    engines: Mapping[str, Engines] = field(default_factory=dict)
    """By the profile: of each model."""
    files: tuple[Path, ...] = ()
    """The profile's, where containers run."""

    @property
    def local(self) -> bool:
        return self.target.host in {"127.0.0.1", "::1", "localhost"}

    def watching(self, model: str) -> Watching:
        known = self.engines.get(model, Engines())
        inside = None
        if known.inside and self.files:
            from infctl.cli import bench_inside

            inside = bench_inside.looking(self.files, known.inside)
        pages = (*self.pages, *known.pages)
        return Watching(pages, model, cards=known.cards, local=self.local, inside=inside)


def where(url: str | None, at: At) -> Where:
    """A URL as given, or the gateway of the profile. Raises UsageError, and what the profile raises."""
    ca_file, key_env = at.ca_file, at.key_env
    known: dict[str, Engines] = {}
    files: tuple[Path, ...] = ()
    if url is None:
        from infctl.cli.project import open_project

        project = open_project(at.files)
        stack = project.stack()
        reach = project.reach(stack)
        with project.api(reach) as api:
            url, key, key_env = api.url, api.key, api.key_name
            ca_file = ca_file or api.ca_file
        known = _engines(stack)
        if stack.runtime == "docker":
            files = project.files
            known = _on_their_network(stack, known, project.profile.monitoring.dcgm.port)
        for name, model in project.profile.models.items():
            known |= {alias: known[name] for alias in model.alias if name in known}
    else:
        key = os.environ.get(key_env) or None
    to = session.target(url, key, ca_file=ca_file, insecure=at.insecure)
    pages = _pages(to, at, ca_file)
    return Where(url.rstrip("/"), to, key_env, home(at.files, at.output), pages, known, files)


def _on_their_network(stack: Stack, known: Mapping[str, Engines], dcgm_port: int) -> dict[str, Engines]:
    """Containers publish no page of an engine: each is asked from where the gateway is."""
    from infctl.stack.observers import DCGM

    there = {container.service for project in stack.projects for container in project.containers}
    cards = (f"http://{DCGM}:{dcgm_port}/metrics",) if DCGM in there else ()
    found = {}
    for model, engines in known.items():
        urls = tuple(
            f"{service.ready.url.removesuffix('/health')}/metrics"
            for service in stack.services
            if service.role == "engine" and model in service.models and service.ready is not None
        )
        found[model] = replace(engines, inside=(*urls, *cards))
    return found


def _pages(to: Target, at: At, ca_file: Path | None) -> tuple[Page, ...]:
    """Raises UsageError for a URL that is none."""
    trust = None if ca_file is None else str(ca_file)
    own = f"{'https' if to.tls else 'http'}://{to.authority}{to.prefix}/metrics"
    for url in at.metrics or ():
        session.target(url, None)
    named = (Page(url, None, trust, at.insecure) for url in at.metrics or ())
    return (Page(own, to.key, trust, at.insecure), *named)


def _engines(stack: Stack) -> dict[str, Engines]:
    from infctl.stack.names import authority, reachable

    found: dict[str, Engines] = {}
    for service in stack.services:
        if service.role != "engine":
            continue
        pages = [Page(f"http://{authority(reachable(host), port)}/metrics") for host, port in service.listen]
        cards = frozenset((service.gpu or "").split(",")) - {""}
        for model in service.models:
            before = found.get(model, Engines())
            found[model] = Engines((*before.pages, *pages), before.cards | cards)
    return found


def direct(url: str | None, at: At, key_env: str, model: str) -> Where:
    """The model server behind the gateway: as given, or the one that serves `model` by the profile.

    Raises UsageError where that is not one.
    """
    if url is not None:
        return where(url, replace(at, key_env=key_env))
    from infctl.cli.project import open_project

    project = open_project(at.files)
    listening = engines(project.stack(), model)
    if len(listening) != 1:
        found = (
            "no model server that this machine reaches"
            if not listening
            else f"{len(listening)} model servers"
        )
        raise UsageError(
            f"{found} for {model}: which one is asked directly?",
            hint="--direct URL; of several replicas one alone would be compared with all of them",
        )
    from infctl.stack.names import authority, reachable

    host, port = listening[0]
    secret = project.profile.gateway.keys.backend
    key = project.secret(secret.name) if secret is not None else None
    found_at = f"http://{authority(reachable(host), port)}"
    name = secret.name if secret is not None else key_env
    to = session.target(found_at, key)
    known = _engines(project.stack()).get(model, Engines())
    # Its own page is the first already.
    mine = {model: Engines((), known.cards)}
    return Where(found_at, to, name, home(at.files, at.output), _pages(to, at, at.ca_file), mine)


def engines(stack: Stack, model: str) -> list[tuple[str, int]]:
    """Where those listen that serve it."""
    return [
        address
        for service in stack.services
        if service.role == "engine" and model in service.models
        for address in service.listen
    ]


def home(files: list[Path] | None, output: Path | None) -> Path:
    """`.infctl/bench` beside the profile, or here where there is none."""
    if output is not None:
        return output
    try:
        folder = options.profile_files(files)[0].resolve().parent
    except UsageError:
        folder = Path.cwd()
    return folder / ".infctl" / "bench"


def ask(at: Where, model: str | None) -> str:
    """Whether it can be measured at all; the model's name. Raises BenchError."""
    return session.preflight(at.url, at.target, model, key_name=at.key_name)


def config(
    model: str, asking: Asking, course: Course, pace: Pace | None = None, *, slo: Sequence[str] = ()
) -> tuple[Config, Asked]:
    """What was typed, checked and completed; and what it asks. Raises UsageError, BenchError."""
    pace = pace or Pace()
    known = (*PATHS, *POOLING)
    if asking.endpoint not in known:
        raise UsageError(f"--endpoint {asking.endpoint}: it is one of {', '.join(known)}")
    _together(asking, pace.rate)
    requests, duration, concurrency = course.requests, course.duration, pace.concurrency
    if requests is not None and duration is not None:
        raise UsageError("--requests and --duration are both given: which ends the run?")
    trace, file = asking.trace, asking.trace or asking.prompts
    closed = pace.rate is None and trace is None
    if closed and concurrency is None:
        concurrency = 1
    if duration is None and requests is None:
        requests = _REQUESTS if trace is None else len(session.lines_of(trace))
    plain = "0" if duration is None else "0s"
    usual = (str(concurrency) if closed else "0") if duration is None else None
    found = Config(
        model=model,
        endpoint=asking.endpoint,
        lengths_in=asking.lengths_in,
        lengths_out=asking.lengths_out,
        arrivals="closed" if closed else "trace" if trace is not None else course.arrivals,
        rate=pace.rate,
        concurrency=concurrency,
        requests=requests,
        duration_s=duration,
        warmup=_aside("--warmup", course.warmup, duration)
        or usual
        or f"{min((duration or 0) * _WARM_SHARE, _WARM_MOST_S):g}s",
        cooldown=_aside("--cooldown", course.cooldown, duration) or usual or plain,
        seed=random.SystemRandom().randrange(2**31) if asking.seed is None else asking.seed,
        exact=asking.ignore_eos,
        extra=CHUNK_USAGE if asking.chunk_usage else {},
        timeout_s=course.timeout,
        slo_ms=slos(slo),
        prefix=asking.prefix or "",
        turns=asking.turns,
        source="" if file is None else session.source_of(file),
        speed=pace.speed,
    )
    return found, workload(found, asking)


def workload(given: Config, asking: Asking) -> Asked:
    """Of another seed or load of the same command. Raises UsageError, BenchError."""
    return session.workload_of(given, asking.prompts, asking.trace)


def _together(asking: Asking, rate: float | None) -> None:
    """What excludes what. Raises UsageError."""
    made_up = asking.prefix or asking.turns > 1
    filed = asking.trace is not None or asking.prompts is not None
    if asking.trace is not None and (rate is not None or asking.prompts is not None):
        raise UsageError(
            "--trace says when and how much is asked: --rate and --prompts have no place beside it"
        )
    if filed and made_up:
        raise UsageError("--prefix and --turns are of made-up prompts, not of a file's")
    if asking.endpoint in POOLING and (made_up or filed):
        raise UsageError(f"--endpoint {asking.endpoint} asks made-up texts alone")
    if asking.endpoint in POOLING and asking.chunk_usage:
        raise UsageError(f"--chunk-usage is for streams, and --endpoint {asking.endpoint} has none")
    if asking.endpoint != "chat" and (asking.turns > 1 or asking.prompts is not None):
        raise UsageError("--turns and --prompts are for --endpoint chat")


def slos(given: Sequence[str]) -> dict[str, float]:
    """`ttft=500`: milliseconds. Raises UsageError for a metric nobody knows."""
    found = {}
    for text in given:
        name, _, limit = text.partition("=")
        if name not in SLO_METRICS:
            raise UsageError(
                f"--slo {text}: there is no metric {name}", hint=f"there are: {', '.join(SLO_METRICS)}"
            )
        try:
            found[name] = float(limit.removesuffix("ms"))
        except ValueError:
            raise UsageError(f"--slo {text}: {limit!r} is no number of milliseconds") from None
        if not 0 < found[name] < 1e9:
            raise UsageError(f"--slo {text}: milliseconds, more than 0")
    return found


def _aside(option: str, text: str | None, duration: float | None) -> str | None:
    if text is None:
        return None
    if duration is None:
        if not text.isdecimal():
            raise UsageError(f"{option} {text}: without --duration it is a number of requests")
        return text
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < duration:
        raise UsageError(f"{option} {text}: with --duration it is seconds, fewer than {duration:g}")
    return f"{seconds:g}s"


def measured(given: Config, asked: Asked, at: Where, label: str = "") -> tuple[Result, Path]:
    """Run it, with a line of progress where somebody looks, and keep it."""
    found = with_progress(given, at, label, asked)
    result = found.result(given, at.url)
    return result, results.save(at.home, result, found.ran.lines, found.samples)


def with_progress(given: Config, at: Where, label: str = "", asked: Asked | None = None) -> Measured:
    """Where somebody looks, with a display (bench_live); of a pipe or a log it is quiet."""
    watching = at.watching(given.model)
    if not console.is_tty(sys.stderr) or console.wants_json():
        return session.measure(given, at.target, signals=_heard, asked=asked, watching=watching)
    from infctl.cli.bench_live import Display

    with Display(given, label) as display:
        return session.measure(
            given, at.target, tell=display.tell, signals=_heard, asked=asked, watching=watching
        )


def as_data(result: Result, place: Path) -> dict[str, Any]:
    return {**msgspec.to_builtins(result), "folder": str(place)}


FORMS = ("table", "json", "vllm")


def checked_form(form: str) -> None:
    """Raises UsageError, before anything is measured."""
    if form not in FORMS:
        raise UsageError(f"--format {form}: it is one of {', '.join(FORMS)}")


def as_vllm(place: Path) -> dict[str, Any]:
    """A run that is kept, in the keys and by the definitions of `vllm bench serve`."""
    from infctl.bench import vllm_format

    found = results.load(place)
    began = calendar.timegm(time.strptime(found.began, "%Y-%m-%dT%H:%M:%SZ"))
    return vllm_format.document(found.config, results.records(place), wall=began)


def exit_code(result: Result) -> int:
    """Of a run: 0 where its figures may be read. Raises BenchError, Interrupted."""
    if result.ended == "interrupted":
        raise Interrupted("interrupted: the results so far are kept")
    if result.ended != "complete":
        raise BenchError(result.why, hint="the results so far are kept, marked as partial")
    if result.figures is None:
        reasons = [reason["text"] for reason in result.verdict["reasons"] if reason["grade"] == "invalid"]
        raise BenchError("this run does not measure the server", hint="\n".join(reasons))
    return 0


def _heard(loop: Any, load: Load) -> None:
    """Ctrl-C ends the run, not the process: what was measured is kept."""
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, load.stop, "interrupted", "interrupted by a signal")
