"""One measurement from its configuration to its verdict. `target` and `preflight` say where it goes."""

from __future__ import annotations

import os
import platform
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infctl.bench import arrivals, lengths, results
from infctl.bench.client import Load, Now, Ran, Shape, Target, run
from infctl.bench.figures import Figures
from infctl.bench.record import Record, read
from infctl.bench.results import Config, Result
from infctl.bench.verdict import Verdict, judge
from infctl.bench.workload import Synthetic, Workload
from infctl.errors import BenchError, UsageError

_PREFLIGHT_S = 10.0


@dataclass(frozen=True, slots=True)
class Measured:
    ran: Ran
    records: list[Record]
    figures: Figures
    verdict: Verdict
    digest: str

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
        )


def measure(
    config: Config,
    target: Target,
    *,
    tell: Callable[[Now], None] | None = None,
    signals: Callable[[Any, Load], None] | None = None,
) -> Measured:
    """Run it. What fails is in the log; nothing is raised but for a configuration that cannot be."""
    workload = workload_of(config)
    rate = config.rate
    kind = config.arrivals
    shape = Shape(
        concurrency=config.concurrency,
        arrivals=None if rate is None else lambda: arrivals.due(kind, rate, config.seed),
        gap_s=0.0 if rate is None else 1.0 / rate,
        requests=config.sent(),
        duration_s=config.duration_s,
        timeout_s=config.timeout_s,
    )
    digest = results.digest(workload, None if shape.arrivals is None else shape.arrivals())
    ran = run(Load(target, workload, shape, tell), signals)
    log = sorted(read(ran.lines), key=lambda record: record.index)
    found = results.again(config, log)
    verdict = judge(
        found, ran.watched, ended=ran.ended, why=ran.why, rate=rate, capped=config.concurrency is not None
    )
    return Measured(ran, log, found, verdict, digest)


def workload_of(config: Config) -> Workload:
    """Raises UsageError."""
    try:
        asked, answered = lengths.read(config.lengths_in), lengths.read(config.lengths_out)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Synthetic(
        config.endpoint,
        config.model,
        config.seed,
        asked,
        answered,
        exact=config.exact,
        salt=config.salt,
        extra=config.extra,
    )


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
