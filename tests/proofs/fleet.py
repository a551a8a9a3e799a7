"""Gateways that share their counts, for proofs: four workers on SQLite, or three gateways on a real Redis.

What they have logged of each request is summed here, line by line, and not kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from gateway.store.redis import Redis
from tests.gateway.process import ROOT, free_port, until
from tests.gateway.store.redis_server import Server
from tests.proofs.processes import KEYS, MALLOC, ask

SHIFTED = ROOT / "tests" / "proofs" / "shifted"
HURT = frozenset(("store_away", "worker_ended"))
"""Errors that are told of where somebody kills and stops what is there."""
AUDIT_KEY = "audit-key-of-the-proof-0001"


@dataclass(frozen=True)
class Tenant:
    name: str
    limits: dict[str, Any]

    @property
    def key(self) -> str:
        return f"key-of-{self.name}-0001"

    @property
    def variable(self) -> str:
        return f"KEY_{self.name.upper()}"


@dataclass
class Said:
    """What a gateway's log says, by tenant."""

    tokens: Counter[str] = field(default_factory=Counter)
    """Usage that was read."""
    lines: Counter[str] = field(default_factory=Counter)
    by_id: dict[str, int] = field(default_factory=dict)
    """Request -> tokens, of whole answers; only where `keep`."""
    errors: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Process:
    """One gateway: it can be killed, and started again on the same files."""

    def __init__(self, file: Path, env: dict[str, str], said: Said, *, keep: bool) -> None:
        self._file, self._env, self._said, self._keep = file, env, said, keep
        self.port = int(yaml.safe_load(file.read_text())["listen"]["port"])
        self.start()

    def start(self) -> None:
        self._ready = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "--config", str(self._file)],
            cwd=ROOT, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def wait_ready(self) -> None:
        def there() -> bool:
            assert self.process.poll() is None, self._said.wrong[-3:]
            with contextlib.suppress(httpx.HTTPError):
                return ask(self.port, "GET", "/health/ready", KEYS["GATEWAY_API_KEY"]).status_code == 200
            return False

        until(there, 60)

    def workers(self) -> list[int]:
        """Their process ids, once all of them serve: a gateway of which one ends before has not started."""
        found = ask(self.port, "GET", "/health/detailed", KEYS["ADMIN_API_KEY"]).json().get("workers") or []
        return [each["pid"] for each in found] if all(each["state"] == "serving" for each in found) else []

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)
        self._reader.join(10)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._reader.join(10)
        return code

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        said = self._said
        for raw in process.stdout:
            try:
                line = json.loads(raw)
            except ValueError:
                said.wrong.append(raw.decode(errors="replace"))
                continue
            if line.get("event") == "request":
                self._request(line)
            elif line.get("level") == "error":
                said.errors[line["event"]] += 1
                if line["event"] not in HURT:
                    said.wrong.append(raw.decode(errors="replace"))
        process.stdout.close()

    def _request(self, line: dict[str, Any]) -> None:
        said, tenant = self._said, line["tenant"]
        said.lines[tenant] += 1
        if line["prompt_tokens"] is not None:
            tokens = line["prompt_tokens"] + (line["completion_tokens"] or 0)
            said.tokens[tenant] += tokens
            if self._keep and line["outcome"] == "ok":
                said.by_id[line["request_id"]] = tokens


@dataclass(frozen=True)
class Count:
    """One counter in one window."""

    settled: int
    unknown: int
    leased: int


class Fleet:
    def __init__(
        self, folder: Path, kind: str, backends: list[int], tenants: tuple[Tenant, ...], *, keep: bool = True
    ) -> None:
        """`kind`: sqlite, redis. `backends`: ports. `keep`: remember what each whole answer used."""
        self.kind, self.folder, self.tenants = kind, folder, tenants
        self.said = Said()
        self._shift = folder / "shift"
        self.shift(0.0)
        self.redis: Server | None = None
        env = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        env |= KEYS | MALLOC | {"AUDIT_HMAC_KEY": AUDIT_KEY}
        env |= {tenant.variable: tenant.key for tenant in tenants}
        store: dict[str, Any] = {"path": str(folder / "counts.db")}
        if kind == "redis":
            (folder / "redis").mkdir()
            self.redis = Server(folder / "redis")
            self.redis.start()
            env["REDIS_URL"] = self.redis.url
            store = {"kind": "redis", "path": str(folder / "journal.db"), "box": "proof"}
        else:
            env |= {"SHIFT_FILE": str(self._shift), "PYTHONPATH": str(SHIFTED)}
        self._seen: Redis | None = None
        self.gateways = [
            Process(self._config(number, backends, store), env, self.said, keep=keep)
            for number in range(3 if kind == "redis" else 1)
        ]
        for gateway in self.gateways:
            gateway.wait_ready()

    def _config(self, number: int, backends: list[int], store: dict[str, Any]) -> Path:
        urls = [{"id": f"b{n}", "url": f"http://127.0.0.1:{port}"} for n, port in enumerate(backends)]
        model = {"name": "chat", "served_name": "served", "tasks": ["chat"], "max_model_len": 4096}
        audit = {
            "folder": str(self.folder / f"audit{number}"),
            "anchors": str(self.folder / f"anchors{number}"),
        }
        config = {
            "models": [model | {"backends": urls}],
            "listen": {"port": free_port()},
            "workers": 4 if self.kind == "sqlite" else 1,
            "store": store,
            "tenants": {
                tenant.name: {"key_envs": [tenant.variable], "limits": tenant.limits}
                for tenant in self.tenants
            },
            "limits": {"requests_per_second": "none", "in_flight": "none"},
            "probes": {"interval_s": 0.5, "loading_interval_s": 0.05},
            "breaker": {"enabled": False},
            "timeouts": {"drain_s": 10.0, "stream_idle_s": 20.0},
            "cache_salt": "shared",
            "audit": audit,
        }
        file = self.folder / f"gateway{number}.yaml"
        file.write_text(yaml.safe_dump(config))
        return file

    def shift(self, ahead_s: float) -> None:
        """Sets the clock of all processes so far ahead of the real one (SQLite; Redis has its own)."""
        mode = "r+b" if self._shift.exists() else "w+b"
        with self._shift.open(mode) as file:
            file.write(struct.pack("d", ahead_s))

    def counts(self) -> dict[tuple[str, str], Count]:
        """(counter, window) -> what the store holds of it."""
        if self.redis is not None:
            if self._seen is None:
                # With the gateways' journal: should it be the first to meet an emptied Redis.
                journal = self.folder / "journal.db"
                self._seen = Redis(self.redis.url, journal, replica="proof", replicas=1)
            return {
                (one.counter, one.period): Count(one.settled, one.unknown, one.leased)
                for one in self._seen.overview()
            }
        opened = sqlite3.connect(f"file:{self.folder / 'counts.db'}?mode=ro", uri=True, timeout=5)
        try:
            opened.execute("BEGIN")
            held = {
                (counter, period): amount
                for counter, period, amount in opened.execute(
                    "SELECT counter, period, sum(held) FROM leases GROUP BY counter, period"
                )
            }
            return {
                (counter, period): Count(settled, unknown, held.get((counter, period), 0))
                for counter, period, settled, unknown in opened.execute(
                    "SELECT counter, period, settled, unknown FROM counters"
                )
            }
        finally:
            opened.close()

    def over(self) -> Iterator[str]:
        """Each quota that the store holds more of than its limit."""
        limits = {tenant.name: tenant.limits for tenant in self.tenants}
        for (counter, period), count in self.counts().items():
            code, _, scope = counter.partition("|")
            limit = limits.get(scope.removeprefix("tenant:"), {}).get(code)
            if period and isinstance(limit, int) and count.settled + count.leased > limit:
                yield f"{counter} in {period}: {count.settled} + {count.leased} of {limit}"

    def used(self, tenant: str, code: str) -> Count:
        """In all windows."""
        mine = [count for (name, _), count in self.counts().items() if name == f"{code}|tenant:{tenant}"]
        return Count(
            sum(each.settled for each in mine),
            sum(each.unknown for each in mine),
            sum(each.leased for each in mine),
        )

    def kill_one(self, chance: random.Random) -> str:
        """Kill -9 of a worker, or of a whole gateway, which is started again. What it was."""
        gateway = chance.choice(self.gateways)
        if self.kind == "sqlite" and chance.random() < 0.7:
            workers: list[int] = []
            with contextlib.suppress(httpx.HTTPError, ValueError):  # it is dying just now
                workers = gateway.workers()
            if workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(workers), signal.SIGKILL)
                return "worker"
        gateway.kill()
        if self.kind == "sqlite":
            opened = sqlite3.connect(self.folder / "counts.db", timeout=10)
            try:
                verdict = opened.execute("PRAGMA integrity_check").fetchone()[0]
            finally:
                opened.close()
            if verdict != "ok":
                self.said.wrong.append(f"integrity_check: {verdict}")
        gateway.start()
        return "gateway"

    def stop(self) -> list[int]:
        """Their exit codes. Redis goes on: what it counted is still to be read."""
        return [gateway.stop() for gateway in self.gateways]

    def end(self) -> None:
        for gateway in self.gateways:
            if gateway.process.poll() is None:
                gateway.kill()
        if self._seen is not None:
            self._seen.close()
        if self.redis is not None:
            self.redis.kill()
