"""`make proof-alerts`: what goes wrong is told, within the time that its rule says, and nothing else is.

A real gateway with calls coming in all the time, a real Prometheus with the rendered configuration and rules,
a real Alertmanager with the rendered route, on loopback. Every duration in the rules is scaled down by the
render's own option, and so are the times of the route. Engines and GPUs are figures (figures.py); the
gateway's backends are stubs that behave as told.

    python -m tests.proofs.alerts [--scale 0.1]

Shown for each of four faults: the alert that is meant fires within its `for` and one evaluation of the moment
in which its expression is first true of what was read, reaches the webhook, no other alert fires but its
companions, and all of it is over when the fault is. Both moments are Prometheus's own: it is asked afterwards
since when the expression was true, and at which evaluation the alert fired. (An evaluation sees it at most
one interval later; `for` counts from there, in whole evaluations; what the machine was too busy to evaluate
is told by Prometheus itself and added.) Then: every panel of every dashboard has data. The last line is the
figure; the exit code is 1 when it is short.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from infctl import tls
from infctl.gpus import for_profile
from infctl.models.source import for_profile as for_models
from infctl.monitoring import notifying
from infctl.monitoring.terms import Terms, terms
from infctl.plan import plan
from infctl.profile.builtin import builtin_profiles
from infctl.profile.loading import load
from infctl.render import render
from infctl.stack import Layout
from infctl.stack.build import build
from tests.gateway.process import ADMIN, Gateway, config_for, free_port, until
from tests.gateway.stub import Stub
from tests.infctl.monitoring.queries import asked, panels
from tests.infctl.render.conftest import HOST
from tests.proofs.figures import Figures, of_engines

SCRAPE: Final = "0.25s"
LOOK_S: Final = 0.05
ENGINES: Final = ("chat0", "chat1", "text2sql", "embed", "rerank")
SMALL_KEY: Final = "small-tenant-canary"
ALWAYS: Final = frozenset({"Watchdog", "EventLoopLags", "DiskNearlyFull"})
"""... and what this machine is: busy, and with a disk of its own."""
ANSWER_S: Final = 1.0
"""Of a client; then it goes away."""
QUIET_S: Final = 10.0
"""For readings to arrive, however busy the machine is."""
STEP_S: Final = 0.05
"""How exactly it is known since when an expression was true: readings are five times as far apart."""
LIMIT_S: Final = 60.0


@dataclass(frozen=True)
class Fault:
    name: str
    alert: str
    labels: dict[str, str]
    begin: Callable[[World], None]
    end: Callable[[World], None]
    companions: frozenset[str] = frozenset()
    """What may be told as well, for it follows from the same."""


@dataclass(frozen=True)
class Rule:
    expr: str
    lasts_s: float
    """Its `for`."""
    every_s: float
    """Between two evaluations."""

    @property
    def within_s(self) -> float:
        """`for`, in whole evaluations, and one more."""
        return (math.ceil(round(self.lasts_s / self.every_s, 6)) + 1) * self.every_s


@dataclass(frozen=True)
class Engines:
    """Real ones, in place of figures and of a stub. Addresses as host:port."""

    chat: str
    embed: str
    key: str
    """They ask for."""

    def of(self, name: str) -> str:
        return self.embed if name in {"embed", "rerank"} else self.chat


@dataclass
class Outcome:
    fault: Fault
    fired_s: float = 0.0
    """After its expression was first true."""
    limit_s: float = 0.0
    seen_s: float = 0.0
    """From the fault to that."""
    over_s: float = 0.0
    wrong: list[str] = field(default_factory=list)


class World:
    def __init__(self, folder: Path, scale: float, real: Engines | None = None) -> None:
        self.folder = folder
        self.real = real
        self.answer_s = ANSWER_S if real is None else LIMIT_S
        self.close = contextlib.ExitStack()
        self.posted: list[tuple[str, str]] = []
        """(state, alert) at the webhook."""
        self.small = threading.Event()
        self._stop = threading.Event()
        try:
            self._build(scale)
        except BaseException:
            self.close.close()
            raise

    def _build(self, scale: float) -> None:
        files, self.terms = rendered(self.folder, scale)
        names = of_engines(self.terms)
        self.engines = {f"vllm-{name}": Figures(names) for name in ENGINES if self.real is None}
        self.gpus = Figures(cards=self.terms.cards)
        for each in (*self.engines.values(), self.gpus):
            self.close.callback(each.stop)
        self.stubs = [Stub(), Stub()]
        for stub in self.stubs:
            stub.cached = 1
            self.close.callback(stub.stop)
        self.edge = self._edge()
        self.audit = self.folder / "audit"
        key = {} if self.real is None else {"BACKEND_API_KEY": self.real.key}
        self.gateway = Gateway(self.folder, self._config(), KEYS | key | {"PATH": "/usr/bin:/bin"})
        self.close.callback(self.gateway.stop)
        self.gateway.wait_ready(3)
        hook = self._hook()
        self.alertmanager = self._alertmanager(hook)
        self.prometheus = self._prometheus(files)
        self._load()

    def _config(self) -> dict[str, Any]:
        config = config_for(
            *self.stubs,
            probes={"interval_s": 0.3, "loading_interval_s": 0.1, "timeout_s": 1.0},
            limits={"requests_per_second": 10_000, "burst": 10_000},
            queue={"waiting": 4, "timeout_s": 0.3},
            store={"path": str(self.folder / "store" / "s.db")},
            audit={"folder": str(self.audit), "rotate_bytes": 4096},
            redaction={"enabled": True},
            edge=self.edge,
            tenants={"small": {"key_envs": ["SMALL_KEY"], "limits": {"requests_per_day": 60}}},
        )
        for n, backend in enumerate(config["models"][0]["backends"]):
            backend["id"] = f"vllm-chat{n}"
            backend["concurrency"] = 8
        config["models"][1]["backends"][0]["id"] = "vllm-embed"
        if self.real is not None:  # the second one of chat stays a stub: it can misbehave
            config["models"][0]["backends"][0]["url"] = f"http://{self.real.chat}"
            config["models"][0]["served_name"] = "chat"
            config["models"][1]["backends"][0]["url"] = f"http://{self.real.embed}"
            config["probes"]["timeout_s"] = 10.0
            # Only one of the two fails, so a retry is refused for the budget's sake or never: of the crowd
            # that the stub hangs up on, one is sent again, and not all the others wait for that.
            config["retries"] = {"budget": 0.0, "budget_min": 1}
            config["queue"]["waiting"] = 2
        return config

    def _edge(self) -> str:
        """Something that shows a certificate, and no more: the gateway looks at it."""
        pair = tls.self_signed(self.folder / "tls", ("localhost",), now=datetime.now(UTC))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        listening = socket.create_server(("127.0.0.1", 0))
        self.close.callback(listening.close)
        self.close.callback(listening.shutdown, socket.SHUT_RDWR)  # wakes who accepts

        def show() -> None:
            while True:
                try:
                    came, _ = listening.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), context.wrap_socket(came, server_side=True) as shown:
                    shown.recv(1)

        threading.Thread(target=show, daemon=True).start()
        return f"127.0.0.1:{listening.getsockname()[1]}"

    def _hook(self) -> str:
        posted = self.posted

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["content-length"]))
                posted.extend(
                    (one["status"], one["labels"]["alertname"]) for one in json.loads(text)["alerts"]
                )
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.close.callback(server.server_close)
        self.close.callback(server.shutdown)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    def _alertmanager(self, hook: str) -> str:
        config = notifying.config({"url": hook})
        for route in (config["route"], *config["route"]["routes"]):
            for wait in {"group_wait", "group_interval"} & set(route):
                route[wait] = "200ms"
        file = self.folder / "alertmanager.yml"
        file.write_text(yaml.safe_dump(config))
        address = f"127.0.0.1:{free_port()}"
        self._start(
            "prometheus-alertmanager",
            f"--config.file={file}",
            f"--storage.path={self.folder / 'alertmanager'}",
            "--cluster.listen-address=",
            f"--web.listen-address={address}",
        )
        return address

    def _prometheus(self, files: dict[str, str]) -> str:
        where = {f"{name}:8000": figures.address for name, figures in self.engines.items()}
        if self.real is not None:
            where = {f"vllm-{name}:8000": self.real.of(name) for name in ENGINES}
        where |= {
            "inference-gateway:8000": f"127.0.0.1:{self.gateway.port}",
            "dcgm-exporter:9400": self.gpus.address,
            "alertmanager:9093": self.alertmanager,
            "127.0.0.1:9090": (address := f"127.0.0.1:{free_port()}"),
        }
        folder = self.folder / "prometheus"
        for path, text in files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            for there, here in where.items():
                text = text.replace(there, here)  # noqa: PLW2901
            (self.folder / path).write_text(text)
        self._start(
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'tsdb'}",
            f"--web.listen-address={address}",
            "--log.level=error",
        )
        self.asking = httpx.Client(base_url=f"http://{address}", timeout=10, trust_env=False)
        self.close.callback(self.asking.close)
        until(lambda: self._targets() == {"up"} and self._told(), LIMIT_S)
        return address

    def _targets(self) -> set[str]:
        try:
            found = self.asking.get("/api/v1/targets").json()["data"]["activeTargets"]
        except (httpx.HTTPError, ValueError, KeyError):
            return set()
        return {target["health"] for target in found}

    def _told(self) -> bool:
        """Prometheus knows whom to tell: it takes seconds, and what fires before is told a minute later."""
        found = self.asking.get("/api/v1/alertmanagers").json()["data"]["activeAlertmanagers"]
        return bool(found)

    def _start(self, *argv: str) -> None:
        log = (self.folder / f"{argv[0]}.log").open("w")
        self.close.callback(log.close)
        process = subprocess.Popen([str(shutil.which(argv[0])), *argv[1:]], stdout=log, stderr=log)

        def stop() -> None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

        self.close.callback(stop)

    def _load(self) -> None:
        """Calls from several clients, all the time; and of the small tenant while that is asked for."""
        kinds = (self._chat, self._stream, self._embed, self._ask_small)
        threads = [threading.Thread(target=self._repeat, args=(each,)) for each in kinds]
        for thread in threads:
            thread.start()
        self.close.callback(lambda: [thread.join(10) for thread in threads])
        self.close.callback(self._stop.set)

    def _repeat(self, ask: Callable[[httpx.Client], None]) -> None:
        url = f"http://127.0.0.1:{self.gateway.port}"
        with httpx.Client(base_url=url, timeout=self.answer_s, trust_env=False) as client:
            while not self._stop.wait(0.03):
                with contextlib.suppress(httpx.HTTPError):
                    ask(client)

    def _chat(self, client: httpx.Client) -> None:
        odd = {"x-request-id": "someone@example.org"}
        client.post("/v1/chat/completions", json=CHAT, headers=CLIENT | odd)

    def _stream(self, client: httpx.Client) -> None:
        with client.stream(
            "POST", "/v1/chat/completions", json=CHAT | {"stream": True}, headers=CLIENT
        ) as reply:
            for _ in reply.iter_raw():
                pass

    def _embed(self, client: httpx.Client) -> None:
        client.post("/v1/embeddings", json={"model": "embed", "input": "x"}, headers=CLIENT)

    def _ask_small(self, client: httpx.Client) -> None:
        if self.small.is_set():
            client.post("/v1/chat/completions", json=CHAT, headers={"authorization": f"Bearer {SMALL_KEY}"})

    def alerts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.asking.get("/api/v1/alerts").json()["data"]["alerts"]
        return found

    def firing(self) -> frozenset[str]:
        return frozenset(a["labels"]["alertname"] for a in self.alerts() if a["state"] == "firing") - ALWAYS

    def rule(self, alert: str) -> Rule:
        for group in self.asking.get("/api/v1/rules").json()["data"]["groups"]:
            for rule in group["rules"]:
                if rule["name"] == alert:
                    return Rule(rule["query"], float(rule["duration"]), float(group["interval"]))
        raise AssertionError(alert)

    def missed(self) -> float:
        """Evaluations of rules that Prometheus was too busy for, so far."""
        query = {"query": "sum(prometheus_rule_group_iterations_missed_total)"}
        found = self.asking.get("/api/v1/query", params=query).json()["data"]["result"]
        return float(found[0]["value"][1]) if found else 0.0

    def fired_at(self, alert: str, labels: dict[str, str], since: float) -> float:
        """The first evaluation at which it fired, in seconds since 1970."""
        wanted = {"alertname": alert, "alertstate": "firing", **labels}
        matching = ",".join(f'{name}="{value}"' for name, value in wanted.items())
        query = {"query": f"ALERTS{{{matching}}}[{int(time.time() - since) + 1}s]"}
        found = self.asking.get("/api/v1/query", params=query).json()["data"]["result"]
        return min(float(at) for series in found for at, _ in series["values"] if float(at) >= since)

    def true_since(self, rule: Rule, labels: dict[str, str], since: float, until_: float) -> float:
        """When its expression began to be true without a break up to `until_`."""
        asked_for: dict[str, Any] = {"query": rule.expr, "start": since, "end": until_, "step": STEP_S}
        found = self.asking.get("/api/v1/query_range", params=asked_for).json()["data"]["result"]
        [mine] = [one for one in found if labels.items() <= one["metric"].items()]
        begun = until_
        for at in sorted((float(at) for at, _ in mine["values"]), reverse=True):
            if begun - at > 1.5 * STEP_S:
                break
            begun = at
        return begun


CHAT: Final = {"model": "chat", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}
KEYS: Final = {
    "GATEWAY_API_KEY": "client-key-canary",
    "ADMIN_API_KEY": ADMIN,
    "BACKEND_API_KEY": "backend-key-canary",
    "SMALL_KEY": SMALL_KEY,
}
CLIENT: Final = {"authorization": f"Bearer {KEYS['GATEWAY_API_KEY']}"}


def rendered(folder: Path, scale: float) -> tuple[dict[str, str], Terms]:
    """The reference platform's Prometheus, as it is rendered; what goes into its rules."""
    often = folder / "often.yaml"
    often.write_text(f"monitoring: {{prometheus: {{scrape_interval: {SCRAPE}}}}}\n")
    loaded = load([builtin_profiles()["l4x4"], often], KEYS)
    profile = loaded.profile
    layout = Layout(Path("/srv/p"), Path("/srv/p/.infctl/p"), beside=True)
    env = {"HOME": "/nonexistent", "HF_HOME": "/nonexistent/hf"}
    facts = for_models(profile, folder=folder, env=env, where=loaded.where, offline=True).facts
    made = plan(profile, for_profile(profile.gpus), facts, where=loaded.where)
    stack = build(profile, made, layout, HOST, secrets=frozenset(KEYS))
    files = render(stack, profile, made, layout, rules_scale=scale)
    texts = {each.path: each.text for each in files if each.path.startswith("prometheus/")}
    return texts, terms(profile, made, scale=scale)


def stop_backend(world: World) -> None:
    world.stubs[1].stop()
    world.engines["vllm-chat1"].down = True


def start_backend(world: World) -> None:
    world.stubs[1].start_again()
    world.engines["vllm-chat1"].down = False


def stall(world: World) -> None:
    world.stubs[1].mode = "hang"
    world.engines["vllm-chat1"].stalled = True


def go_on(world: World) -> None:
    world.stubs[1].mode = "plain"
    world.engines["vllm-chat1"].stalled = False


def exhaust(world: World) -> None:
    world.small.set()


def forgive(world: World) -> None:
    world.small.clear()
    answer = world.gateway.admin("POST", "/admin/quota/small/reset")
    assert answer.status_code < 300, answer.text
    # The gateway learns what is left with the tenant's next call.
    with httpx.Client(base_url=world.gateway.url, timeout=ANSWER_S, trust_env=False) as client:
        ask = {"authorization": f"Bearer {SMALL_KEY}"}
        assert client.post("/v1/chat/completions", json=CHAT, headers=ask).status_code == 200


def break_disk(world: World) -> None:
    world.audit.rename(world.audit.with_name("away"))


def mend_disk(world: World) -> None:
    world.audit.with_name("away").rename(world.audit)


BACKEND: Final = {"model": "chat", "backend": "vllm-chat1"}
CUT: Final = frozenset({"ErrorBudgetBurnsFast", "ErrorBudgetBurnsSlowly", "StreamsBreak"})
"""Of answers that were under way."""
FAULTS: Final = (
    Fault(
        "a backend is stopped",
        "BackendDown",
        BACKEND,
        stop_backend,
        start_backend,
        CUT | {"EngineDown", "RetryBudgetUsedUp"},
    ),
    Fault(
        "a backend is stalled",
        "EngineStalled",
        BACKEND,
        stall,
        go_on,
        CUT | {"FirstTokenBudgetBurnsFast", "FirstTokenBudgetBurnsSlowly"},
    ),
    Fault(
        "a quota is used up",
        "QuotaUsedUp",
        {"tenant": "small", "reason": "requests_per_day"},
        exhaust,
        forgive,
        frozenset({"QuotaNearlyUsed"}),
    ),
    Fault(
        "the audit trail's disk is gone",
        "AuditFailing",
        {},
        break_disk,
        mend_disk,
    ),
)


def watch(world: World, fault: Fault) -> Outcome:
    out = Outcome(fault)
    rule = world.rule(fault.alert)
    patience_s = LIMIT_S + 10 * rule.lasts_s
    seen: set[str] = set()
    posted = len(world.posted)

    def mine() -> dict[str, Any] | None:
        found = world.alerts()
        seen.update(a["labels"]["alertname"] for a in found if a["state"] == "firing")
        return next(
            (
                a
                for a in found
                if a["labels"]["alertname"] == fault.alert and fault.labels.items() <= a["labels"].items()
            ),
            None,
        )

    def wait(ready: Callable[[dict[str, Any] | None], bool], what: str) -> float:
        began = time.monotonic()
        while not ready(mine()):
            if time.monotonic() - began > patience_s:
                out.wrong.append(f"{fault.alert} {what}: not within {patience_s:g} s")
                break
            time.sleep(LOOK_S)
        return time.monotonic() - began

    begun, missed = time.time(), world.missed()
    fault.begin(world)
    wait(lambda a: a is not None and a["state"] == "firing", "does not fire")
    if not out.wrong:
        fired = world.fired_at(fault.alert, fault.labels, begun)
        true = world.true_since(rule, fault.labels, begun - 1, fired)
        out.seen_s, out.fired_s = true - begun, fired - true
        out.limit_s = rule.within_s + (world.missed() - missed) * rule.every_s
    if out.fired_s > out.limit_s:
        out.wrong.append(f"{fault.alert} fired after {out.fired_s:.1f} s, {out.limit_s:.1f} s are its time")
    with contextlib.suppress(AssertionError):
        until(lambda: ("firing", fault.alert) in world.posted[posted:], 10)
    if ("firing", fault.alert) not in world.posted[posted:]:
        out.wrong.append(f"the webhook heard nothing of {fault.alert}")
    fault.end(world)
    out.over_s = wait(lambda a: a is None, "is not over")
    wait(lambda _: not world.firing() - fault.companions, "leaves others that fire")
    beyond = seen - ALWAYS - fault.companions - {fault.alert}
    if beyond:
        out.wrong.append(f"{fault.name}: {', '.join(sorted(beyond))} fired as well")
    with contextlib.suppress(AssertionError):
        until(lambda: ("resolved", fault.alert) in world.posted[posted:], 10)
    if ("resolved", fault.alert) not in world.posted[posted:]:
        out.wrong.append(f"the webhook was not told that {fault.alert} is over")
    return out


def crowd(world: World) -> None:
    """At the very end: more calls than there are places, and a backend that hangs up on all of them."""
    for mode in ("plain", "reset before"):
        for stub in world.stubs:
            stub.mode, stub.delay_s = mode, 0.2
        with httpx.Client(base_url=world.gateway.url, timeout=5, trust_env=False) as client:

            def ask(client: httpx.Client = client) -> None:
                with contextlib.suppress(httpx.HTTPError):
                    client.post("/v1/chat/completions", json=CHAT, headers=CLIENT)

            threads = [threading.Thread(target=ask) for _ in range(40)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)


def empty_panels(world: World) -> Iterator[str]:
    """Panels one of whose queries has no data."""
    for board, panel in panels(replace(world.terms, scale=1.0)):
        for query in panel.queries:
            asked_for = {"query": asked(query.expr, "5s")}
            found = world.asking.get("/api/v1/query", params=asked_for).json()
            if not found.get("data", {}).get("result"):
                yield f"{board.title}: {panel.title}: {found.get('error') or 'no data'} ({query.expr})"


def never_filled(world: World) -> list[str]:
    """Panels that had no data at any look: some show what a crowd brings, some what it stops."""
    empty = set(empty_panels(world))
    crowd(world)

    def looked() -> bool:
        empty.intersection_update(empty_panels(world))
        return not empty

    with contextlib.suppress(AssertionError):  # what is still empty then is told
        until(looked, QUIET_S)
    return sorted(empty)


@dataclass
class Found:
    outcomes: list[Outcome]
    panels: int
    empty: list[str]

    @property
    def wrong(self) -> list[str]:
        return [each for one in self.outcomes for each in one.wrong] + self.empty


def run(folder: Path, scale: float) -> Found:
    world = World(folder, scale)
    with world.close:
        # Long enough for every window to have something to compare with.
        time.sleep(max(3.0, 300 * scale))
        early = world.firing()
        outcomes = [watch(world, fault) for fault in FAULTS]
        if early:
            outcomes[0].wrong.append(f"{', '.join(sorted(early))} fired before anything was wrong")
        return Found(outcomes, len(panels(world.terms)), never_filled(world))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scale", type=float, default=0.1, help="of every duration in the rules")
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), chosen.scale)
    for one in found.outcomes:
        sys.stdout.write(
            f"{one.fault.name}: {one.fault.alert} true after {one.seen_s:.1f} s, fired {one.fired_s:.1f} s"
            f" later (at most {one.limit_s:.1f}), over {one.over_s:.1f} s after the end;"
            f" {'; '.join(one.wrong) or 'ok'}\n"
        )
    for each in found.empty:
        sys.stdout.write(f"{each}\n")
    right = sum(not one.wrong for one in found.outcomes)
    sys.stdout.write(
        f"proof-alerts: {right} of {len(found.outcomes)} faults told in time, alone and over;"
        f" {found.panels - len(found.empty)} of {found.panels} panels with data\n"
    )
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
