"""What started engines measured: asked, kept for the next plan, and told beside what was planned.

Each engine's /version and /metrics, and its log since it last began. Nothing here fails `infctl up`: an
engine that does not say what it measured serves all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infctl.cli.actual import Start, start_of
from infctl.errors import InfctlError

if TYPE_CHECKING:
    from infctl.plan import Plan, Replica
    from infctl.profile.schema import Profile
    from infctl.sizing import Measured, MemoryNeed
    from infctl.stack import Layout, Service, Stack

ASK_S = 5.0
"""For each of the two pages; the engine has just answered a question."""
LOG_BYTES_MAX = 1024 * 1024
"""Of the log's end. A start writes about 30 KB."""
SURPRISING_PERCENT = 5.0
PAGES = ("/version", "/metrics")
_HEALTH = "/health"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one engine said."""

    measured: Measured | None
    vllm: str
    why: str = ""
    """Why nothing is known."""


@dataclass(frozen=True, slots=True)
class Way:
    """How engines are asked."""

    ask: Callable[[dict[str, Any]], dict[str, Any]]
    """As `fetch.rounds`, wherever it runs. Raises InfctlError."""
    log: Callable[[str], list[str]]
    """A service's last lines."""


@dataclass(frozen=True, slots=True)
class Learned:
    """Of every engine of a platform."""

    starts: tuple[Start, ...]
    warnings: tuple[str, ...]


def learn(
    stack: Stack,
    plan: Plan,
    profile: Profile,
    layout: Layout,
    secrets: Mapping[str, str],
    *,
    started: Collection[str],
    now: float,
    way: Way | None = None,
) -> Learned:
    """Ask every engine and keep what it measured. `started`: services that this command started."""
    replicas = {replica.service: replica for replica in plan.replicas}
    engines = tuple(service for service in stack.services if service.role == "engine")
    seen = look(engines, secrets, way or here(layout))
    starts = tuple(start_of(name, _need(replicas.get(name)), one.measured) for name, one in seen.items())
    warnings = [f"{name} does not say what it measured: {one.why}" for name, one in seen.items() if one.why]
    warnings += [text for name, one in seen.items() if (text := _other_rules(name, one, replicas.get(name)))]
    warnings += [text for start in starts if (text := surprise(start))]
    try:
        odd = _keep(layout.calibration, seen, replicas, profile, started, now)
        warnings += [odd] if odd else []
    except InfctlError as error:
        warnings.append(f"what the engines measured was not kept: {error.message}")
    return Learned(starts, tuple(warnings))


def here(layout: Layout) -> Way:
    """Of processes: their addresses and their logs are this machine's."""
    from infctl.cli import fetch

    return Way(fetch.rounds, lambda name: _log(layout.logs / f"{name}.log"))


def look(services: Sequence[Service], secrets: Mapping[str, str], way: Way) -> dict[str, Seen]:
    """Every engine's pages, all at once, and its log. Never raises."""
    asked = {service.name: service for service in services if service.ready is not None}
    job = {"asks": [ask for service in asked.values() for ask in _asks(service, secrets)]}
    try:
        (answers,) = way.ask(job)["rounds"] if asked else ({},)
    except InfctlError as error:
        return {service.name: Seen(None, "", error.message) for service in services}
    return {
        service.name: _seen(service, answers, way)
        if service.name in asked
        else Seen(None, "", "it has no address")
        for service in services
    }


def lines(starts: Sequence[Start]) -> Iterator[str]:
    """One short line an engine that said something."""
    for start in starts:
        said = start.measured
        if said is None:
            continue
        if not said.kv_tokens:
            yield f"{start.service}: no KV cache"
            continue
        planned = "" if start.planned_tokens is None else f" (planned {start.planned_tokens:,})"
        yield f"{start.service}: KV tokens {said.kv_tokens:,}{planned}"


def surprise(start: Start) -> str:
    """What to say of a plan that was wrong; empty: it was right, or there was none."""
    off = start.difference
    if off is None or abs(off) <= SURPRISING_PERCENT:
        return ""
    more = "more" if off > 0 else "fewer"
    return (
        f"{start.service} holds {abs(off):.0f} % {more} KV tokens than planned; "
        "the next plan knows what it measured (infctl plan --actual shows both)"
    )


# Private


def _need(replica: Replica | None) -> MemoryNeed | None:
    return None if replica is None else replica.need


def _other_rules(name: str, one: Seen, replica: Replica | None) -> str:
    """What is measured with another vLLM says nothing of the one that is planned for."""
    planned = replica.need.resolved.vllm if replica is not None and replica.need is not None else None
    if planned is None or not one.vllm or f"{one.vllm}.".startswith(f"{planned}."):
        return ""
    return f"{name} runs vLLM {one.vllm}, and plans are made for {planned}: what it measured is not used"


def _keep(
    file: Path,
    seen: Mapping[str, Seen],
    replicas: Mapping[str, Replica],
    profile: Profile,
    started: Collection[str],
    now: float,
) -> str:
    """Answers with what was odd about the file. Raises InfctlError."""
    from infctl.calibration import key, load, model_name, save

    known = before = load(file)
    for name, one in seen.items():
        replica = replicas.get(name)
        if replica is None or replica.need is None or one.measured is None:
            continue
        need = replica.need
        engine = key(model_name(profile.models[replica.model].source), need.resolved, need.card, one.vllm)
        if name in started or known.find(engine) is None:
            planned = (need.kv_tokens.expected, need.kv.num_blocks) if need.kv is not None else None
            known = known.record(engine, one.measured, now, vllm=one.vllm, planned=planned)
    if known != before:
        save(file, known)
    return known.warning


def _asks(service: Service, secrets: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    key = next(
        (secrets.get(name) for variable, name in service.secret_env if variable == "VLLM_API_KEY"), None
    )
    head = {"authorization": f"Bearer {key}"} if key else {}
    for path in PAGES:
        url = f"{_url(service)}{path}"
        yield {"name": f"{service.name} {path}", "url": url, "headers": head, "timeout_s": ASK_S}


def _url(service: Service) -> str:
    return service.ready.url.removesuffix(_HEALTH) if service.ready is not None else ""


def _seen(service: Service, answers: Mapping[str, Any], way: Way) -> Seen:
    from infctl.calibration.said import from_log, from_metrics, joined

    url = _url(service)
    bodies = []
    for path in PAGES:
        answer = answers[f"{service.name} {path}"]
        if answer.get("status") != 200:
            why = answer.get("why") or f"answered {answer['status']}"
            return Seen(None, "", f"{url}{path} {why}" if "status" in answer else f"{url}{path}: {why}")
        bodies.append(str(answer["body"]))
    try:
        version = _version(bodies[0])
    except (ValueError, RecursionError) as error:
        return Seen(None, "", f"{url}: {error}")
    metrics = from_metrics(bodies[1])
    if metrics is None:
        return Seen(None, version, f"{url}/metrics has no vllm:cache_config_info")
    return Seen(joined(metrics, from_log(way.log(service.name))), version)


def _version(page: str) -> str:
    import json

    told = json.loads(page)
    return str(told.get("version", ""))[:40] if isinstance(told, dict) else ""


def _log(path: Path) -> list[str]:
    """The end of a log, and before it the end of its rotated copy."""
    data = b""
    for part in (path, path.with_name(f"{path.name}.1")):
        data = _end(part, LOG_BYTES_MAX - len(data)) + data
    return data.decode("utf-8", "replace").split("\n")


def _end(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - limit))
            return file.read(limit)
    except OSError:
        return b""
