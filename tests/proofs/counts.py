"""`make proof-counts`: ten thousand mixed requests, and four that count them agree on how each one ended.

A real gateway of two workers on SQLite, with an audit trail; backends that misbehave where they are asked
to. Calls that are answered, plain, as streams and from the cache; calls refused by each limit and quota, by
the queue, for their JSON, model, path, key, size or HTTP; errors of backends with a status, without, in the
middle and as an event; calls that are late, and clients that leave at each moment.

    python -m tests.proofs.counts [--requests 10000] [--seed N]

Shown: the metrics, the log's lines, the audit trail's lines and the generator's own count, which it makes of
what it asked for and what it was answered, are equal for each tenant, model, outcome and reason; log and
audit trail also request by request, with its tokens where a client was told them. Streams by their ends,
answers of the cache and tokens agree as well. The last line is the figure; the exit code is 1 when it is
short.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families as read_text

from gateway import routes
from gateway.audit import files
from gateway.audit.anchors import FileAnchors
from gateway.audit.verify import verify
from gateway.refusal import Refusal
from tests.gateway.process import KEY, Gateway, free_port, until
from tests.proofs.counts_kinds import (
    AWAY,
    DEADLINE,
    GONE,
    IDLE,
    IN_STREAM,
    KINDS,
    LIMITS,
    NAMED,
    NONE,
    OK,
    TOKENS,
    TRUNCATED,
    Ended,
    Kind,
    SurpriseError,
    is_away,
)
from tests.proofs.http_client import Answer, Connection, request
from tests.proofs.processes import KEYS, MALLOC, backend

CLIENTS: Final = 32
ANSWER_WITHIN_S: Final = 60.0
PEER: Final = "127.0.0.1"
AUDIT_KEY: Final = "audit-key-of-the-proof-0001"
Class = tuple[str, str, str, str]
"""Tenant, model, outcome, reason."""
Count = Counter[Class]


def key_of(tenant: str) -> str:
    return f"key-of-{tenant}-0001"


@dataclass
class Generator:
    """Asks, and counts how each request ended."""

    port: int
    seed: int
    counted: Count = field(default_factory=Counter)
    by_id: dict[str, Class] = field(default_factory=dict)
    tokens: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of a request that was answered: prompt, answer."""
    cache: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    async def run(self, requests: int) -> None:
        waiting = list(enumerate(shuffled(requests, self.seed)))
        await asyncio.gather(*(self._client(waiting) for _ in range(CLIENTS)))

    async def _client(self, waiting: list[tuple[int, Kind]]) -> None:
        at: Connection | None = None
        while waiting:
            number, kind = waiting.pop()
            if at is None or not at.usable or kind.raw:
                if at is not None:
                    at.close()
                at = await Connection.open(self.port)
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    await self._one(at, f"n{number}", kind, random.Random(f"{self.seed} {number}"))
            except (SurpriseError, OSError, EOFError, ValueError, KeyError, TimeoutError) as error:
                self.wrong.append(f"{kind.name}, n{number}: {error!r}")
                at.close()
            if kind.raw:
                at.close()
        if at is not None:
            at.close()

    async def _one(self, at: Connection, name: str, kind: Kind, chance: random.Random) -> None:
        self.done[kind.name] += 1
        tenant = kind.tenant or (PEER if kind.raw else f"10.0.0.{chance.randrange(1, 9)}")
        body = kind.body(chance)
        key = kind.key or (key_of(kind.tenant) if kind.tenant else KEY)
        headers = {"x-request-id": name, "x-forwarded-for": tenant, **dict(kind.headers)}
        data = kind.raw or request(kind.path, body, method=kind.method, key=key, headers=headers)
        if kind.leaves:
            await self._leave(at, kind, data)
            ended = GONE
        else:
            answer = await at.ask(data)
            if not kind.counted:
                return
            assert kind.read is not None
            try:
                ended = AWAY if is_away(answer) else kind.read(answer)
            except SurpriseError:
                raise SurpriseError(f"{answer.status} {answer.body[-300:]!r}") from None
            self._read(name, kind, answer, ended)
        found = (tenant, kind.model, *ended)
        self.counted[found] += 1
        if not kind.raw:
            self.by_id[name] = found

    def _read(self, name: str, kind: Kind, answer: Answer, ended: Ended) -> None:
        """What the client was told of tokens and of the cache."""
        if (found := answer.headers.get("x-cache")) is not None:
            self.cache[found] += 1
        if ended == OK and kind.name in {"plain", "stream"}:
            data = answer.body
            if kind.name == "stream":
                data = data.split(b"\n\n")[-3].removeprefix(b"data: ")
            usage = json.loads(data)["usage"]
            self.tokens[name] = usage["prompt_tokens"], usage["completion_tokens"]

    @staticmethod
    async def _leave(at: Connection, kind: Kind, data: bytes) -> None:
        at.write(data[:-10] if kind.leaves == "asking" else data)
        if kind.leaves == "within":
            status, headers = await at.head()
            async for _ in at.pieces(status, headers):
                break
        else:
            await asyncio.sleep(0.05)
        at.close()


def shuffled(requests: int, seed: int) -> list[Kind]:
    """Each kind at least once, as often as its weight says."""
    total = sum(kind.weight for kind in KINDS)
    found = [kind for kind in KINDS for _ in range(max(1, requests * kind.weight // total))]
    found += [KINDS[0]] * (requests - len(found))
    random.Random(seed).shuffle(found)
    return found


def limits(requests: int) -> dict[str, dict[str, Any]]:
    """By tenant."""
    half = max(1, requests * 20 // sum(kind.weight for kind in KINDS) // 2)
    tokens = TOKENS * half + 350  # the last call's bound is more than it uses
    figures = {code: half if code.startswith("requests") else tokens for code in LIMITS}
    figures |= {"requests_per_second": 2, "in_flight": 1}
    found: dict[str, dict[str, Any]] = {code: {code: figure} for code, figure in figures.items()}
    found |= {"plenty": {}, "hasty": {}, "patient": {}, "embeds": {"models": ["embed"]}}
    return {name: NONE | own for name, own in found.items()}


def config(folder: Path, ports: Iterable[int], requests: int) -> dict[str, Any]:
    urls = [f"http://127.0.0.1:{port}" for port in ports]

    def model(name: str, *where: str, **more: Any) -> dict[str, Any]:
        backends = [{"id": f"{name}{n}", "url": url, **more} for n, url in enumerate(where)]
        return {"name": name, "served_name": name, "tasks": ["chat"], "backends": backends}

    return {
        "models": [
            model("chat", *urls) | {"max_model_len": 8192},
            model("embed", urls[0]) | {"tasks": ["embed"]},
            model("narrow", urls[1], concurrency=4),
            model("flaky", *urls),
            model("gone", f"http://127.0.0.1:{free_port()}"),
        ],
        "workers": 2,
        "store": {"path": str(folder / "counts.db")},
        "audit": {"folder": str(folder / "audit"), "anchors": str(folder / "anchors")},
        "limits": NONE,
        "tenants": {
            name: {"key_envs": [f"KEY_{name.upper()}"], "limits": own}
            for name, own in limits(requests).items()
        },
        "http": {"body_bytes": 64 * 1024},
        "probes": {"interval_s": 1.0, "loading_interval_s": 0.1},
        "breaker": {"enabled": False},
        "retries": {"backoff_s": 0.01},
        "queue": {"timeouts_s": {"hasty": 0.05, "patient": 60.0}},
        "timeouts": {"drain_s": 10.0, "stream_idle_s": 1.0},
        "log": {"stories": 0},
    }  # fmt: skip


def is_call(line: dict[str, Any]) -> bool:
    """Or a refusal before anybody knew; the control plane's own answers are not counted as calls."""
    if line["event"] == "refused":
        return True
    try:
        return routes.match(line["method"].encode(), line["path"].encode()).kind == "call"
    except Refusal:
        return True


def class_of(line: dict[str, Any]) -> Class:
    return line["tenant"], line.get("model") or "other", line["outcome"], line["reason"]


@dataclass
class Seen:
    """What one gateway has told of its requests."""

    metrics: Count = field(default_factory=Counter)
    log: Count = field(default_factory=Counter)
    audit: Count = field(default_factory=Counter)
    exact: dict[str, tuple[Counter[Any], Counter[Any]]] = field(default_factory=dict)
    """What else has to agree: by the metrics, by the log."""
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of the log, by the gateway's id of the request."""
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of the trail."""


def series(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in read_text(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def of_metrics(text: str, seen: Seen) -> None:
    full: Counter[Any] = Counter()
    streams: Counter[Any] = Counter()
    tokens: Counter[Any] = Counter()
    sent: Counter[Any] = Counter()
    cache: Counter[Any] = Counter()
    for name, labels, value in series(text):
        by = int(value)
        match name:
            case "infctl_requests_total":
                known = labels["tenant"], labels["model"], labels["outcome"], labels["reason"]
                seen.metrics[known] += by
                full[*known, labels["backend"]] += by
            case "infctl_streams_total":
                streams[labels["model"], labels["outcome"]] += by
            case "infctl_prompt_tokens_total":
                tokens[labels["tenant"], labels["model"], "prompt"] += by
            case "infctl_generation_tokens_total":
                tokens[labels["tenant"], labels["model"], "answer"] += by
            case "infctl_response_bytes_total":
                sent[labels["model"]] += by
            case "infctl_cache_requests_total":
                cache["miss" if labels["outcome"] == "miss" else "hit"] += by
            case _:
                pass
    found = {"requests by backend": full, "streams": streams, "tokens": tokens, "bytes": sent, "cache": cache}
    seen.exact = {what: (+counter, Counter()) for what, counter in found.items()}


STREAM_ENDS: Final = {
    OK: "done",
    IN_STREAM: "error",
    TRUNCATED: "truncated",
    DEADLINE: "idle",
    IDLE: "idle",
    GONE: "client_gone",
}


def of_log(lines: Iterable[dict[str, Any]], seen: Seen) -> None:
    for line in lines:
        if line["event"] in {"request", "refused"}:
            seen.lines[line["request_id"]] = line
            if is_call(line):
                _of_line(line, seen)
    seen.exact = {what: (metrics, +log) for what, (metrics, log) in seen.exact.items()}


def _of_line(line: dict[str, Any], seen: Seen) -> None:
    found, at = class_of(line), line.get("backend") or ""
    log = {what: counter for what, (_, counter) in seen.exact.items()}
    seen.log[found] += 1
    log["requests by backend"][*found, at] += 1
    if line.get("cache"):
        log["cache"][line["cache"]] += 1
    if not at:
        return
    log["bytes"][line["model"]] += line["bytes_out"]
    if line["stream"]:
        log["streams"][line["model"], STREAM_ENDS[found[2:]]] += 1
    if line["prompt_tokens"] is not None:
        log["tokens"][line["tenant"], line["model"], "prompt"] += line["prompt_tokens"]
        log["tokens"][line["tenant"], line["model"], "answer"] += line["completion_tokens"] or 0


def of_audit(folder: Path, seen: Seen) -> Iterator[str]:
    """What is wrong with the trail itself."""
    for file in files.files(folder / "audit"):
        for raw in files.lines(file.path):
            record = json.loads(raw)
            if record.get("event") in {"request", "refused"}:
                seen.records[record["request_id"]] = record
                if is_call(record):
                    seen.audit[class_of(record)] += 1
    for verdict in verify(folder / "audit", AUDIT_KEY.encode(), FileAnchors(folder / "anchors")):
        if verdict.broken is not None:
            yield f"the audit trail: {verdict}"


def differences(generator: Generator, seen: Seen) -> Iterator[str]:
    """Where somebody has counted otherwise than the generator, or log and trail speak of another request."""
    for found in sorted(generator.counted.keys() | seen.metrics.keys() | seen.log.keys() | seen.audit.keys()):
        four = [each[found] for each in (generator.counted, seen.metrics, seen.log, seen.audit)]
        if len(set(four)) > 1:
            yield f"{found}: asked {four[0]}, metrics {four[1]}, log {four[2]}, audit {four[3]}"
    for what, (metrics, log) in seen.exact.items():
        for name in sorted(metrics.keys() | log.keys()):
            if metrics[name] != log[name]:
                yield f"{what} {name}: metrics {metrics[name]}, log {log[name]}"
    if seen.exact["cache"][1] != generator.cache:
        yield f"cache: asked {generator.cache}, log {seen.exact['cache'][1]}"
    yield from _one_by_one(generator, seen)


def _one_by_one(generator: Generator, seen: Seen) -> Iterator[str]:
    if seen.lines.keys() != seen.records.keys():
        yield f"in the log or in the trail alone: {list(seen.lines.keys() ^ seen.records.keys())[:5]}"
    mine = {line.get("client_request_id"): line for line in seen.lines.values()}
    for name, found in generator.by_id.items():
        line = mine.get(name)
        if line is None or class_of(line) != found:
            yield f"{name}: asked {found}, log {line}"
            continue
        record = seen.records[line["request_id"]]
        if any(record[field] != value for field, value in line.items()):
            yield f"{name}: log {line}, audit {record}"
        used = generator.tokens.get(name)
        if used is not None and used != (line["prompt_tokens"], line["completion_tokens"]):
            yield f"{name}: told {used} tokens, log {line}"


@dataclass
class Found:
    requests: int
    classes: int
    seconds: float
    outcomes: Counter[str]
    wrong: list[str]

    def __str__(self) -> str:
        told = ", ".join(f"{count:,} {outcome}" for outcome, count in self.outcomes.most_common())
        return (
            f"proof-counts: {self.requests:,} requests in {self.seconds:.0f} s ({told}); in"
            f" {self.classes} classes of tenant, model, outcome and reason generator, metrics, log and audit"
            f" trail differ {len(self.wrong)} times"
        )


def run(folder: Path, requests: int, seed: int) -> Found:
    seen = Seen()
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(backend())[0] for _ in range(2)]
        env = KEYS | MALLOC | {"AUDIT_HMAC_KEY": AUDIT_KEY, "PATH": "/usr/bin:/bin"}
        env |= {f"KEY_{name.upper()}": key_of(name) for name in NAMED}
        gateway = Gateway(folder, config(folder, ports, requests), env)
        generator = Generator(gateway.port, seed)
        try:
            gateway.wait_ready(12)
            began = time.monotonic()
            asyncio.run(generator.run(requests))
            seconds = time.monotonic() - began
            text = settled(gateway, sum(generator.counted.values()) + len(generator.wrong))
        finally:
            code = gateway.stop()
    of_metrics(text, seen)
    of_log(gateway.lines, seen)
    wrong = [*generator.wrong, *of_audit(folder, seen), *differences(generator, seen)]
    if code:
        wrong.append(f"the gateway's exit code is {code}")
    outcomes: Counter[str] = Counter()
    for found, count in generator.counted.items():
        outcomes[found[2]] += count
    return Found(sum(generator.done.values()), len(generator.counted), seconds, outcomes, wrong)


def settled(gateway: Gateway, expected: int) -> str:
    """/metrics, once all that left have been noticed; or as it is after a while."""
    text = ""

    def counted() -> bool:
        nonlocal text
        text = gateway.http.get("/metrics").text
        return sum(value for name, _, value in series(text) if name == "infctl_requests_total") >= expected

    with contextlib.suppress(AssertionError):
        until(counted, 15)
    return text


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    chosen = parser.parse_args(argv)
    sys.stdout.write(f"seed {chosen.seed}\n")
    with tempfile.TemporaryDirectory(prefix="counts-") as folder:
        found = run(Path(folder), chosen.requests, chosen.seed)
    for each in found.wrong[:20]:
        sys.stdout.write(f"{each}\n")
    sys.stdout.write(f"{found}\n")
    return 1 if found.wrong or found.requests < chosen.requests else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
