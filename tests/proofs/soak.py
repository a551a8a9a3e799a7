"""`make proof-soak`: an hour of everything at once, after which the gateway holds what it held before.

Mixed traffic from many clients: plain and streamed calls, embeddings from the cache, calls that queue,
clients that leave in each phase, every kind of refusal, backends that fail, scrapes, reloads, drains. Each
answer is checked. Between two pauses of the load the gateway's memory and descriptors may not grow, and no
task may be left. The figures are on the last line; the exit code is not 0 where one falls short.

    python -m tests.proofs.soak [--seconds 3600] [--clients 32] [--seed 1]

The time-boxed form is tests/proofs/test_soak.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

from tests.gateway.process import ADMIN, free_port
from tests.proofs.http_client import Answer, Connection, WrongError, request
from tests.proofs.processes import Held, Watched, backend, held

GROWTH_MAX: Final = 1.10
"""Of RSS and PSS, from the pause after the warm-up to the last one."""
SLACK_MB: Final = 3.0
"""What a short run may differ by for other reasons: arenas, pages touched for the first time."""
SLACK_FDS: Final = 6
"""Each backend's probe may have a connection of its own, or share one that another probe has just left."""
QUIET_S: Final = 6.0
"""Longer than connections to backends are kept idle."""
LOOKS: Final = 5
LOOK_EVERY_S: Final = 0.3
WARM_UP: Final = 0.25
WARM_UP_S_MAX: Final = 180.0
ANSWER_WITHIN_S: Final = 120.0
"""A hang is one then as well, and a machine that is busy with other things is none."""
PAUSE_S: Final = 0.08
RELOAD_S: Final = 3.0
TENANTS: Final = 8
KEPT: Final = 20


@dataclass
class Soak:
    """One run: the counts, and what was wrong."""

    gateway: Watched
    configs: list[dict[str, Any]]
    chance: random.Random
    told: bool
    done: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    wrongs: int = 0
    stopped: bool = False
    paused: bool = False
    busy: int = 0

    def fail(self, what: str, why: object) -> None:
        self.wrongs += 1
        if len(self.wrong) < KEPT:
            self.wrong.append(f"{time.strftime('%H:%M:%S')} {what}: {why!r}")
            if self.told:
                say(self.wrong[-1])

    # One thing that a client does. Each raises what was wrong.

    async def call(self, at: Connection, path: str, body: Any, *statuses: int, **more: Any) -> Answer:
        headers = {"x-forwarded-for": f"10.0.{self.chance.randrange(TENANTS)}.7", **more}
        answer = await at.ask(request(path, body, headers=headers))
        self.statuses[answer.status] += 1
        if answer.status not in (statuses or (200,)):
            raise WrongError(f"{answer.status} {answer.body[:300]!r}")
        if answer.status >= 400 and (not answer.code or "x-request-id" not in answer.headers):
            raise WrongError(f"an error in another shape: {answer.body[:300]!r}")
        return answer

    def chat_body(self, **fields: Any) -> dict[str, Any]:
        text = "x" * self.chance.randrange(10, 400)
        return {"model": "chat", "messages": [{"role": "user", "content": text}], **fields}

    async def plain(self, at: Connection) -> None:
        tokens = self.chance.randrange(1, 30)
        answer = await self.call(at, "/v1/chat/completions", self.chat_body(do={"tokens": tokens}))
        if json.loads(answer.body)["usage"]["completion_tokens"] != tokens:
            raise WrongError(f"another's answer: {answer.body[:300]!r}")

    async def stream(self, at: Connection) -> None:
        tokens, wanted = self.chance.randrange(1, 40), self.chance.random() < 0.5
        options = {"stream_options": {"include_usage": True}} if wanted else {}
        do = {"tokens": tokens, "token_ms": self.chance.choice((0, 1, 5))}
        answer = await self.call(at, "/v1/chat/completions", self.chat_body(stream=True, do=do, **options))
        events = answer.body.split(b"\n\n")
        if events[-2:] != [b"data: [DONE]", b""] or len(events) - 2 != tokens + wanted:
            raise WrongError(f"{len(events)} events for {tokens} tokens: ...{answer.body[-200:]!r}")
        if (b'"usage"' in answer.body) != wanted:
            raise WrongError("the usage was not asked for, or is missing")

    async def responses(self, at: Connection) -> None:
        stream = self.chance.random() < 0.5
        answer = await self.call(at, "/v1/responses", {"model": "chat", "input": "x", "stream": stream})
        if stream and b"response.completed" not in answer.body:
            raise WrongError(f"not completed: {answer.body[-200:]!r}")

    async def cached(self, at: Connection) -> None:
        number = self.chance.randrange(20 if self.chance.random() < 0.8 else 100_000)
        await self.call(at, "/v1/embeddings", {"model": "embed", "input": f"text {number}"})

    async def other(self, at: Connection) -> None:
        path, body = self.chance.choice(
            [
                ("/v1/completions", {"model": "chat", "prompt": "x"}),
                ("/v1/rerank", {"model": "embed", "query": "a", "documents": ["b", "c"]}),
                ("/v1/score", {"model": "embed", "text_1": "a", "text_2": "b"}),
                ("/tokenize", {"model": "chat", "prompt": "a"}),
                ("/detokenize", {"model": "chat", "tokens": [1]}),
                ("/v1/text2sql", {"messages": [{"role": "user", "content": "x"}]}),
            ]
        )
        await self.call(at, path, body)

    async def large(self, at: Connection) -> None:
        body = self.chat_body(pad="x" * self.chance.randrange(100_000, 1_000_000))
        await self.call(at, "/v1/chat/completions", body, **{"accept-encoding": "gzip"})

    async def queued(self, at: Connection) -> None:
        body = self.chat_body(do={"wait_ms": self.chance.randrange(1, 200)}) | {"model": "narrow"}
        await self.call(at, "/v1/chat/completions", body, 200, 503)

    async def refused(self, at: Connection) -> None:
        path, body, status = self.chance.choice(
            [
                ("/v1/chat/completions", b'{"model": "chat", ', 400),
                ("/v1/chat/completions", b'{"model": "chat", "model": "chat", "messages": []}', 400),
                ("/v1/chat/completions", self.chat_body(max_tokens=10**6), 400),
                ("/v1/chat/completions", self.chat_body(temperature="hot"), 400),
                ("/v1/chat/completions", self.chat_body(model="none"), 404),
                ("/v1/embeddings", self.chat_body(), 404),
                ("/nowhere", {}, 404),
                ("/v1/models", {}, 405),
            ]
        )
        await self.call(at, path, body, status)

    async def stranger(self, at: Connection) -> None:
        answer = await at.ask(request("/v1/chat/completions", self.chat_body(), key="wrong"))
        if answer.status != 401:
            raise WrongError(f"{answer.status} without a key")

    async def no_http(self, at: Connection) -> None:
        """The guard refuses, and ends the connection."""
        data = self.chance.choice(
            (
                b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
                request("/v1/completions", b"x", headers={"x-long": "y" * 70_000}),
                b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
            )
        )
        answer = await at.ask(data)
        if not 400 <= answer.status < 500:
            raise WrongError(f"{answer.status} for {data[:100]!r}")

    async def failing(self, at: Connection) -> None:
        fail, statuses = self.chance.choice(
            [("500", (500, 503)), ("503", (503,)), ("429", (429, 503)), ("reset", (502, 503))]
        )
        body = self.chat_body(do={"fail": fail}) | {"model": "flaky"}
        await self.call(at, "/v1/chat/completions", body, *statuses)

    async def broken(self, at: Connection) -> None:
        fail = self.chance.choice(("reset mid", "error mid"))
        body = self.chat_body(stream=True, do={"fail": fail, "tokens": 9}) | {"model": "flaky"}
        answer = await self.call(at, "/v1/chat/completions", body, 200, 502, 503)
        if b'"error"' not in answer.body or b"[DONE]" in answer.body:
            raise WrongError(f"a broken stream that looks whole: {answer.body[-200:]!r}")

    async def hurried(self, at: Connection) -> None:
        body = self.chat_body(do={"fail": "hang"}) | {"model": "flaky"}
        await self.call(at, "/v1/chat/completions", body, 504, 503, **{"x-request-timeout": "0.1"})

    async def leaves(self, at: Connection) -> None:
        """At any moment: before its answer, in its queue, in the middle of its stream."""
        model, do, stream = self.chance.choice(
            [
                ("chat", {"fail": "hang"}, False),
                ("chat", {"fail": "hang"}, True),
                ("chat", {"token_ms": 20, "tokens": 100}, True),
                ("chat", {"fail": "hang mid"}, True),
                ("narrow", {"wait_ms": 300}, False),
            ]
        )
        body = self.chat_body(stream=stream, do=do) | {"model": model}
        data = request("/v1/chat/completions", body)
        at.write(data[: self.chance.randrange(len(data))] if self.chance.random() < 0.2 else data)
        await asyncio.sleep(self.chance.random() * 0.15)
        at.close()

    async def looks(self, at: Connection) -> None:
        path = self.chance.choice(
            ("/health", "/health/live", "/health/ready", "/health/detailed", "/v1/models")
        )
        method = self.chance.choice(("GET", "HEAD"))
        answer = await at.ask(request(path, method=method))
        if answer.status not in {200, 503}:
            raise WrongError(f"{answer.status} at {path}")

    async def scrapes(self, at: Connection) -> None:
        answer = await at.ask(request("/metrics"))
        if answer.status != 200 or b"infctl_requests_total" not in answer.body:
            raise WrongError(f"{answer.status} at /metrics")

    async def administers(self, at: Connection) -> None:
        path = self.chance.choice(("/admin/backends", "/openapi.json"))
        answer = await at.ask(request(path, key=ADMIN))
        if answer.status != 200:
            raise WrongError(f"{answer.status} at {path}: {answer.body[:200]!r}")

    # The run.

    async def client(self, number: int) -> None:
        chance, at = random.Random(self.chance.getrandbits(64) + number), None
        kinds: list[Callable[[Connection], Awaitable[None]]] = list(MIX)
        while not self.stopped:
            if self.paused:
                if at is not None:
                    at.close()
                    at = None
                await asyncio.sleep(0.05)
                continue
            does = chance.choices(kinds, list(MIX.values()))[0]
            if at is not None and (not at.usable or chance.random() < 0.05):
                at.close()
                at = None
            self.busy += 1
            name = does.__name__
            self.done[name] += 1
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    at = at or await Connection.open(self.gateway.port)
                    await does(self, at)  # type: ignore[call-arg]
            except (WrongError, OSError, EOFError, TimeoutError, ValueError, KeyError) as error:
                self.fail(name, error)
                if at is not None:
                    at.close()
                at = None
            finally:
                self.busy -= 1
            await asyncio.sleep(chance.uniform(0, 2 * PAUSE_S))
        if at is not None:
            at.close()

    async def operator(self) -> None:
        """Reloads, good and bad, and drains one backend of two."""
        turn = 0
        while not self.stopped:
            await asyncio.sleep(RELOAD_S)
            if self.paused:
                continue
            self.busy += 1
            turn += 1
            if turn % 5 == 4:
                self.gateway.file.write_text("models: nonsense\n")
            else:
                self.gateway.write(self.configs[turn % len(self.configs)])
            self.gateway.process.send_signal(signal.SIGHUP)
            self.done["reload"] += 1
            at = await Connection.open(self.gateway.port)
            try:
                for verb in ("drain", "undrain"):
                    path = f"/admin/backends/chat1/{verb}"
                    answer = await at.ask(request(path, method="POST", key=ADMIN))
                    if answer.status != 200:
                        self.fail(verb, answer)
                    await asyncio.sleep(0.2)
            finally:
                at.close()
                self.busy -= 1

    async def pause(self) -> tuple[Held, list[str]]:
        """What the gateway holds when nothing has been asked for a while."""
        self.paused = True
        while self.busy:  # noqa: ASYNC110 - a pause is rare: no event an action for it
            await asyncio.sleep(0.05)
        self.gateway.write(self.configs[0])  # what is kept to a backend depends on it
        self.gateway.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(QUIET_S)
        held, tasks = self.gateway.held(), Counter(self.gateway.tasks())
        for _ in range(LOOKS - 1):  # a probe may be under way in any one moment, and is no task that stays
            await asyncio.sleep(LOOK_EVERY_S)
            tasks &= Counter(self.gateway.tasks())
        self.paused = False
        return held, sorted(tasks.elements())


MIX: Final[dict[Any, int]] = {
    Soak.plain: 30,
    Soak.stream: 20,
    Soak.responses: 3,
    Soak.cached: 15,
    Soak.other: 8,
    Soak.large: 1,
    Soak.queued: 8,
    Soak.refused: 8,
    Soak.stranger: 2,
    Soak.no_http: 2,
    Soak.failing: 3,
    Soak.broken: 3,
    Soak.hurried: 2,
    Soak.leaves: 8,
    Soak.looks: 4,
    Soak.scrapes: 1,
    Soak.administers: 1,
}
"""What clients do, and how often."""


def configs(first: int, second: int, port: int) -> list[dict[str, Any]]:
    """Two that take turns: another number of backends, other limits."""
    urls = [f"http://127.0.0.1:{port}" for port in (first, second)]

    def model(name: str, *backends: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"name": name, "served_name": name, "tasks": ["chat"], "backends": list(backends), **more}

    def config(*more: dict[str, Any], **sections: Any) -> dict[str, Any]:
        chat = [{"id": f"chat{n}", "url": url} for n, url in enumerate(urls)]
        return {
            "listen": {"port": port},
            "models": [
                model("chat", *chat, *more, tasks=["chat", "text2sql"], max_model_len=8192),
                model("embed", {"id": "embed", "url": urls[0]}, tasks=["embed", "rerank"]),
                model("narrow", {"id": "narrow", "url": urls[1], "concurrency": 2}),
                model("flaky", *({"id": f"flaky{n}", "url": url} for n, url in enumerate(urls))),
            ],
            "probes": {"interval_s": 1.0, "loading_interval_s": 0.1},
            "breaker": {"recovery_s": 1.0, "recovery_max_s": 2.0},
            "cache": {"entries": 500, "ttl_s": 5.0},
            **sections,
        }

    extra = {"id": "chat2", "url": urls[0]}
    return [config(queue={"timeout_s": 1.0}), config(extra, queue={"timeout_s": 0.5, "waiting": 50})]


@dataclass
class Figures:
    before: Held
    after: Held
    most: Held
    tasks_before: list[str]
    tasks_after: list[str]
    backends: tuple[int, int]
    """Descriptors of both backends, before and after."""
    soak: Soak
    seconds: float
    exit_code: int

    def short(self) -> list[str]:
        """Where they fall short."""
        before, after, found = self.before, self.after, list(self.soak.wrong)
        for what, was, now in (
            ("RSS", before.rss_mb, after.rss_mb),
            ("PSS", before.pss_mb, after.pss_mb),
        ):
            if now > max(was * GROWTH_MAX, was + SLACK_MB):
                found.append(f"{what} grew from {was:.1f} to {now:.1f} MB")
        if after.fds > before.fds + SLACK_FDS:
            found.append(f"descriptors grew from {before.fds} to {after.fds}")
        if self.backends[1] > self.backends[0] + SLACK_FDS:
            found.append(f"the backends' descriptors grew from {self.backends[0]} to {self.backends[1]}")
        left = Counter(self.tasks_after) - Counter(self.tasks_before)
        if left:
            found.append(f"tasks left: {dict(left)}")
        gateway = self.soak.gateway
        found += gateway.wrong
        if self.exit_code or gateway.stderr():
            found.append(f"exit code {self.exit_code}: {gateway.stderr()}")
        if self.soak.done.keys() < {does.__name__ for does in MIX} | {"reload"}:
            found.append(f"not all was done: {dict(self.soak.done)}")
        return found

    def __str__(self) -> str:
        done = sum(self.soak.done.values())
        return (
            f"soak: {self.seconds:.0f} s, {done:,} actions ({self.soak.done['reload']} reloads), "
            f"{self.soak.wrongs} wrong; before {self.before}; after {self.after}; most {self.most}; "
            f"tasks left {len(Counter(self.tasks_after) - Counter(self.tasks_before))} "
            f"of {len(self.tasks_after)}; backends' descriptors {self.backends[0]} -> {self.backends[1]}"
        )


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def run(folder: Path, seconds: float, clients: int, seed: int, *, told: bool = False) -> Figures:
    """`told`: a line now and then."""
    with ExitStack() as stack:
        ports_pids = [stack.enter_context(backend()) for _ in range(2)]
        (first, first_pid), (second, second_pid) = ports_pids
        wanted = configs(first, second, free_port())
        gateway = Watched(folder, wanted[0])
        soak = Soak(gateway, wanted, random.Random(seed), told)
        try:
            gateway.wait_ready(6)
            began = time.monotonic()
            end = began + seconds
            running = [
                *(asyncio.create_task(soak.client(number)) for number in range(clients)),
                asyncio.create_task(soak.operator()),
            ]
            await asyncio.sleep(min(seconds * WARM_UP, WARM_UP_S_MAX))
            before, tasks_before = await soak.pause()
            backends_before = sum(held(pid).fds for pid in (first_pid, second_pid))
            most = before
            told_at = time.monotonic()
            while (now := time.monotonic()) < end - QUIET_S:
                await asyncio.sleep(min(1.0, max(0.05, end - QUIET_S - now)))
                seen = gateway.held()
                most = Held(
                    max(most.rss_mb, seen.rss_mb), max(most.pss_mb, seen.pss_mb), max(most.fds, seen.fds)
                )
                if told and now - told_at >= 60:
                    told_at = now
                    done = sum(soak.done.values())
                    say(f"{time.strftime('%H:%M:%S')} {done:,} actions, {soak.wrongs} wrong, {seen}")
            after, tasks_after = await soak.pause()
            backends_after = sum(held(pid).fds for pid in (first_pid, second_pid))
            soak.stopped = True
            await asyncio.gather(*running)
            took_s = time.monotonic() - began
        finally:
            code = await asyncio.to_thread(gateway.stop)
    return Figures(
        before, after, most, tasks_before, tasks_after, (backends_before, backends_after), soak, took_s, code
    )


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing that was started is left behind
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        figures = uvloop.run(run(Path(folder), options.seconds, options.clients, options.seed, told=True))
    short = figures.short()
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in short))
    sys.stdout.write(f"{dict(figures.soak.done)} {dict(figures.soak.statuses)}\n")
    sys.stdout.write(f"{figures}\n")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
